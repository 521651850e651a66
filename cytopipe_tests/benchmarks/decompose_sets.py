"""Labelled barcode sets that no default was tuned to: real ones with their labels, and simulated ones.

`simulated` grows species on a tree from one real sequence and reads each imperfectly: ends missing, tails of
errors, single chimeras, reads of the other strand. The gene in the middle is conserved, as 5.8S is, and
species differ in how variable they are. `mutated` makes a set of any size by mutating real sequences. Both
are functions of their seed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cytopipe.storage.fasta import FastaRecord, read_fasta

__all__ = ["mutated", "quoted_name", "read_labelled", "simulated", "species_in_id"]

_LETTERS = "ACGT"
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


def quoted_name(record: FastaRecord) -> str | None:
    """The species of a header with ``name="..."``, its quotation marks and spellings made one."""
    found = re.search(r'name="([^"]*)"', record.description)
    if found is None:
        return None
    return re.sub(r"[\s\"'‘’“”-]+", " ", found.group(1)).replace("sp IN", "sp. IN").strip()  # noqa: RUF001


def species_in_id(record: FastaRecord) -> str | None:
    """The species code within an identifier such as ``iNaturalist_1_Russula_sp_IN4_United_States``."""
    found = re.search(r"_sp_(IN\d+)", record.id)
    return found.group(1) if found else None


def mutated(sources: Sequence[str], n: int, seed: int) -> list[FastaRecord]:
    """Records made by mutating real sequences.

    Parameters
    ----------
    sources : sequence of str
        Real sequences; record ``k`` descends from ``sources[k % len(sources)]`` and names it.
    n : int
        Records wanted.
    seed : int
        Same seed, same records.

    Notes
    -----
    Each record has on average 0.3 % substitutions and 0.1 % indels, and misses up to 40 bp at either end.
    """
    random = np.random.default_rng(seed)
    records = []
    for k in range(n):
        source = re.sub("[^ACGT]", "A", sources[k % len(sources)])
        sequence = _errors(random, source, 0.003, 0.001)
        start, stop = random.integers(0, 41, 2)
        records.append(_record(f"m{k}", f"source{k % len(sources)}", sequence[start : len(sequence) - stop]))
    return records


def simulated(
    root: str,
    seed: int,
    *,
    n_species: int = 40,
    n_records: int = 400,
    divergence: float = 0.05,
    variability: float = 0.004,
    bad_reads: float = 0.06,
) -> list[FastaRecord]:
    """Records of species that evolved from a root, each labelled ``name="species k"``.

    Parameters
    ----------
    root : str
        The sequence at the root of the tree; its middle quarter hardly changes.
    seed : int
    n_species, n_records : int
        Abundances are log-normal: a few species are common, many are seen once or twice.
    divergence : float
        Mean substitutions per site between a species and its sister.
    variability : float
        Median substitutions per site between two of a species; it varies fourfold.
    bad_reads : float
        Share of reads that are short, have a tail of errors, are on the other strand, or (a tenth of
        them) are chimeras of two species.
    """
    random = np.random.default_rng(seed)
    root = re.sub("[^ACGT]", "A", root)
    species = [_evolve(random, root, divergence)]
    while len(species) < n_species:
        parent = species[random.integers(len(species))]
        species.append(_evolve(random, parent, divergence * random.gamma(4.0, 0.25)))
    abundance = random.lognormal(0.0, 1.2, n_species)
    spread = variability * random.lognormal(0.0, 0.6, n_species)
    populations = [
        [_evolve(random, one, width * random.uniform(0.2, 1.0)) for _ in range(6)]
        for one, width in zip(species, spread, strict=True)
    ]
    records = []
    for k in range(n_records):
        label = int(random.choice(n_species, p=abundance / abundance.sum()))
        sequence = populations[label][random.integers(6)]
        sequence = _errors(random, sequence, 0.0007, 0.0005)
        start, stop = random.integers(0, 30, 2)
        sequence = sequence[start : len(sequence) - stop]
        if random.random() < bad_reads:
            sequence = _spoilt(random, sequence, species[random.integers(n_species)])
        records.append(_record(f"r{k}", f"species {label}", sequence))
    return records


def read_labelled(path: Path, label: Callable[[FastaRecord], str | None]) -> tuple[list[FastaRecord], list]:
    """Records of a file and their labels."""
    records = list(read_fasta(path))
    return records, [label(record) for record in records]


def _record(name: str, label: str, sequence: str) -> FastaRecord:
    return FastaRecord(id=name, description=f'name="{label}"', sequence=sequence, line=0)


def _evolve(random: np.random.Generator, sequence: str, rate: float) -> str:
    """Substitutions and indels at a rate per site, a twentieth of it in the middle quarter."""
    n = len(sequence)
    rates = np.full(n, rate)
    rates[int(0.4 * n) : int(0.65 * n)] *= 0.05
    return _errors(random, sequence, rates, 0.15 * rates)


def _errors(random: np.random.Generator, sequence: str, substitution, indel) -> str:
    n = len(sequence)
    substituted = random.random(n) < substitution
    inserted = random.random(n) < indel
    kind = random.random(n)
    letters = random.integers(0, 4, n)
    pieces = []
    for k, letter in enumerate(sequence):
        if substituted[k]:
            letter = _LETTERS[(_LETTERS.index(letter) + 1 + letters[k] % 3) % 4]
        if inserted[k]:
            letter = "" if kind[k] < 0.5 else letter + (letter if kind[k] < 0.8 else _LETTERS[letters[k]])
        pieces.append(letter)
    return "".join(pieces)


def _spoilt(random: np.random.Generator, sequence: str, other: str) -> str:
    fault = random.random()
    n = len(sequence)
    if fault < 0.1:
        return sequence[: n // 2] + other[len(other) // 2 :]
    if fault < 0.3:
        return sequence[::-1].translate(_COMPLEMENT)
    if fault < 0.65:
        tail = int(random.integers(20, 90))
        return sequence[: n - tail] + _errors(random, sequence[n - tail :], 0.25, 0.1)
    kept = int(n * random.uniform(0.3, 0.6))
    return sequence[:kept] if random.random() < 0.5 else sequence[n - kept :]
