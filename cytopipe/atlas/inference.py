"""From profiles to activities of a signature's targets.

Of wide profiles only the signature's genes reach memory. Resamples are scored one resample at a time with all
its groups, exactly as the profiles are, and only their z is kept. The result says in ``uns`` how it was made.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cytopipe.atlas.activity import Fitted, Overlap, find_overlap, fit
from cytopipe.atlas.matrix_file import MatrixFile, open_matrix
from cytopipe.atlas.settings import ActivitySettings
from cytopipe.atlas.signatures import Signature

if TYPE_CHECKING:
    import anndata

__all__ = ["CODE_VERSION", "infer_activity", "overlap_of", "read_activity"]

CODE_VERSION = "1"
LAYERS = ("beta", "se", "pvalue", "fdr")
_ROWS_AT_ONCE = 256  # 60 MB of the genes and targets of SecAct, in float64


def infer_activity(
    profiles: str | os.PathLike,
    signature: Signature,
    settings: ActivitySettings | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> anndata.AnnData:
    """Infer the activity of a signature in every row of profiles.

    Parameters
    ----------
    profiles : H5adFile or path
        X = log1p(CPM), obs ``cell_type`` and, if resampled, ``bootstrap_idx``.
    signature : Signature
    settings : ActivitySettings, optional
        Of resamples only z is kept, so no permutations are drawn for them.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called as ``progress(done, total)`` after each resample.

    Returns
    -------
    AnnData, rows as in the profiles x targets
        X = z, float64; layers beta, se, pvalue, fdr. Of resamples z alone, as float32: they are many.

    Raises
    ------
    InputError
        Fewer than 100 common genes, values that are no numbers, or a file that is no pseudobulk.
    RefusedError, BudgetError
        A file that leads outside itself or declares more than fits.
    """
    path = Path(profiles)
    with open_matrix(path) as file:
        overlap = find_overlap(file.columns, signature, where=str(path))
        wanted = set(overlap.common)
        places = np.array([place for place, gene in enumerate(file.columns) if gene in wanted])
        resampled = "bootstrap_idx" in file.obs
        chosen = settings or ActivitySettings()
        if resampled:
            chosen = chosen.of_resamples()
        fitted = fit([file.columns[place] for place in places], signature, chosen, where=str(path))
        file.cell_types  # noqa: B018 - every row must name its group
        if resampled:
            z, layers = _score_resamples(fitted, file, places, progress), {}
        else:
            values = file.read("X", places)
            found = fitted.score(values, groups=list(map(str, file.obs.index)), workers=workers)
            z, layers = found.z, {name: getattr(found, name) for name in LAYERS}
        return _as_anndata(file, signature, fitted.settings, overlap, z, layers)


def read_activity(activity: str | os.PathLike, layer: str = "X") -> pd.DataFrame:
    """One layer of an activity as groups x targets; X is z."""
    with open_matrix(Path(activity)) as file:
        return pd.DataFrame(file.read(layer), index=file.cell_types, columns=list(file.columns), dtype=float)


def overlap_of(activity: anndata.AnnData) -> Overlap:
    """The genes that an activity stands on."""
    told = activity.uns["overlap"]
    return Overlap(
        common=tuple(told["genes"]),
        n_signature_genes=activity.uns["signature"]["n_genes"],
        n_profile_genes=told["n_profile_genes"],
        ambiguous=tuple(told["ambiguous"]),
    )


def _as_anndata(
    file: MatrixFile,
    signature: Signature,
    settings: ActivitySettings,
    overlap: Overlap,
    z: np.ndarray,
    layers: dict[str, np.ndarray],
) -> anndata.AnnData:
    import anndata

    told = {"signature": signature.name, "n_common_genes": len(overlap.common), **settings.as_json()}
    return anndata.AnnData(
        X=z,
        obs=file.obs.copy(),
        var=pd.DataFrame(index=pd.Index(signature.targets, name="target")),
        layers=layers,
        uns={
            "atlas": str(file.uns.get("atlas", "")),
            "level": str(file.uns.get("level", "")),
            "signature": {
                "name": signature.name,
                "sha256": signature.sha256,
                "n_genes": overlap.n_signature_genes,
            },
            "settings": {key: "" if value is None else value for key, value in told.items()},
            "overlap": {
                "n_common": len(overlap.common),
                "n_profile_genes": overlap.n_profile_genes,
                "coverage": overlap.coverage,
                "genes": np.array(overlap.common, dtype=object),
                "ambiguous": np.array(overlap.ambiguous, dtype=object),
            },
        },
    )


def _score_resamples(fitted: Fitted, file: MatrixFile, places: np.ndarray, progress) -> np.ndarray:
    """z of every resample, rows as they were, float32: in blocks of rows, or resample by resample where
    genes are
    centred over groups.
    """
    from cytopipe.storage.guard.budget import declared_bytes, require_budget

    numbers = file.obs["bootstrap_idx"].to_numpy()
    resamples = np.unique(numbers)
    shape = (len(file.obs), len(fitted.signature.targets))
    require_budget(declared_bytes(shape, 2 * 4), None, what="z of all resamples", where=str(file.path))
    z = np.empty(shape, np.float32)
    if fitted.by_row:
        for first, values in file.blocks(places):
            for row in range(0, len(values), _ROWS_AT_ONCE):
                part = values[row : row + _ROWS_AT_ONCE]
                z[first + row : first + row + len(part)] = fitted.z_scores(part)
            if progress is not None:
                progress(len(resamples) * (first + len(values)) // len(z), len(resamples))
        return z
    values = file.read("X", places)
    for done, number in enumerate(resamples, 1):
        rows = np.flatnonzero(numbers == number)
        z[rows] = fitted.z_scores(values[rows])
        if progress is not None:
            progress(done, len(resamples))
    return z
