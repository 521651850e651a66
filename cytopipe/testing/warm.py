"""Imported by the process from which writers are forked: everything is imported and used once.

A forked writer then does nothing but its publication, so that a kill falls into the protocol.
"""

import tempfile

from cytopipe.storage import Store, Sync
from cytopipe.testing.contracts import CONTRACTS

with tempfile.TemporaryDirectory() as _folder:
    for _contract in CONTRACTS.values():
        _contract.publish(Store(_folder, sync=Sync.NONE), 1)
        _contract.read(Store(_folder, sync=Sync.NONE))
