"""The table of what the files of a microscope say of themselves, of either acquisition of a well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cytopipe.defs.artifact import Artifact, Described, Nothing, artifact
from cytopipe.defs.screen_checks import ALIKE
from cytopipe.defs.screen_images import WELL_NAME
from cytopipe.defs.screen_sources import WELLS, Files
from cytopipe.errors import CytopipeError
from cytopipe.project import DataSet
from cytopipe.storage.formats.table import PARQUET

__all__ = ["metadata_of"]

_ABSENT = {"sbs": "the well was not sequenced", "phenotype": "the well was not stained"}
_TOLD = 10


def metadata_of(acquisition: str) -> Artifact:
    """The table of one acquisition, a well each."""

    def metadata(well: DataSet, raw: Mapping[str, Files]) -> Described | Nothing:
        """What the files of the microscope say of themselves: size, channels, pixel size, place of the
        stage.
        """
        if not well.entry.tiles.get(acquisition):
            return Nothing(_ABSENT[acquisition])
        return _acquired(well, raw)

    return artifact(
        f"screen/{acquisition}/metadata",
        PARQUET,
        by=WELLS,
        optional=("raw",),
        place=f"screen/{{screen}}/preprocess/metadata/{acquisition}/{WELL_NAME}__combined_metadata.parquet",
        checks=(ALIKE,),
    )(metadata)


def _acquired(well: DataSet, raw: Mapping[str, Files]) -> Described | Nothing:
    """A row per file, in the order of tiles."""
    import pandas as pd

    from cytopipe.screen.microscope import ACQUISITION_COLUMNS, MicroscopeFile, acquisitions

    tables, faults, n_files = [], [], 0
    for key, files in raw.items():
        place = {"plate": well.entry.plate, "well": well.entry.well, "tile": int(key.rpartition("|")[2])}
        for (cycle, _), path in sorted(files.items()):
            n_files += 1
            try:
                tables.append(acquisitions([MicroscopeFile(path, **place, cycle=cycle or None)]))
            except CytopipeError as error:
                faults.append(str(error))
    if not n_files:
        return Nothing("no file of a microscope is named")
    empty = pd.DataFrame(columns=list(ACQUISITION_COLUMNS))
    table = pd.concat(tables, ignore_index=True) if tables else empty
    table["file"] = [Path(one).name for one in table["file"]]
    notes = {"warning": f"{len(faults)} files cannot be read: {'; '.join(faults[:_TOLD])}"} if faults else {}
    known = int(table[["stage_y_um", "stage_x_um"]].notna().all(axis=1).sum())
    return Described(table, {"n_files": n_files, "n_with_stage": known}, notes)
