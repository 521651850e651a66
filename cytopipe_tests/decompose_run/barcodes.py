"""Seeded barcodes with known species: what the tests of the run decompose.

Species are random ancestors far apart; their members differ from the ancestor in a few places and in where
they begin and end, and some are exact duplicates. Small enough that a whole run takes a fraction of a second.
"""

from __future__ import annotations

import random
from pathlib import Path

__all__ = ["make_barcodes", "write_fasta"]


def make_barcodes(
    n_species: int = 6, members: int = 5, *, length_bp: int = 240, seed: int = 7, divergence: float = 0.12
) -> list[tuple[str, str]]:
    """Headers and sequences of `n_species` times `members` records, shuffled.

    Every third member is a copy of the one before it. Species are `divergence` apart from a common root.
    """
    chance = random.Random(seed)
    root = "".join(chance.choices("ACGT", k=length_bp))
    records = []
    for species in range(n_species):
        ancestor = _mutated(root, round(divergence * length_bp), chance)
        last = ""
        for member in range(members):
            copy = member % 3 == 2 and last
            sequence = (
                last if copy else _mutated(ancestor, chance.randint(0, 1), chance)[chance.randint(0, 3) :]
            )
            last = sequence
            records.append((f'sp{species:02d}_m{member:02d} name="species {species}"', sequence))
    chance.shuffle(records)
    return records


def write_fasta(path: Path, records: list[tuple[str, str]]) -> Path:
    """Write records as FASTA and return the path."""
    path.write_text("".join(f">{header}\n{sequence}\n" for header, sequence in records))
    return path


def _mutated(sequence: str, times: int, chance: random.Random) -> str:
    letters = list(sequence)
    for place in chance.sample(range(len(letters)), times):
        letters[place] = chance.choice([letter for letter in "ACGT" if letter != letters[place]])
    return "".join(letters)
