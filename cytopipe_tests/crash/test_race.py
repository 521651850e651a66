"""Eight writers over one another, and readers meanwhile: every reading is whole."""

from __future__ import annotations

import pytest

from cytopipe.storage import Store
from cytopipe.testing import CONTRACTS, race


@pytest.mark.parametrize("name", CONTRACTS)
def test_readers_beside_eight_writers_read_whole_versions(name, tmp_path):
    figures = race(CONTRACTS[name], tmp_path, writers=8, readers=2, seconds=1.5)
    assert figures.clean, str(figures)
    assert figures.new > 0
    store = Store(tmp_path)
    CONTRACTS[name].read(store)
    assert store.verify() == []
