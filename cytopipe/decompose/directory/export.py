"""The newest clusters of a directory, written in the formats of other programs.

Medoids and identities come from the report of the stage where it belongs to these very files, and are
measured again where it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cytopipe.decompose.directory.decomposition import Decomposition
from cytopipe.decompose.exports import FORMATS, Assignment
from cytopipe.decompose.layout import EXPORT_FOLDER, REPORT_FOLDER
from cytopipe.storage import Store
from cytopipe.storage.formats.table import read_tsv

__all__ = ["assignments", "export_newest"]


def export_newest(directory: Path | str, formats: Sequence[str], output: Path | None = None) -> list[Path]:
    """Write the newest stage in each of `formats` (``tsv``, ``uc``, ``spart``).

    Parameters
    ----------
    output : Path, optional
        Folder to write to; by default ``exports`` in the directory.

    Returns
    -------
    list of Path
        The files, named after the input.
    """
    found = Decomposition.open(directory)
    rows = assignments(found)
    project = Path(found.state.input.fasta_path).stem
    stage = found.partition.stage
    store = found.folder.store if output is None else Store(output)
    folder = found.directory / EXPORT_FOLDER if output is None else store.root
    written = []
    for name in formats:
        write, ending = FORMATS[name]
        text = write(rows, project=project, date=found.state.metadata.last_checkpoint)
        path = folder / f"{project}.{stage.asset}{ending}"
        store.publish_bytes(path, text.encode(), provenance=found.provenance_of(stage))
        written.append(path)
    return written


def assignments(found: Decomposition) -> list[Assignment]:
    """Every record of the newest stage with its cluster, its medoid and the identity to it."""
    stage = found.partition.stage
    report = found.folder.report(stage)
    if report is None or not report.is_of(found.result().sha256):
        found.advance(stage.asset)
    table = read_tsv(
        found.directory / REPORT_FOLDER / stage.asset / "records.tsv",
        columns=("record", "cluster", "status", "length_bp", "representative", "identity_to_representative"),
        text=("record", "cluster", "status", "representative"),
    )
    kept = table[table["status"] != "deleted"]
    rows = [
        Assignment(
            record=row.record,
            cluster=row.cluster if row.status == "clustered" else "",
            length=int(row.length_bp),
            medoid=row.representative if row.status == "clustered" else "",
            identity=float(row.identity_to_representative) if row.status == "clustered" else 0.0,
        )
        for row in kept.itertuples(index=False)
    ]
    return sorted(rows, key=lambda one: (one.cluster == "", one.cluster, one.record))
