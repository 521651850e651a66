"""Finished screens of any number of tiles, for the benchmark of scale.

One well is made for real, every artifact of it. Other wells are grown from it: raw images are hard links
under other names, artifacts are hard links (of directories, symbolic links) at their own places, and their
entries in the history are the real ones with the names of the other well. Entries of what is made from many
tiles say the digest over these tiles; those of plates and of the screen are written through Dagster. So the
ledger finds all of it fresh, as after a run of days.

What they lack: manifests beside the artifacts of other wells, and the events of checks.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cytopipe.defs.artifact import Artifact
from cytopipe.defs.event import MADE
from cytopipe.defs.everything import GRAPH
from cytopipe.defs.history import INPUT_POINTER, INPUT_VERSION, History
from cytopipe.defs.instance import open_instance
from cytopipe.defs.ledger import Ledger, version_over
from cytopipe.defs.stamps import stamp_of_place
from cytopipe.project import load_project
from cytopipe.testing.screens import make_screen, write_screen

TILES_PER_WELL = 25
DONOR = "A1"
_KEY = f"s.1-{DONOR}"
_MOST_WELLS = 400

ENTRY = """\
engine: serial
screen:
  s:
    library: library.tsv
    library_columns: {barcode_column: barcode, gene_columns: [gene]}
    omezarr_export_default: true
    aggregate: {min_cells: 1, min_control_cells: 2}
    sbs:
      images: sbs/P-{plate}_W-{well}_T-{tile}_C-{cycle}__image.tiff
      channels: [DAPI, G, T, A, C]
      pixel_size_um: 1.3
      positions: sbs_metadata.tsv
      alignment: {model: translation}
      segmentation: {threshold_dapi: 2500}
      reads: {method: median}
      omezarr_chunk_shape: [1, 96, 96]
      omezarr_stages: [convert_sbs, calculate_ic_sbs, align_sbs, log_filter, compute_standard_deviation,
        find_peaks, max_filter, apply_ic_field_sbs, segment_sbs]
    phenotype:
      images: phenotype/P-{plate}_W-{well}_T-{tile}__image.tiff
      channels: [DAPI, tubulin, foci, actin]
      pixel_size_um: 1.3
      positions: phenotype_metadata.tsv
      segmentation: {threshold_dapi: 2500}
      omezarr_chunk_shape: [1, 96, 96]
      omezarr_stages: [convert_phenotype, calculate_ic_phenotype, apply_ic_field_phenotype, align_phenotype,
        segment_phenotype, identify_cytoplasm]
"""


def wells_of(n_tiles: int) -> list[str]:
    """Names of the wells of a screen: A1 ... A20, B1 ..."""
    rows = "ABCDEFGHIJKLMNOPQRST"
    return [f"{rows[one // 20]}{one % 20 + 1}" for one in range(n_tiles // TILES_PER_WELL)]


def make_donor(folder: Path) -> None:
    """One well of 25 tiles, every artifact of it made by real runs."""
    screen = make_screen(
        "easy", 5, wells=(DONOR,), tile_grid=(5, 5), tile_size=96, cycles=3, n_barcodes=16, magnification=1.0
    )
    write_screen(folder, screen, truth=False)
    for table in ("sbs_metadata.tsv", "phenotype_metadata.tsv"):
        head, *rows = (folder / table).read_text().splitlines()
        every = [
            row.replace(f"\t{DONOR}\t", f"\t{well}\t")
            for well in wells_of(_MOST_WELLS * TILES_PER_WELL)
            for row in rows
        ]
        (folder / table).write_text("\n".join([head, *every]) + "\n")
    (folder / "cytopipe.yaml").write_text(ENTRY)
    command = [sys.executable, "-m", "cytopipe", "--project", str(folder), "materialize", "--all", "-q"]
    # exit 1: on so few pixels, checks that do not block find faults
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def grow(donor: Path, folder: Path, n_tiles: int) -> None:
    """A finished project of `n_tiles` tiles in each acquisition, its first well that of the donor."""
    folder.mkdir()
    for name in ("outputs", "sbs", "phenotype"):
        subprocess.run(["cp", "-al", str(donor / name), str(folder / name)], check=True)
    for name in ("cytopipe.yaml", "library.tsv", "sbs_metadata.tsv", "phenotype_metadata.tsv"):
        shutil.copy2(donor / name, folder / name)
    shutil.copytree(donor / ".cytopipe", folder / ".cytopipe", ignore=shutil.ignore_patterns("ledger*"))
    others = wells_of(n_tiles)[1:]
    for part in ("sbs", "phenotype"):
        for image in list((folder / part).iterdir()):
            for well in others:
                image.with_name(image.name.replace(f"W-{DONOR}_", f"W-{well}_")).hardlink_to(image)
    _Copies(folder).write(others)
    finish(folder)


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def finish(folder: Path) -> None:
    """Read the history for the first time, and leave what that took in `first.json`; then write entries of
    what plates and the screen hold: made from all that stands now, as is.
    """
    project = load_project(folder)
    with open_instance(project) as instance:
        ledger = Ledger(project, GRAPH, History(instance))
        before = cpu_s()
        ledger.refresh()
        counts = ledger.counts().values()
        took = {
            "artifacts": sum(sum(some.values()) for some in counts),
            "first reading of the history": round(cpu_s() - before, 1),
        }
        (folder / "first.json").write_text(json.dumps(took))
        for step in GRAPH.artifacts:
            if step.domain != "screen" or step.by is None or step.by.name not in ("screen_plates", "screens"):
                continue
            for asset in step.makes:
                for one in list(ledger.statuses([asset], ("stale",))):
                    made = next(one for one in ledger.events.events(asset, one.key) if one.kind == MADE)
                    reads = {of: ledger.read(step, name, one.key) for name, of in step.inputs.items()}
                    inputs = {of: read.version for of, read in reads.items()}
                    cursors = {of: read.cursor for of, read in reads.items()}
                    ledger.events.write([replace(made, inputs=inputs, cursors=cursors)])
            ledger.refresh()
        ledger.book.close()


class _Copies:
    """The entries and files of the donor's well, to be written under the names of others."""

    _PLACES = re.compile(
        rf"{re.escape(_KEY)}|W-{DONOR}(?=_)"
        rf'|"{re.escape(INPUT_POINTER)}[^"]+": "\d+"|"{re.escape(INPUT_VERSION)}[^"]+": "[0-9a-f]*"'
        r'|"cytopipe/stamp": "[^"]*"'
    )

    def __init__(self, folder: Path) -> None:
        self.project = load_project(folder)
        self.ledger = Ledger(self.project, GRAPH, lambda: None)  # for places and relations alone
        self.db = sqlite3.connect(next(folder.glob(".cytopipe/*/history/runs/index.db")))
        columns = "id, run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition"
        rows = self.db.execute(
            f"select {columns} from event_logs where dagster_event_type in "
            "('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION') and (partition = ? or partition like ?) "
            "order by id",
            (_KEY, f"{_KEY}|%"),
        )
        newest = {(row[6], row[7], row[3]): row for row in rows}
        self.rows = sorted(newest.values())
        self.rank = {row[0]: number for number, row in enumerate(self.rows)}
        self.versions = {(self._asset(row), row[7]): _version(row[2]) for row in self.rows}

    def write(self, wells: list[str]) -> None:
        (last,) = self.db.execute("select max(id) from event_logs").fetchone()
        parts = [self._split(row[2]) for row in self.rows]
        with self.db:
            for number, well in enumerate(wells):
                first = last + 1 + number * len(self.rows)
                events = list(self._events(well, parts, first))
                self.db.executemany("insert into event_logs values (?, ?, ?, ?, ?, ?, ?, ?)", events)
                self.db.executemany(
                    "insert into asset_event_tags (event_id, asset_key, key, value, event_timestamp) "
                    "values (?, ?, 'dagster/data_version', ?, ?)",
                    [
                        (event[0], event[6], self.versions[self._asset(row), row[7]], event[4])
                        for event, row in zip(events, self.rows, strict=True)
                    ],
                )
        self.db.close()

    def _events(self, well: str, parts: list[list[str]], first: int) -> Iterator[tuple]:
        key = f"s.1-{well}"
        for number, (row, pieces) in enumerate(zip(self.rows, parts, strict=True)):
            asset, own = self._asset(row), row[7].replace(_KEY, key)
            stamp = self._link(asset, row[7], own) if row[3] == "ASSET_MATERIALIZATION" else ""
            text = "".join(
                piece if at % 2 == 0 else self._named(piece, asset, own, well, first, stamp)
                for at, piece in enumerate(pieces)
            )
            yield (first + number, row[1], text, *row[3:7], own)

    def _split(self, text: str) -> list[str]:
        """What stands between names, and names, in turn."""
        found, at = [], 0
        for match in self._PLACES.finditer(text):
            found += [text[at : match.start()], match[0]]
            at = match.end()
        return [*found, text[at:]]

    def _named(self, piece: str, asset: str, key: str, well: str, first: int, stamp: str) -> str:
        """What the donor calls `piece`, under the names of another well."""
        if piece == _KEY:
            return key.partition("|")[0]
        if piece.startswith("W-"):
            return f"W-{well}"
        name, value = re.fullmatch(r'"([^"]+)": "([^"]*)"', piece).groups()
        if name == "cytopipe/stamp":
            value = stamp
        elif name.startswith(INPUT_POINTER):
            value = str(first + self.rank[int(value)]) if int(value) in self.rank else value
        else:
            value = self._version_of_input(asset, key, name.removeprefix(INPUT_VERSION), value)
        return f'"{name}": "{value}"'

    def _version_of_input(self, asset: str, key: str, upstream: str, version: str) -> str:
        step: Artifact = GRAPH.makers[asset]
        name = next(name for name, of in step.inputs.items() if of == upstream)
        if not self.ledger.relations.is_many(step, name):
            return version
        parts = {}
        for parent in self.ledger.relations.parents(step, name, key):
            of_donor = parent.replace(key.partition("|")[0], _KEY)
            found = self.versions.get((upstream, of_donor), "")
            if found or name not in step.optional:
                parts[parent] = found
        return version_over(parts)

    def _link(self, asset: str, of_donor: str, key: str) -> str:
        """Put the donor's artifact at the place of another partition; its stamp there."""
        format = GRAPH.makers[asset].makes[asset]
        root, before, place = (
            self.ledger.archive.root,
            self.ledger.places.place(asset, of_donor),
            self.ledger.places.place(asset, key),
        )
        source, target = root / before.path, root / place.path
        if not source.exists():
            return ""  # there was nothing to make
        target.parent.mkdir(parents=True, exist_ok=True)
        if format.layout == "set":
            target.mkdir(parents=True, exist_ok=True)
            pairs = [
                (one, target / one.name.replace(before.set_name, place.set_name, 1))
                for one in self.ledger.archive.files_of(before)
                if not one.name.startswith(".")
            ]
        else:
            pairs = [(source, target)]
        for one, new in pairs:
            if new.is_symlink() or new.exists():
                continue
            if one.is_symlink():
                new.symlink_to(one.readlink())  # in the same folder
            else:
                new.hardlink_to(one)
        return stamp_of_place(root, place, format)

    @staticmethod
    def _asset(row: tuple) -> str:
        return "/".join(json.loads(row[6]))


def _version(text: str) -> str:
    return re.search(r'"dagster/data_version": "([^"]*)"', text)[1]
