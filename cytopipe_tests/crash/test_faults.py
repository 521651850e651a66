"""A fault at the k-th file-system call of a publication, k = 1, 2 ... until none is left (strace -e
inject).
"""

from __future__ import annotations

import shutil

import pytest

from cytopipe.testing import CONTRACTS, inject_faults

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

FIRST = {"EIO": 1, "ENOSPC": 5, "SIGKILL": 9}
STRIDE = 13


@pytest.mark.parametrize("fault", FIRST)
@pytest.mark.parametrize("name", CONTRACTS)
def test_a_fault_at_a_call_is_told_and_leaves_the_old_or_the_new_version(name, fault, tmp_path):
    """Every 13th call, from another one for each fault."""
    figures = inject_faults(CONTRACTS[name], tmp_path, fault, first=FIRST[fault], stride=STRIDE)
    assert figures.trials >= 5
    assert figures.clean, str(figures)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FIRST)
@pytest.mark.parametrize("name", CONTRACTS)
def test_a_fault_at_every_call_is_told_and_leaves_the_old_or_the_new_version(name, fault, tmp_path):
    figures = inject_faults(CONTRACTS[name], tmp_path, fault)
    print(f"\n{name}, {fault}: {figures}")
    assert figures.clean, str(figures)
