"""A project of barcodes with its history open."""

from __future__ import annotations

from pathlib import Path

from cytopipe.project import DataSet, Project
from cytopipe.project.decompose.entry import SequenceSet
from cytopipe.project.settings import Settings
from cytopipe.storage.names import slug
from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta

__all__ = ["BarcodeProject"]


class BarcodeProject:
    """Declares a data set per name, of six species of five records; entries may be changed in between."""

    def __init__(self, *names: str, **fields: object) -> None:
        self.entries = {name: {"neighbours": "kmer", **fields} for name in names or ("meadow",)}

    def __call__(self, directory: Path) -> Project:
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / "cytopipe.yaml"
        text = repr(self.entries)
        if not file.is_file() or file.read_text() != text:
            file.write_text(text)
        data_sets = {}
        for name, fields in self.entries.items():
            if not (fasta := directory / f"{name}.fasta").exists():
                write_fasta(fasta, make_barcodes())
            data_sets[name] = DataSet(
                domain="decompose",
                key=name,
                entry=SequenceSet(input=fasta.name, **fields),
                folder=directory / "out" / "decompose" / slug(name),
                base=directory,
            )
        return Project(file=file, settings=Settings(output="out"), data_sets={"decompose": data_sets})
