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

from cytopipe.atlas.activity import Overlap, find_overlap, fit
from cytopipe.atlas.matrix_file import MatrixFile, open_matrix
from cytopipe.atlas.settings import ActivitySettings
from cytopipe.atlas.signatures import Signature

if TYPE_CHECKING:
    import anndata

__all__ = ["CODE_VERSION", "infer_activity", "overlap_words", "read_activity"]

CODE_VERSION = "1"
# Share of a signature's genes below which a person is told that activities may mean little.
LOW_COVERAGE = 0.2
LAYERS = ("beta", "se", "pvalue", "fdr")


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
        values = file.read("X", places)
        file.cell_types  # noqa: B018 - every row must name its group
        if resampled:
            z, layers = _score_resamples(fitted, values, file.obs, progress), {}
        else:
            found = fitted.score(values, groups=list(map(str, file.obs.index)), workers=workers)
            z, layers = found.z, {name: getattr(found, name) for name in LAYERS}
        return _as_anndata(file, signature, fitted.settings, overlap, z, layers)


def read_activity(activity: str | os.PathLike, layer: str = "X") -> pd.DataFrame:
    """One layer of an activity as groups x targets; X is z."""
    with open_matrix(Path(activity)) as file:
        return pd.DataFrame(file.read(layer), index=file.cell_types, columns=list(file.columns), dtype=float)


def overlap_words(activity: anndata.AnnData) -> str:
    """How many of the signature's genes the profiles have, and whether that is too few to mean much."""
    overlap, of = activity.uns["overlap"], activity.uns["signature"]["n_genes"]
    text = f"{overlap['n_common']:,} of {of:,} signature genes ({overlap['coverage']:.0%})"
    return text if overlap["coverage"] >= LOW_COVERAGE else f"{text}: few, so activities may mean little"


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


def _score_resamples(fitted, values: np.ndarray, obs: pd.DataFrame, progress) -> np.ndarray:
    """z of every resample, each scored with all its groups, rows as they were, float32."""
    numbers = obs["bootstrap_idx"].to_numpy()
    resamples = np.unique(numbers)
    z = np.empty((len(obs), len(fitted.signature.targets)), np.float32)
    for done, number in enumerate(resamples, 1):
        rows = np.flatnonzero(numbers == number)
        z[rows] = fitted.score(values[rows]).z
        if progress is not None:
            progress(done, len(resamples))
    return z
