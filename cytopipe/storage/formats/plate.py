"""A plate of wells and fields of view that viewers open as one (NGFF high-content screening layout).

    plate.ome.zarr/
      zarr.json            rows, columns, wells
      A/1/zarr.json        fields of well A1
      A/1/0/               one field: an OME-Zarr image

There are two ways to make one. Where fields are published one by one, each below the plate's folder under
its own name, :func:`plate_documents` gives the metadata files to publish around them; they are small and are
made again when a field comes or goes. To hand a whole plate on, `OME_ZARR_PLATE` makes one directory with
every field in it; files of fields that are published on the same file system already are shared with them
(hard links) and take no space.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cytopipe.errors import Finding, InputError
from cytopipe.storage.formats import ome_metadata as ome
from cytopipe.storage.formats.format import DirectoryFormat
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import OME_ZARR, OmeZarr, read_ome_zarr, read_plate_fields
from cytopipe.storage.formats.zarr_array import group_files
from cytopipe.storage.state import format_json

__all__ = ["OME_ZARR_PLATE", "OmeZarrPlate", "Plate", "plate_documents"]

_FIELD = re.compile(r"([A-Za-z0-9]+)/([A-Za-z0-9]+)/([A-Za-z0-9]+)")


@dataclass(frozen=True)
class Plate:
    """Fields of view of one plate.

    Parameters
    ----------
    name : str
    fields : mapping of str to Path or Image
        ``row/column/field``, such as ``A/1/0``, each part letters and digits, to a published OME-Zarr image
        or to an image that is still to be written.
    ngff : {'0.5', '0.4'}, optional
        Version of the fields, where it is not the format's own.
    """

    name: str
    fields: Mapping[str, Path | Image]
    ngff: str | None = None


class OmeZarrPlate(DirectoryFormat):
    """A whole plate in one directory with the suffix ``.ome.zarr``.

    Parameters
    ----------
    images : OmeZarr
        How fields that are given as an Image are written; its NGFF version is the plate's.
    """

    name, suffix, kinds = "ome_zarr_plate", ".ome.zarr", ("zarr", "plate")

    def __init__(self, images: OmeZarr = OME_ZARR) -> None:
        self.images, self.version = images, images.version

    def write(self, draft: Path, value: Plate) -> None:
        """Write the plate's metadata and every field."""
        if not isinstance(value, Plate):
            raise InputError(f"a plate holds a Plate, not a {type(value).__name__}")
        documents = plate_documents(value.name, value.fields, version=value.ngff or self.images.ngff)
        for field, image in value.fields.items():
            target = draft / field
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(image, Image):
                self.images.write(target, image)
            else:
                shutil.copytree(Path(image).resolve(), target, copy_function=_share)
        for relative, data in documents.items():
            (draft / relative).write_bytes(data)

    def validate(self, draft: Path) -> None:
        """Decode every chunk of every field."""
        for field in read_plate_fields(draft):
            self.images.validate(draft / field)

    def read(self, path: Path) -> dict[str, Image]:
        """Every field with lazy pixels, by ``row/column/field``."""
        return {field: read_ome_zarr(path / field) for field in read_plate_fields(path)}

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """Numbers of wells and fields."""
        fields = read_plate_fields(path)
        return {"wells": len({field.rpartition("/")[0] for field in fields}), "fields": len(fields)}


OME_ZARR_PLATE = OmeZarrPlate()
"""A plate of NGFF 0.5."""


def _share(source: str, target: str) -> None:
    """The same file under another name; a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def plate_documents(name: str, fields: Iterable[str], *, version: str = "0.5") -> dict[str, bytes]:
    """Metadata files of a plate, of its rows and of its wells, by path below the plate.

    Parameters
    ----------
    name : str
        Of the plate.
    fields : iterable of str
        ``row/column/field``, such as ``A/1/0``.
    version : {'0.5', '0.4'}
        Of NGFF, as the fields have it.

    Raises
    ------
    InputError
        There are no fields, or one that has another form.
    """
    fields = list(fields)
    bad = [field for field in fields if not _FIELD.fullmatch(field)]
    if bad or not fields:
        raise InputError(
            [
                Finding(what=f"a plate cannot have the field {field!r}", expected="A/1/0: letters and digits")
                for field in bad
            ]
            or [Finding(what=f"plate {name!r} has no fields")]
        )
    wells: dict[tuple[str, str], list[str]] = {}
    for field in fields:
        row, column, one = field.split("/")
        wells.setdefault((row, column), []).append(one)
    most = max(map(len, wells.values()))
    groups = {"": ome.plate_attributes(version, name, list(wells), most)}
    groups |= {f"{row}/": {} for row, _ in wells}
    groups |= {
        f"{row}/{column}/": ome.well_attributes(version, ones) for (row, column), ones in wells.items()
    }
    return {
        f"{folder}{file}": format_json(document)
        for folder, attributes in groups.items()
        for file, document in group_files(attributes, ome.NGFF_VERSIONS[version]).items()
    }
