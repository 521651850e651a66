"""What a person sees on a terminal: a real one, with its size and its colours."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cytopipe_tests.atlas.atlases import small_cells, write
from cytopipe_tests.defs.example import make_project


def on_a_terminal(*arguments: str, at: Path, ctrl_c_at: bytes = b"") -> tuple[str, float, int]:
    """What was shown, seconds until the first byte, and the exit code; Ctrl-C is pressed when something
    is shown.
    """
    ours, theirs = pty.openpty()
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("CYTOPIPE", "DAGSTER"))
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "cytopipe.cli", *arguments],
        cwd=at, stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment | {"TERM": "xterm-256color", "COLUMNS": "120"},
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    began, first, shown = time.monotonic(), 0.0, b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the other side has closed
            break
        if not part:
            break
        first = first or time.monotonic() - began
        shown += part
        if ctrl_c_at and ctrl_c_at in shown:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the command
            ctrl_c_at = b""
    os.close(ours)
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode(errors="replace")
    return text, first, process.wait()


def test_a_run_shows_bars_with_the_name_of_what_works_from_its_beginning(tmp_path):
    """Dagster redirects the descriptor of standard error while a step runs; the bars are not lost in it."""
    project = make_project(tmp_path, "meadow")
    shown, _, code = on_a_terminal("materialize", "--all", at=project.directory)
    assert code == 0, shown
    assert shown.index("opening ") < shown.index("decompose/initial [meadow]")
    assert "decompose/final" in shown and "1 of 1" in shown


@pytest.mark.parametrize("moment", ["decompose/initial [meadow]", "decompose/deconflicted [meadow]"])
def test_ctrl_c_on_a_terminal_says_what_was_saved_and_shows_no_traceback(tmp_path, moment):
    """Also once a stage is made: whenever Dagster takes a result, it receives the signals itself."""
    project = make_project(tmp_path, "meadow", specimens=(6,) * 12)
    shown, _, code = on_a_terminal("materialize", "--all", at=project.directory, ctrl_c_at=moment.encode())
    assert code == 130 or "6 of 6 done" in shown, shown[-2000:]  # on a slow machine it may come too late
    assert "Traceback" not in shown and "KeyboardInterrupt" not in shown
    assert ("cytopipe resume" in shown) == (code == 130)


def test_a_pass_ends_with_its_count_and_never_at_nothing_a_second(tmp_path):
    write(small_cells(300, 20), tmp_path / "a.h5ad")
    level = ("--level", "fine=fine", "--n-bootstrap", "2", "--batch-size", "10")
    shown, _, code = on_a_terminal("atlas", "aggregate", "a.h5ad", *level, "-o", "out", at=tmp_path)
    assert code == 0, shown
    assert "300 of 300" in shown and "0.0/s" not in shown and " 0/s" not in shown
