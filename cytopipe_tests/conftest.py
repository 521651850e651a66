"""What every room's tests share: where the golden cases and real data lie, if they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CYTOPIPE_SHARED", REPOSITORY.parent / "shared"))


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
