"""Whole decompositions of DNA barcodes, cytopipe beside vsearch, each as the command a user types.

    python -m cytopipe_tests.benchmarks.decompose [--data DIR] [--records 20000] [--only SET ...]

Real sets come from DIR (default ``../shared/data/decompose``); their species stand in the record ids and are
used for the adjusted Rand index (ARI) alone, never to choose a default. The large set is made by seeded
mutation of real sequences, its truth the sequence each record descends from. CPU seconds count every process
and thread, start-up and imports included; peak memory is that of the largest process. "again" repeats a
finished run's work in a new directory with the distances kept from the first. The rows of the reference are
its authors' code as measured when cytopipe was planned, on two cores like these, and are there for scale.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cytopipe.storage.fasta import FastaRecord, format_fasta
from cytopipe_tests.benchmarks.decompose_sets import mutated, quoted_name, read_labelled, species_in_id
from cytopipe_tests.conftest import SHARED

SEED = 1
REFERENCE = {  # ARI and CPU seconds: gaphack-decompose with conflicts resolved
    "russula_diverse_500": (0.732, 44.0),
    "Russula_INxx": (0.943, 124.0),
}


@dataclass(frozen=True)
class Labelled:
    """A set of records with a label for each; records without one do not count for the ARI."""

    name: str
    records: list[FastaRecord]
    labels: list[str | None]


@dataclass(frozen=True)
class Measured:
    """What one command took, and the cluster it put each record in."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    clusters: dict[str, str]


def main() -> None:
    """Print one table for all sets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "decompose")
    parser.add_argument("--records", type=int, default=20_000, help="records of the made set; 0: none")
    parser.add_argument("--only", nargs="+", help="these sets alone")
    given = parser.parse_args()
    print("| set | contender | clusters | ARI | CPU s | wall s | peak MB |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for labelled in sets(given.data, given.records):
        if given.only and labelled.name not in given.only:
            continue
        if labelled.name in REFERENCE:
            ari, cpu_s = REFERENCE[labelled.name]
            print(f"| {labelled.name} | reference, conflicts resolved | | {ari:.3f} | {cpu_s:.1f} | | |")
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            fasta = folder / "input.fasta"
            fasta.write_bytes(format_fasta(labelled.records))
            for contender, measure in CONTENDERS.items():
                print(row(labelled, contender, measure(fasta, folder)), flush=True)


def sets(data: Path, n_made: int) -> Iterator[Labelled]:
    """The two large real sets, and the made one."""
    sources: list[str] = []
    for name in ("russula_diverse_300", "russula_diverse_500", "Russula_INxx"):
        path = data / f"{name}.fasta"
        if not path.exists():
            print(f"{path} is absent: its rows are left out", file=sys.stderr)
            continue
        records, labels = read_labelled(path, quoted_name if name.endswith("300") else species_in_id)
        sources = sorted({record.sequence.upper() for record in records})
        yield Labelled(name, records, labels)
    if n_made and sources:
        records = mutated(sources, n_made, SEED)
        yield Labelled(f"made, {n_made:,} records", records, [quoted_name(record) for record in records])


def decompose(neighbours: str, output: str) -> Callable[[Path, Path], Measured | None]:
    """``cytopipe decompose`` to its finished result, without the report's figures and tables."""

    def measure(fasta: Path, folder: Path) -> Measured | None:
        if neighbours == "blast" and shutil.which("blastn") is None:
            return None
        out = folder / output
        kept = out / ".distances"
        if out.exists():
            saved = folder / "kept"
            shutil.move(kept, saved)
            shutil.rmtree(out)
            out.mkdir()
            shutil.move(saved, kept)
        command = [sys.executable, "-m", "cytopipe", "decompose", str(fasta), "-o", str(out)]
        used = run([*command, "--finalize", "--no-report", "-q", "--neighbours", neighbours])
        clusters = {
            line[1:].split()[0]: path.stem
            for path in out.glob("cluster_*.fasta")
            for line in path.read_text().splitlines()
            if line.startswith(">")
        }
        return Measured(*used, clusters)

    return measure


def vsearch(fasta: Path, folder: Path) -> Measured | None:
    """``vsearch --cluster_fast`` at 97 % identity, two threads."""
    if shutil.which("vsearch") is None:
        return None
    uc = folder / "clusters.uc"
    options = ["--id", "0.97", "--threads", "2", "--quiet", "--strand", "both", "--uc", str(uc)]
    used = run(["vsearch", "--cluster_fast", str(fasta), *options])
    rows = [line.split("\t") for line in uc.read_text().splitlines()]
    return Measured(*used, {row[8].split()[0]: row[1] for row in rows if row[0] in "SH"})


def run(command: list[str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak resident MB of a command and all its children."""
    started = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss / 1024


def row(labelled: Labelled, contender: str, measured: Measured | None) -> str:
    """One line of the table."""
    if measured is None:
        return f"| {labelled.name} | {contender} | not installed | | | | |"
    from sklearn.metrics import adjusted_rand_score

    pairs = [
        (label, measured.clusters.get(record.id, f"unassigned {record.id}"))
        for record, label in zip(labelled.records, labelled.labels, strict=True)
        if label is not None
    ]
    ari = adjusted_rand_score(*zip(*pairs, strict=True)) if pairs else float("nan")
    return (
        f"| {labelled.name} | {contender} | {len(set(measured.clusters.values())):,} | {ari:.3f} "
        f"| {measured.cpu_s:.1f} | {measured.wall_s:.1f} | {measured.peak_mb:.0f} |"
    )


CONTENDERS: dict[str, Callable[[Path, Path], Measured | None]] = {
    "cytopipe, k-mers": decompose("kmer", "kmer"),
    "cytopipe, k-mers, again": decompose("kmer", "kmer"),
    "cytopipe, BLAST": decompose("blast", "blast"),
    "vsearch --cluster_fast 0.97": vsearch,
}


if __name__ == "__main__":
    main()
