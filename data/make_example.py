"""Makes the tiny inputs of the example project: two sets of synthetic barcodes whose species are known.

    python data/make_example.py [DIRECTORY]      default: this directory

An ancestral sequence is laid out like the fungal ITS region: conserved flanks around two variable spacers
and a conserved 5.8S between them. Species diverge from it mostly in the spacers (3-6 % apart over all),
specimens from their species by a few substitutions, homopolymers one base longer or shorter, now and then
an ambiguous base, and ragged ends, as sequencing gives them. Some specimens are exact duplicates. The same
seed gives the same bytes; nothing but the standard library is used.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from pathlib import Path

SEED = 20240517
BASES = "ACGT"
AMBIGUOUS = {"A": "R", "G": "R", "C": "Y", "T": "Y"}
# Length in bases and how many times the mean rate a part of the region changes.
REGION = ((45, 0.1), (180, 1.6), (155, 0.05), (190, 1.6), (50, 0.1))
SPECIES_DIVERGENCE = 0.045
SPECIMEN_DIVERGENCE = 0.0012


@dataclass(frozen=True)
class DataSet:
    """One FASTA file: its genus, and how many specimens each species has."""

    name: str
    genus: str
    specimens: tuple[int, ...]


DATA_SETS = (
    DataSet("meadow", "Pratensia", (14, 11, 9, 8, 6, 5, 4, 2, 1)),
    DataSet("forest", "Silvestris", (12, 9, 7, 5, 3, 2)),
)
EPITHETS = ("alba", "brunnea", "cinerea", "dulcis", "elata", "fulva", "gracilis", "humilis", "incana")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    (folder / "sequences").mkdir(parents=True, exist_ok=True)
    for data_set in DATA_SETS:
        path = folder / "sequences" / f"{data_set.name}.fasta"
        path.write_text(fasta_of(data_set), encoding="ascii")
        print(f"{path}: {sum(data_set.specimens)} sequences of {len(data_set.specimens)} species")


def fasta_of(data_set: DataSet) -> str:
    """The records of a data set, in a shuffled order, names in their headers."""
    chance = random.Random(f"{SEED} {data_set.name}")
    rates = [rate for length, rate in REGION for _ in range(length)]
    ancestor = "".join(chance.choice(BASES) for _ in rates)
    records = []
    for epithet, specimens in zip(EPITHETS, data_set.specimens, strict=False):
        species = substituted(ancestor, rates, SPECIES_DIVERGENCE, chance)
        for number in range(1, specimens + 1):
            barcode = species if number == 2 else specimen(species, rates, chance)
            name = f"{data_set.genus} {epithet}"
            records.append(f'>{data_set.name}_{epithet}_{number:02d} name="{name}"\n{barcode}\n')
    chance.shuffle(records)
    return "".join(records)


def specimen(species: str, rates: list[float], chance: random.Random) -> str:
    """One specimen of a species, as it comes from the sequencer."""
    barcode = substituted(species, rates, SPECIMEN_DIVERGENCE, chance)
    if chance.random() < 0.4:
        barcode = homopolymer_changed(barcode, chance)
    if chance.random() < 0.15:
        at = chance.randrange(len(barcode))
        barcode = barcode[:at] + AMBIGUOUS[barcode[at]] + barcode[at + 1 :]
    return barcode[chance.randrange(15) : len(barcode) - chance.randrange(15)]


def substituted(sequence: str, rates: list[float], divergence: float, chance: random.Random) -> str:
    """A copy in which each base is replaced with a probability of `divergence` times its rate."""
    return "".join(
        chance.choice(BASES.replace(base, "")) if chance.random() < divergence * rate else base
        for base, rate in zip(sequence, rates, strict=True)
    )


def homopolymer_changed(sequence: str, chance: random.Random) -> str:
    """A copy with one run of equal bases a base longer or shorter, the commonest sequencing error."""
    runs = [at for at in range(2, len(sequence)) if sequence[at - 2] == sequence[at - 1] == sequence[at]]
    at = chance.choice(runs)
    return (
        sequence[:at] + sequence[at + 1 :]
        if chance.random() < 0.5
        else sequence[:at] + sequence[at] + sequence[at:]
    )


if __name__ == "__main__":
    main()
