"""The order of flushes and renames that a loss of power needs, read from a trace of the calls themselves."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from cytopipe.testing import CONTRACTS, trace_publication

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

COMMITS = {
    "json": "state.json",
    "h5ad": "cells.h5ad",
    "checkpoint": "x.h5ad",
    "tiff": "tile.tiff",
    "zarr": "plate.zarr",
    "fasta set": ".cytopipe-journal.json",
}
"""The name whose appearance is the commit of each kind."""


@dataclass
class Call:
    """One call that matters: ``open`` for writing, ``flush``, ``flush all``, ``rename``, ``link``,
    ``unlink``.
    """

    what: str
    path: str
    to: str = ""


def _calls(trace: str) -> list[Call]:
    found = []
    for line in trace.splitlines():
        line = re.sub(r"^\[pid +\d+\] ", "", line)
        if match := re.match(r'openat\(.*?"([^"]+)", .*(?:O_WRONLY|O_RDWR)', line):
            found.append(Call("open", match[1]))
        elif match := re.match(r"f(?:data)?sync\(\d+<([^>]+)>", line):
            found.append(Call("flush", match[1]))
        elif re.match(r"syncfs\(", line):
            found.append(Call("flush all", ""))
        elif match := re.match(r'rename\("([^"]+)", "([^"]+)"', line):
            found.append(Call("rename", match[1], match[2]))
        elif match := re.match(r'symlink\("([^"]+)", "([^"]+)"', line):
            found.append(Call("link", match[2]))
        elif match := re.match(r'unlink\("([^"]+)"', line):
            found.append(Call("unlink", match[1]))
    return found


@pytest.mark.parametrize("name", CONTRACTS)
def test_content_is_flushed_before_it_gets_its_name(name, tmp_path):
    calls = _calls(trace_publication(CONTRACTS[name], tmp_path))
    into_place = [
        at for at, call in enumerate(calls) if call.what == "rename" and "/.staging/" not in call.to
    ]
    assert into_place
    for at in into_place:
        source = calls[at].path
        written = [
            i
            for i, call in enumerate(calls[:at])
            if call.what == "open" and Path(call.path).is_relative_to(source)
        ]
        if not written:
            assert Call("link", source) in calls  # a symbolic link has no content of its own
            continue
        flushed = [
            call
            for call in calls[written[-1] : at]
            if call.what == "flush all" or (call.what == "flush" and call.path == source)
        ]
        assert flushed, f"{calls[at].to} was renamed into place before it was flushed"


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_commit_is_flushed_before_it_is_acknowledged(name, tmp_path):
    calls = _calls(trace_publication(CONTRACTS[name], tmp_path))
    commit = next(
        at for at, call in enumerate(calls) if call.what == "rename" and Path(call.to).name == COMMITS[name]
    )
    folder = str(Path(calls[commit].to).parent)
    assert Call("flush", folder) in calls[commit:]


def test_no_file_of_a_set_is_touched_before_its_journal_is_durable_nor_the_journal_dropped_early(tmp_path):
    calls = _calls(trace_publication(CONTRACTS["fasta set"], tmp_path))
    folder = str(tmp_path / "run")
    journal = f"{folder}/.cytopipe-journal.json"
    commit = next(at for at, call in enumerate(calls) if call.to == journal)
    durable = calls.index(Call("flush", folder), commit)
    touched = [
        at
        for at, call in enumerate(calls)
        if (call.what == "rename" and call.to.startswith(f"{folder}/initial"))
        or (call.what == "unlink" and call.path.startswith(f"{folder}/initial"))
    ]
    dropped = calls.index(Call("unlink", journal))
    assert touched and durable < min(touched)
    assert Call("flush", folder) in calls[max(touched) : dropped]


def test_a_sidecar_that_lists_both_versions_is_durable_before_the_file_is_replaced(tmp_path):
    calls = _calls(trace_publication(CONTRACTS["json"], tmp_path))
    folder = str(tmp_path / "state")
    renamed = [Path(call.to).name if call.what == "rename" else "" for call in calls]
    sidecar, file = renamed.index(".state.json.manifest.json"), renamed.index("state.json")
    assert sidecar < file
    assert Call("flush", folder) in calls[sidecar:file]
