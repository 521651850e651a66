"""How long activities take: ``python -m cytopipe_tests.benchmarks.atlas_activity [--groups 144]``.

Random profiles of all genes of CytoSig and SecAct; CPU and wall seconds of reading the table, fitting,
exact z, and 1,000 permutations. Numbers are for the machine they are printed on; compare within one run.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from cytopipe.atlas.activity import ActivitySettings, fit
from cytopipe.atlas.signatures import load_signature
from cytopipe.engine import available_cores


def main() -> None:
    """Print one line per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=144)
    parser.add_argument("--permutations", type=int, default=1000)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    for name in ("cytosig", "secact"):
        signature = timed(f"{name}: read the table", load_signature, name)
        genes = signature.genes
        values = rng.gamma(1, 2, size=(given.groups, len(genes))).astype(np.float32)
        exact = timed(f"{name}: fit", fit, genes, signature, ActivitySettings(n_permutations=0))
        timed(f"{name}: exact z of {given.groups} groups", exact.score, values)
        counted = fit(genes, signature, ActivitySettings(n_permutations=given.permutations))
        label = f"{name}: p over {given.permutations} permutations"
        timed(label, counted.score, values, workers=available_cores())


def timed(label: str, function, *args, **options):
    """Call and print; returns what was returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = function(*args, **options)
    print(
        f"{label:45}{time.perf_counter() - wall:8.2f} s wall{time.process_time() - cpu:8.2f} s CPU",
        flush=True,
    )
    return found


if __name__ == "__main__":
    main()
