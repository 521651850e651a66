"""What every room's tests share: where golden cases and real data lie, and what makes tests fast."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CYTOPIPE_SHARED", REPOSITORY.parent / "shared"))
MEMORY = Path("/dev/shm")
_ROOM = 4 << 30

# Files that take 15 CPU seconds or more, longest first, no two in a row that compile the same kernels. xdist
# hands files out in the order of collection: begun last, one of these leaves the other core idle.
LONGEST_FIRST = (
    "docs/test_readme.py",
    "screen/test_brieflow.py",
    "serve/test_web_ui.py",
    "defs/test_atlas_assets.py",
    "screen/test_graph.py",
    "heatmap/test_graph.py",
    "ui/test_browser.py",
    "screen/test_cleanup.py",
    "defs/test_running.py",
    "cli/test_atlas_commands.py",
    "defs/test_atlas_graph.py",
    "graph/test_decompose.py",
    "graph/test_edges.py",
    "heatmap/test_commands.py",
    "heatmap/test_artifact.py",
    "screen/test_omezarr_assets.py",
    "screen/test_quality_graph.py",
    "defs/test_history.py",
    "graph/test_removal.py",
    "graph/test_ledger.py",
    "cli/test_commands.py",
    "cli/test_history_faults.py",
)

# Dagster's databases and the archive wait for the disk at every event, in all two thirds of the time; a file
# in memory need not. TMPDIR, where it is set, says otherwise.
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > _ROOM:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

# Processes that tests start would each compile the modules of cytopipe anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; the order within a file stays."""
    ranks = {REPOSITORY / "cytopipe_tests" / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> None:
    """Dagster reads its 60 migrations twice for each database that it makes, of which each run has one.

    Only the reading of its Python files is shared: tables are made, and marked with their version, each time.
    """
    if "dagster" not in sys.modules:
        return
    from alembic.script import ScriptDirectory

    read, known = ScriptDirectory.from_config, {}

    def read_once(config):
        if config.config_file_name not in known:
            known[config.config_file_name] = read(config)
        return known[config.config_file_name]

    ScriptDirectory.from_config = read_once


def _shared(part: str) -> Path:
    folder = SHARED / part
    if not folder.is_dir():
        pytest.skip(f"no {folder}: golden cases and real data are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden cases (``../shared/golden``); skips, saying so, where it is absent."""
    return _shared("golden")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets (``../shared/data``); skips, saying so, where it is absent."""
    return _shared("data")
