"""What the server of local worker processes does first: leave the group of the process that started it.

A batch system, `timeout` or a terminal signals a whole process group. The process that does the work's
bookkeeping must hear it, finish what is under way and save; for that its workers have to outlive the signal.
They end with that process, however it ends.
"""

import contextlib
import os

with contextlib.suppress(OSError):  # already the leader of a session
    os.setsid()
