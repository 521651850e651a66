"""Checkpoints as artifacts: one h5ad file, or one Zarr directory, with the same content.

The value is a `HeatmapState`; the same state gives the same bytes. Small arrays are stored as they are,
because a compressed one would be larger; from 64 KiB on they are chunked and compressed with gzip, which
every reader has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.errors import InputError
from cytopipe.heatmap.artifact import (
    KEY,
    load_heatmap_state,
    parse_document,
    serialize_heatmap_state,
    validate_file,
)
from cytopipe.heatmap.state import HeatmapState
from cytopipe.storage.formats.format import DirectoryFormat, FileFormat

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["CHECKPOINT", "CHECKPOINT_ZARR", "Checkpoint", "CheckpointZarr", "read_document"]

COMPRESS_FROM = 64 << 10
_CHUNK_BYTES = 256 << 10
_GROUPS = ("obs", "var", "obsm", "varm", "layers", "obsp", "varp", "uns")


def read_document(path: Path | str) -> dict[str, Any]:
    """The JSON document of an h5ad checkpoint, and nothing else of it: a few milliseconds.

    Raises
    ------
    InputError
        Not an HDF5 file, or none with such a document.
    RefusedError
        The document lies elsewhere, or is larger than it may be.
    """
    from cytopipe.heatmap.artifact import MAX_DOCUMENT_BYTES
    from cytopipe.storage.guard.hdf5 import read_one_text

    where = f'{path}: uns["{KEY}"]'
    document = parse_document(read_one_text(path, f"uns/{KEY}", max_bytes=MAX_DOCUMENT_BYTES), where)
    if not isinstance(document, dict):
        raise InputError("is no checkpoint", where=where, found=type(document).__name__)
    return document


class _Checkpoint:
    """What both layouts share."""

    def read(self, path: Path) -> HeatmapState:
        """The state, checked."""
        return load_heatmap_state(path)

    def validate(self, draft: Path) -> None:
        """Read it as a stranger would, and look at everything."""
        if findings := validate_file(draft):
            raise InputError(findings)


class Checkpoint(_Checkpoint, FileFormat):
    """A heat map checkpoint with the suffix ``.h5ad``."""

    name, suffix, kinds = "checkpoint", ".h5ad", ("anndata", "heatmap")

    def write(self, draft: Path, value: HeatmapState | AnnData) -> None:
        """Write a state, or the AnnData that `serialize_heatmap_state` made of one."""
        import h5py
        from anndata.io import write_elem

        adata = _adata_of(value)
        # in memory first: HDF5 would write each of the hundred small objects by itself
        options = {"driver": "core", "backing_store": False, "libver": ("v110", "v110")}
        with h5py.File(draft.name, "w", **options) as file:
            file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
            _write_array(file, "X", adata.X)
            for group in _GROUPS:
                mapping = getattr(adata, group)
                if group in ("obs", "var"):
                    write_elem(file, group, mapping)
                    continue
                large = {key: item for key, item in mapping.items() if _is_large(item)}
                write_elem(file, group, {key: mapping[key] for key in sorted(mapping) if key not in large})
                for key in sorted(large):
                    _write_array(file[group], key, large[key])
            file.flush()
            image = file.id.get_file_image()
        draft.write_bytes(image)

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """Step, clusters, markers, metaclusters and cells."""
        document = read_document(path)
        told = {key: value for key, value in document["counts"].items() if value is not None}
        return {"step": document["checkpoint"]["step_id"], **told}


class CheckpointZarr(_Checkpoint, DirectoryFormat):
    """A heat map checkpoint as a Zarr directory (format 3), with the content of the h5ad."""

    name, suffix, kinds = "checkpoint_zarr", ".zarr", ("zarr", "heatmap")

    def write(self, draft: Path, value: HeatmapState | AnnData) -> None:
        """Write a state, or the AnnData of one."""
        import warnings

        import anndata

        adata = _adata_of(value)
        with (
            anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", message="Consolidated metadata")  # anndata's own choice
            adata.write_zarr(draft)

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """Step, clusters and markers."""
        state = self.read(path)
        return {"step": state.step_id, "n_clusters": state.n_clusters, "n_markers": state.n_markers}


CHECKPOINT, CHECKPOINT_ZARR = Checkpoint(), CheckpointZarr()


def _adata_of(value: HeatmapState | AnnData) -> AnnData:
    from anndata import AnnData

    if isinstance(value, HeatmapState):
        return serialize_heatmap_state(value)
    if isinstance(value, AnnData):
        return value
    raise InputError(f"a checkpoint is a HeatmapState or its AnnData, not a {type(value).__name__}")


def _is_large(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind != "O" and value.nbytes >= COMPRESS_FROM


def _write_array(group: Any, name: str, array: np.ndarray) -> None:
    from anndata.io import write_elem

    options: dict[str, Any] = {}
    if _is_large(array):
        rows = max(1, _CHUNK_BYTES // max(1, array.nbytes // len(array)))
        chunks = (min(rows, len(array)), *array.shape[1:])
        options = {"chunks": chunks, "compression": "gzip", "compression_opts": 6, "shuffle": True}
    write_elem(group, name, array, dataset_kwargs=options)
