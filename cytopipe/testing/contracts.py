"""Artifacts whose every part says which version it is of.

A contract publishes a version by its number, and reads the number back. A reader that finds parts of two
versions, or a part that no version has, raises :class:`Torn`: so "old or new, whole" is measured and not
assumed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from cytopipe.storage import Store
from cytopipe.storage.fasta import format_fasta, parse_fasta
from cytopipe.storage.state import format_json

__all__ = ["CONTRACTS", "Contract", "Torn"]

SET_FOLDER, SET_NAME, SET_OWNS = "run", "initial", ("initial.*.fasta",)


class Torn(AssertionError):
    """A reader got something that no writer published."""


@dataclass(frozen=True)
class Contract:
    """How versions of one kind of artifact come and are read.

    Parameters
    ----------
    name : str
    publish : callable
        ``publish(store, version)`` returns when the version is published.
    read : callable
        ``read(store)`` returns the version that stands there; raises :class:`Torn`, or whatever the store
        raises, where there is no whole one.
    """

    name: str
    publish: Callable[[Store, int], object]
    read: Callable[[Store], int]


def _expect(same: bool, what: str) -> None:
    if not same:
        raise Torn(what)


# --------------------------------------------------------------------------- one file of bytes


def _publish_json(store: Store, version: int) -> None:
    store.publish_bytes("state/state.json", format_json({"version": version, "body": [version] * 400}))


def _read_json(store: Store) -> int:
    document = json.loads(store.read_bytes("state/state.json"))
    _expect(document["body"] == [document["version"]] * 400, "a state of two versions")
    return document["version"]


# --------------------------------------------------------------------------- one file by a library


def _publish_h5ad(store: Store, version: int) -> None:
    import numpy as np
    import pandas as pd
    from anndata import AnnData

    from cytopipe.storage.formats import H5AD

    cells = pd.DataFrame({"version": np.full(300, version)}, index=[f"cell{i}" for i in range(300)])
    adata = AnnData(np.full((300, 20), version, dtype="float64"), obs=cells, uns={"version": version})
    store.publish_file("cells/cells.h5ad", lambda draft: H5AD.write(draft, adata), validate=H5AD.validate)


def _read_h5ad(store: Store) -> int:
    from cytopipe.storage.formats import H5AD

    adata = H5AD.read(store.open_file("cells/cells.h5ad"))
    version = int(adata.uns["version"])
    _expect(bool((version == adata.X).all()), "an h5ad whose X is of another version")
    _expect(bool((adata.obs["version"] == version).all()), "an h5ad whose obs is of another version")
    return version


def _publish_checkpoint(store: Store, version: int) -> None:
    import numpy as np

    from cytopipe.heatmap.state import HeatmapState, cluster_ids, id_of_recipe
    from cytopipe.storage.formats import CHECKPOINT

    names = [f"marker{place}_{version}" for place in range(20)]
    state = HeatmapState(
        cluster_ids(100),
        names,
        np.full((100, 20), version, np.float64),
        np.zeros(100, int),
        id=id_of_recipe(str(version)),
        cell_cluster=np.full(50_000, version % 100),
        parameters={"version": version},
    )
    store.publish_file(
        "run/x.h5ad", lambda draft: CHECKPOINT.write(draft, state), validate=CHECKPOINT.validate
    )


def _read_checkpoint(store: Store) -> int:
    from cytopipe.storage.formats import CHECKPOINT

    state = CHECKPOINT.read(store.open_file("run/x.h5ad"))
    version = state.parameters["version"]
    _expect(bool((version == state.matrix).all()), "a checkpoint whose matrix is of another version")
    _expect(bool((state.cell_cluster == version % 100).all()), "a checkpoint with cells of another version")
    _expect(state.markers[0] == f"marker0_{version}", "a checkpoint with markers of another version")
    return version


def _publish_tiff(store: Store, version: int) -> None:
    import numpy as np

    from cytopipe.storage.formats import TIFF
    from cytopipe.storage.formats.image import Image

    image = Image(np.full((3, 64, 64), version, np.uint32), "CYX", tuple(f"{version}.{c}" for c in range(3)))
    store.publish_file("tiles/tile.tiff", lambda draft: TIFF.write(draft, image), validate=TIFF.validate)


def _read_tiff(store: Store) -> int:
    from cytopipe.storage.formats import TIFF
    from cytopipe.storage.formats.tiff import ReplacedError

    while True:
        try:
            image = TIFF.read(store.open_file("tiles/tile.tiff"))
            pixels = image.load()
        except ReplacedError:
            continue  # a writer was faster than this reader; nothing of two versions was given out
        version = int(image.channel_names[0].removesuffix(".0"))
        _expect(bool((version == pixels).all()), "a TIFF with pixels of another version")
        return version


# --------------------------------------------------------------------------- a directory


def _publish_zarr(store: Store, version: int) -> None:
    import numpy as np

    from cytopipe.storage.formats.image import Image
    from cytopipe.storage.formats.ome_zarr import OmeZarr

    labels = Image(np.full((80, 80), version, np.uint32), "YX", is_labels=True)
    image = Image(labels.pixels, "YX", labels={"cells": labels})
    format = OmeZarr(chunk_shape=(16, 16), shard=32)
    store.publish_directory(
        "plates/plate.zarr", lambda draft: format.write(draft, image), validate=format.validate
    )


def _read_zarr(store: Store) -> int:
    from cytopipe.storage.formats.ome_zarr import read_ome_zarr

    path = store.open_directory("plates/plate.zarr")
    images = [read_ome_zarr(path, level=level) for level in range(3)]
    version = int(images[0].load()[0, 0, 0])
    for level, image in enumerate(images):
        for values in (image, image.labels["cells"]):
            _expect(
                bool((values.load() == version).all()), f"a zarr whose level {level} is of another version"
            )
    return version


# --------------------------------------------------------------------------- a set of files


def _set_files(version: int) -> dict[str, bytes]:
    """Between 8 and 12 files, one of them the same in every version, so that files come, change, stay and
    go.
    """
    letters = format(version, "032b").replace("0", "A").replace("1", "C")
    count = 8 + version % 5
    files = {
        f"initial.cluster_{i:04d}.fasta": format_fasta(
            (f"record{i}_{j} version={version}", letters * 8) for j in range(3)
        )
        for i in range(count)
    }
    files["initial.unassigned.fasta"] = format_fasta([("constant", "ACGT" * 50)])
    return files


def _publish_set(store: Store, version: int) -> None:
    state = format_json({"version": version})
    store.publish_set(SET_FOLDER, SET_NAME, _set_files(version), owns=SET_OWNS, extra={"state.json": state})


def _read_set(store: Store) -> int:
    files = store.read_set(SET_FOLDER, SET_NAME, extra="state.json")
    state = json.loads(files.pop("state.json"))
    first = parse_fasta(files["initial.cluster_0000.fasta"])[0]
    version = int(first.description.removeprefix("version="))
    _expect(files == _set_files(version), "a set of two versions")
    _expect(state == {"version": version}, "a state of another version than its set")
    return version


CONTRACTS = {
    contract.name: contract
    for contract in (
        Contract("json", _publish_json, _read_json),
        Contract("h5ad", _publish_h5ad, _read_h5ad),
        Contract("checkpoint", _publish_checkpoint, _read_checkpoint),
        Contract("tiff", _publish_tiff, _read_tiff),
        Contract("zarr", _publish_zarr, _read_zarr),
        Contract("fasta set", _publish_set, _read_set),
    )
}
"""One contract per kind of artifact the store publishes."""
