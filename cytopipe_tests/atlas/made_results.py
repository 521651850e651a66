"""A small results root of three atlases with a planted truth, made in a second from a seed.

Each atlas has one level of eight cell types (one of them no vocabulary knows), 20 resamples and sample
profiles. In atlases ``aa``, ``bb`` and ``cc`` the activity of IFNG, TNFA and IL6 is the same in a cell type;
IL4 is drawn anew for each atlas.
"""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd

TARGETS = ("IFNG", "TNFA", "IL6", "IL4", "GDF99")
OWN_GENES = ("IFNG", "TNF", "IL6", "IL4")
LABELS = ("B cells", "CD4 T", "NK cells", "Monocytes", "HSPC", "Fibroblasts", "Endothelial", "cluster 9")
ATLASES = ("aa", "bb", "cc")
N_GENES, N_RESAMPLES, N_SAMPLES = 240, 20, 4


def write_signature(path: Path) -> Path:
    """A table of 240 genes x 5 targets, named like a user's."""
    rng = np.random.default_rng(11)
    weights = rng.normal(size=(N_GENES, len(TARGETS)))
    lines = ["\t".join(TARGETS)]
    lines += [
        f"{gene}\t" + "\t".join(map(repr, row)) for gene, row in zip(_genes(), weights.tolist(), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_pseudobulk(root: Path, atlas: str, level: str = "l1") -> None:
    """The main, resampled and sample files of one level, laid out as the platform lays them out."""
    rng = np.random.default_rng(11)
    weights = rng.normal(size=(N_GENES, len(TARGETS)))
    truth = np.random.default_rng(5).normal(size=(len(LABELS), len(TARGETS)))
    own = np.random.default_rng([ord(letter) for letter in atlas + level])
    truth[:, 3] = own.normal(size=len(LABELS))
    genes = [*_genes(), *OWN_GENES, *(f"OTHER{i}" for i in range(20))]

    def profiles(noise: float) -> np.ndarray:
        values = own.normal(4, noise, size=(len(LABELS), len(genes)))
        values[:, :N_GENES] += truth @ weights.T
        values[:, N_GENES : N_GENES + 4] = 3 + truth[:, :4] + own.normal(0, noise, size=(len(LABELS), 4))
        return np.maximum(values, 0).astype(np.float32)

    main = profiles(0.3)
    folder = root / atlas / "pseudobulk"
    folder.mkdir(parents=True, exist_ok=True)
    obs = pd.DataFrame({"cell_type": LABELS, "n_cells": np.arange(10, 18)}, index=LABELS)
    counts = np.round(np.expm1(main)).astype(np.int64)
    _write(folder / f"{atlas}_pseudobulk_{level}.h5ad", main, obs, genes, atlas, level, {"counts": counts})
    resampled = np.concatenate([main[None], *(profiles(0.5)[None] for _ in range(N_RESAMPLES - 1))])
    rows = resampled.transpose(1, 0, 2).reshape(-1, len(genes))
    obs = pd.DataFrame(
        {
            "cell_type": np.repeat(LABELS, N_RESAMPLES),
            "bootstrap_idx": np.tile(np.arange(N_RESAMPLES), len(LABELS)),
        }
    )
    obs.index = obs["cell_type"] + "|" + obs["bootstrap_idx"].astype(str)
    _write(folder / f"{atlas}_pseudobulk_{level}_resampled.h5ad", rows, obs, genes, atlas, level, {})
    samples = np.concatenate([np.round(np.expm1(profiles(0.4))) for _ in range(N_SAMPLES)]).astype(np.int64)
    obs = pd.DataFrame(
        {
            "cell_type": np.tile(LABELS, N_SAMPLES),
            "sample": np.repeat([f"s{i}" for i in range(N_SAMPLES)], len(LABELS)),
        }
    )
    obs.index = obs["cell_type"] + "|" + obs["sample"]
    _write(folder / f"{atlas}_pseudobulk_{level}_samples.h5ad", samples, obs, genes, atlas, level, {})


def _genes() -> list[str]:
    return [f"G{i:04d}" for i in range(N_GENES)]


def _write(path: Path, values, obs, genes, atlas, level, layers) -> None:
    anndata.AnnData(
        X=values,
        obs=obs.copy(),
        var=pd.DataFrame(index=list(genes)),
        layers=layers,
        uns={"atlas": atlas, "level": level},
    ).write_h5ad(path)
