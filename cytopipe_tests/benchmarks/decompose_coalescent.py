"""Simulated protein-coding barcodes (as COI is): gene trees of a coalescent within a tree of species.

    python -m cytopipe_tests.benchmarks.decompose_coalescent [--designs NAME ...] [--seeds SEED ...]

The table gives the mean adjusted Rand index over seeds of cytopipe with its one default and of vsearch at two
thresholds, and the CPU seconds of one run; every run is a process of its own. The default was chosen on seeds
401 to 436 and 2001 to 2112; other seeds are held out.

1. A tree of species grows by random splits (Yule); its depth is set so that species lie, in the median, as
   far from their nearest relative as wanted.
2. Within each species, and within their ancestors, lineages of the sampled records coalesce (Kingman).
   Species differ in diversity: some are wider than others are apart, and young ones may share haplotypes.
3. Sequences evolve along the gene tree; third codon positions evolve fastest.
4. Records are read with errors and missing ends.

All of it is a function of the seed and the design.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytopipe.storage.fasta import FastaRecord, format_fasta
from cytopipe_tests.benchmarks.decompose import cytopipe_run, vsearch_run
from cytopipe_tests.benchmarks.decompose_sets import quoted_name

__all__ = ["DESIGNS", "Design", "coalescent_set"]

#: Substitution rates of the three codon positions, relative to their mean.
CODON_RATES = (0.45, 0.1, 2.45)

_LETTERS = np.array(list("ACGT"))


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a set is like.

    Parameters
    ----------
    sisters : float
        Median divergence between a species and its nearest relative, substitutions per site.
    diversity : float
        Median over species of the mean divergence between two of its records, substitutions per site.
    diversity_spread : float
        Standard deviation of its logarithm.
    n_species, n_records : int
    abundance_spread : float
        Standard deviation of the logarithm of how common a species is; 0: all are equally common.
    length_bp : int
    errors : float
        Errors of reading per site.
    missing_bp : int
        Bases missing at either end, at most.
    """

    sisters: float = 0.04
    diversity: float = 0.004
    diversity_spread: float = 0.8
    n_species: int = 60
    n_records: int = 600
    abundance_spread: float = 1.0
    length_bp: int = 658
    errors: float = 0.0005
    missing_bp: int = 10


#: Kinds of sets that differ in one thing from the first.
DESIGNS = {
    "base": {},
    "diverse": {"diversity": 0.01},
    "uniform": {"diversity": 0.003, "diversity_spread": 0.0},
    "even": {"abundance_spread": 0.0},
    "few": {"n_species": 20, "n_records": 300},
    "many": {"n_species": 150, "n_records": 900},
    "errors": {"errors": 0.003},
    "short": {"length_bp": 313, "missing_bp": 0},
}


#: Median divergence between a species and its nearest relative.
SISTERS = (0.08, 0.04, 0.02)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[101, 102, 103])
    chosen = parser.parse_args(arguments)
    print(
        "| design | sisters | cytopipe | vsearch 0.97 | vsearch 0.98 | CPU s cytopipe |\n" + "|---" * 6 + "|"
    )
    rows, sets = [], []
    for name in chosen.designs:
        for sisters in SISTERS:
            design = Design(sisters=sisters, **DESIGNS[name])
            of_seeds = [_measured(seed, design) for seed in chosen.seeds]
            sets += of_seeds
            measured = np.mean(of_seeds, axis=0)
            rows.append(measured)
            print(_row(name, f"{100 * sisters:.0f} %", measured), flush=True)
    print(_row("mean", "", np.mean(rows, axis=0)))
    ours, *peers = np.transpose(sets)[:3]
    for name, theirs in zip(("0.97", "0.98"), peers, strict=True):
        more = ours - theirs
        error = more.std(ddof=1) / len(more) ** 0.5
        print(
            f"\nSet by set, cytopipe has {more.mean():+.4f} (standard error {error:.4f}, {len(more)} sets) "
            f"against vsearch {name}."
        )


def _measured(seed: int, design: Design) -> tuple[float, float, float, float]:
    """Adjusted Rand indices of cytopipe and vsearch at 0.97 and 0.98, and CPU seconds of cytopipe."""
    records = coalescent_set(seed, design)
    labels = {record.id: quoted_name(record) for record in records}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "records.fasta"
        source.write_bytes(format_fasta(records))
        ours = cytopipe_run("", source, labels, Path(folder))
        peers = [vsearch_run("", source, labels, Path(folder), identity) for identity in (0.97, 0.98)]
    return ours.ari, *(peer.ari for peer in peers), ours.cpu_s


def _row(name: str, sisters: str, values: Sequence[float]) -> str:
    return f"| {name} | {sisters} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


def coalescent_set(seed: int, design: Design) -> list[FastaRecord]:
    """Records of one simulated set, each labelled ``name="species k"``."""
    random = np.random.default_rng(seed)
    splits = _species_tree(random, design)
    spread = design.diversity * random.lognormal(0.0, design.diversity_spread, 2 * design.n_species - 1)
    abundance = random.lognormal(0.0, design.abundance_spread, design.n_species)
    species = random.choice(design.n_species, design.n_records, p=abundance / abundance.sum())
    parent, age = _gene_tree(random, splits, spread, species)
    sequences = _evolved(random, parent, age, design)
    records = []
    for k in random.permutation(design.n_records).tolist():
        letters = _mutated(random, sequences[k], np.full(design.length_bp, design.errors))
        start, stop = random.integers(0, design.missing_bp + 1, 2)
        text = "".join(_LETTERS[letters[start : design.length_bp - stop]])
        name = f'name="species {species[k]}"'
        records.append(FastaRecord(id=f"r{len(records)}", description=name, sequence=text, line=0))
    return records


def _species_tree(random: np.random.Generator, design: Design) -> list[tuple[int, int, float]]:
    """Splits from the youngest to the oldest: two nodes and their age; split ``s`` makes node ``n + s``."""
    n = design.n_species
    alive, age, splits = list(range(n)), 0.0, []
    nearest = np.zeros(n)
    while len(alive) > 1:
        age += random.exponential(1.0 / len(alive))
        a, b = (alive.pop(int(random.integers(len(alive)))) for _ in range(2))
        for tip in (a, b):
            if tip < n:
                nearest[tip] = age
        splits.append((a, b, age))
        alive.append(n + len(splits) - 1)
    scale = design.sisters / (2.0 * np.median(nearest))
    return [(a, b, age * scale) for a, b, age in splits]


def _gene_tree(
    random: np.random.Generator,
    splits: list[tuple[int, int, float]],
    spread: np.ndarray,
    species: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Parent (-1: none) and age of every node of the gene tree; the records are the first nodes."""
    n = len(species)
    parent, age = np.full(2 * n - 1, -1, np.int64), np.zeros(2 * n - 1)
    made = n
    lineages = {k: np.flatnonzero(species == k).tolist() for k in range(len(splits) + 1)}
    since = dict.fromkeys(lineages, 0.0)

    def coalesce(node: int, until: float) -> None:
        nonlocal made
        alive, now = lineages[node], since[node]
        while len(alive) > 1:
            now += random.exponential(spread[node] / (len(alive) * (len(alive) - 1)))
            if now > until:
                return
            for _ in range(2):
                parent[alive.pop(int(random.integers(len(alive))))] = made
            age[made] = now
            alive.append(made)
            made += 1

    for at, (a, b, when) in enumerate(splits):
        coalesce(a, when)
        coalesce(b, when)
        node = len(splits) + 1 + at
        lineages[node], since[node] = lineages[a] + lineages[b], when
    coalesce(len(splits) + len(splits), np.inf)
    return parent, age


def _evolved(
    random: np.random.Generator, parent: np.ndarray, age: np.ndarray, design: Design
) -> dict[int, np.ndarray]:
    """Sequences of all nodes, as numbers of letters."""
    rates = np.resize(CODON_RATES, design.length_bp)
    root = len(parent) - 1
    sequences = {root: random.integers(0, 4, design.length_bp)}
    for node in range(root - 1, -1, -1):
        branch = age[parent[node]] - age[node]
        changes = 0.75 * (1.0 - np.exp(-4.0 / 3.0 * branch * rates))
        sequences[node] = _mutated(random, sequences[parent[node]], changes)
    return sequences


def _mutated(random: np.random.Generator, letters: np.ndarray, probability: np.ndarray) -> np.ndarray:
    changed = random.random(len(letters)) < probability
    return np.where(changed, (letters + random.integers(1, 4, len(letters))) % 4, letters)


if __name__ == "__main__":
    main()
