"""What a neighbour search finds of what is there: k-mers and BLAST against all distances.

    python -m cytopipe_tests.benchmarks.decompose_neighbours [--data DIR] [SET ...]

Truth is every pair of unique sequences of a set, measured. Recall is the share of ordered pairs (query,
neighbour) that a search nominates: of the pairs within `max_lump` (0.02), which decide the clusters, and of
each query's ten nearest, which decide its gap. CPU seconds are those of building and asking the index for
every sequence once, children included.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from cytopipe.decompose.distance import Distances
from cytopipe.decompose.neighbours import open_neighbours
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.sequences import SequenceSet
from cytopipe.storage.fasta import read_fasta
from cytopipe_tests.conftest import SHARED

NEAREST = 10
SETS = ("collybia_nuda_test", "russula_diverse_200", "russula_diverse_300", "russula_300")


def main() -> None:
    """Print one row per set and search."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "decompose")
    parser.add_argument("sets", nargs="*", default=SETS)
    given = parser.parse_args()
    kinds = ["kmer", *(["blast"] if shutil.which("blastn") else [])]
    print("| set | unique | search | recall within max_lump | recall of 10 nearest | candidates | CPU s |")
    print("|---|---:|---|---:|---:|---:|---:|")
    for name in given.sets:
        path = given.data / f"{name}.fasta"
        if not path.exists():
            print(f"{path} is absent: its rows are left out", file=sys.stderr)
            continue
        sequences = SequenceSet.from_records(read_fasta(path)).sequences
        truth = Distances(sequences).matrix(range(len(sequences)))
        np.fill_diagonal(truth, np.inf)
        for kind in kinds:
            print(row(name, sequences, truth, kind), flush=True)


def row(name: str, sequences: tuple[str, ...], truth: np.ndarray, kind: str) -> str:
    """What one search finds, as a line of the table."""
    parameters = Parameters()
    before = _cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        hits = open_neighbours(kind, sequences, parameters, Path(folder)).search(range(len(sequences)))
    spent = _cpu_seconds() - before
    found = np.zeros(truth.shape, bool)
    found[np.repeat(np.arange(len(sequences)), np.diff(hits.indptr)), hits.indices] = True
    within = truth <= parameters.lump
    nearest = np.zeros(truth.shape, bool)
    np.put_along_axis(nearest, np.argsort(truth, axis=1, kind="stable")[:, :NEAREST], True, axis=1)
    return (
        f"| {name} | {len(sequences)} | {kind} | {found[within].mean():.4f} | {found[nearest].mean():.4f} "
        f"| {found.sum(axis=1).mean():.0f} | {spent:.2f} |"
    )


def _cpu_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


if __name__ == "__main__":
    main()
