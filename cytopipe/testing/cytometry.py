"""Synthetic cytometry with the truth: blood cells of several donors as a cytometer would measure them.

Data are a function of their seed. Every cell has a population, every population a lineage; some cells are
doublets, two cells measured as one, which carry the markers of both. Samples differ in the abundance of
their populations and in the gain of every channel.

    data = make_cytometry(seed=7, n_samples=3, cells_per_sample=5_000)
    data.table                       # CellTable, as measured
    data.truth                       # population, lineage, doublet of every cell
    write_cytometry(data, folder)    # one FCS file per sample; or CSV, or Parquet; truth.csv beside them
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cytopipe.errors import InputError
from cytopipe.heatmap.cells.table import CellTable

__all__ = ["MARKERS", "POPULATIONS", "Cytometry", "Population", "make_cytometry", "write_cytometry"]


@dataclass(frozen=True)
class Population:
    """Cells of one kind.

    Parameters
    ----------
    lineage : str
    share : float
        Of all cells, before samples vary it.
    levels : mapping of str to float
        Median of arcsinh(intensity / 5) per marker; a marker that is not named is negative.
    """

    lineage: str
    share: float
    levels: Mapping[str, float]


#: Markers of the panel with the detector of each, in mass cytometry.
MARKERS = {
    "CD45": "Y89Di", "CD3": "Er170Di", "CD4": "Nd145Di", "CD8": "Nd146Di", "CD19": "Nd142Di",
    "CD20": "Sm147Di", "CD56": "Yb176Di", "CD16": "Ho165Di", "CD14": "Lu175Di", "CD11c": "Tb159Di",
    "HLA-DR": "Yb174Di", "CD123": "Eu151Di", "CD25": "Tm169Di", "FoxP3": "Dy162Di", "CD45RA": "Nd143Di",
    "CCR7": "Yb171Di", "CD27": "Gd158Di", "IgD": "Pr141Di", "CD38": "Yb172Di", "CD66b": "Sm152Di",
    "TCRgd": "Nd150Di", "CD11b": "Nd144Di", "CD33": "Gd155Di", "CD161": "Dy164Di", "Ki67": "Er168Di",
}  # fmt: skip

_T, _B = {"CD45": 4.5, "CD3": 4.2}, {"CD45": 4.2, "CD19": 3.6, "CD20": 4.0, "HLA-DR": 3.4}
_NK, _MYELOID = {"CD45": 4.3, "CD161": 2.0}, {"CD45": 3.8, "CD33": 3.2, "CD11b": 3.6, "HLA-DR": 2.8}
POPULATIONS = {
    "CD4 naive": Population("T cells", 0.16, _T | {"CD4": 4.0, "CD45RA": 3.8, "CCR7": 3.2, "CD27": 3.4}),
    "CD4 memory": Population("T cells", 0.17, _T | {"CD4": 4.1, "CD27": 2.6, "CCR7": 1.0, "CD161": 1.2}),
    "Treg": Population("T cells", 0.025, _T | {"CD4": 3.9, "CD25": 3.5, "FoxP3": 3.0, "CD27": 2.9}),
    "CD8 naive": Population("T cells", 0.09, _T | {"CD8": 4.6, "CD45RA": 3.9, "CCR7": 3.1, "CD27": 3.5}),
    "CD8 effector": Population("T cells", 0.08, _T | {"CD8": 4.5, "CD45RA": 2.6, "Ki67": 1.4, "CD16": 0.8}),
    "gamma delta T": Population("T cells", 0.02, _T | {"TCRgd": 3.8, "CD8": 1.2, "CD161": 2.4}),
    "B naive": Population("B cells", 0.06, _B | {"IgD": 3.6, "CD45RA": 3.2, "CCR7": 1.8}),
    "B memory": Population("B cells", 0.03, _B | {"CD27": 3.0, "CD45RA": 2.8}),
    "plasmablasts": Population("B cells", 0.006, {"CD45": 3.2, "CD19": 2.8, "CD38": 5.4, "CD27": 4.2}
                               | {"Ki67": 3.0, "HLA-DR": 2.0}),
    "NK CD56dim": Population("NK cells", 0.07, _NK | {"CD56": 2.8, "CD16": 3.9, "CD38": 2.4}),
    "NK CD56bright": Population("NK cells", 0.008, _NK | {"CD56": 4.8, "CD27": 1.8, "CD38": 2.8}),
    "classical monocytes": Population("myeloid", 0.12, _MYELOID | {"CD14": 4.6, "CD11c": 3.0, "CD38": 2.0}),
    "non-classical monocytes": Population("myeloid", 0.02, _MYELOID | {"CD16": 3.9, "CD11c": 3.6}),
    "cDC": Population("myeloid", 0.012, _MYELOID | {"CD11c": 4.4, "HLA-DR": 4.8}),
    "pDC": Population("myeloid", 0.006, {"CD45": 3.6, "CD123": 4.9, "HLA-DR": 4.0, "CD45RA": 3.0}),
    "basophils": Population("granulocytes", 0.008, {"CD45": 3.2, "CD123": 4.2, "CD11b": 2.2, "CD33": 2.0}),
    "neutrophils": Population("granulocytes", 0.115, {"CD45": 2.6, "CD66b": 4.8, "CD16": 4.4, "CD11b": 4.0}),
}  # fmt: skip

_EXPANDED = {"CD8 effector": 2.2, "plasmablasts": 3.0, "CD4 memory": 1.3}  # in samples that are stimulated
_SPREAD = 0.42  # of arcsinh(intensity / 5) within a population, where it is positive
_NEGATIVE = 0.12  # median level of a marker that a population lacks
_GAIN = 0.08  # of the logarithm, between samples


@dataclass(frozen=True, eq=False)
class Cytometry:
    """Cells as measured, and the truth.

    Parameters
    ----------
    table : CellTable
        Intensities, float32. Mass cytometry: counts. Flow cytometry: before compensation.
    truth : DataFrame
        One row per cell: sample, population, lineage, doublet.
    spillover : ndarray or None
        (n_markers, n_markers); row i is how much the dye of marker i gives in every channel. Flow cytometry
        only.
    """

    table: CellTable
    truth: pd.DataFrame
    spillover: np.ndarray | None = None

    @property
    def samples(self) -> list[str]:
        """Names of the samples, in their order."""
        return list(dict.fromkeys(self.truth["sample"]))


def make_cytometry(
    seed: int = 0,
    *,
    n_samples: int = 4,
    cells_per_sample: int = 5_000,
    markers: Sequence[str] | None = None,
    doublets: float = 0.02,
    technology: str = "mass",
) -> Cytometry:
    """Draw cells.

    Parameters
    ----------
    seed : int
        A sample does not depend on how many samples there are.
    n_samples, cells_per_sample : int
        Every second sample is stimulated: its effector cells are expanded.
    markers : sequence of str, optional
        Of `MARKERS`; all by default.
    doublets : float
        Share of cells that are two cells of different lineages.
    technology : str
        ``mass``: counts that are never negative. ``flow``: noise around 0 and spillover between neighbours.

    Raises
    ------
    InputError
        Markers that are unknown, a share outside 0 to 1, or another technology.
    """
    chosen = tuple(MARKERS if markers is None else markers)
    if unknown := [name for name in chosen if name not in MARKERS]:
        raise InputError(f"there is no marker {', '.join(unknown)}", expected=", ".join(MARKERS))
    if technology not in ("mass", "flow") or not 0 <= doublets <= 1:
        raise InputError(
            "cells cannot be drawn like this",
            expected="technology mass or flow, doublets from 0 to 1",
            found=f"technology {technology}, doublets {doublets}",
        )
    spillover = _spillover(len(chosen)) if technology == "flow" else None
    parts = [
        _sample(np.random.default_rng([seed, number]), number, cells_per_sample, chosen, doublets, spillover)
        for number in range(n_samples)
    ]
    truth = pd.concat([part[2] for part in parts], ignore_index=True)
    cells = pd.concat([part[1] for part in parts], ignore_index=True)
    channels = tuple(
        MARKERS[name] if technology == "mass" else f"FL{number}-A" for number, name in enumerate(chosen, 1)
    )
    values = np.concatenate([part[0] for part in parts])
    return Cytometry(CellTable(values, chosen, channels, cells), truth, spillover)


def write_cytometry(data: Cytometry, folder: Path, kind: str = "fcs") -> list[Path]:
    """Write the samples as a cytometer does, one file each, and ``truth.csv``.

    Parameters
    ----------
    data : Cytometry
    folder : Path
        Made where it is absent.
    kind : str
        fcs, csv or parquet.

    Returns
    -------
    list of Path
        The files of the samples.
    """
    if kind not in ("fcs", "csv", "parquet"):
        raise InputError(f"there is no kind {kind!r} to write", expected="fcs, csv or parquet")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for sample in data.samples:
        rows = (data.truth["sample"] == sample).to_numpy()
        part = data.table.subset(rows)
        path = folder / f"{sample}.{kind}"
        others = part.cells.drop(columns=["sample", "condition"])
        if kind == "fcs":
            _write_fcs(path, part, others, data.spillover)
        else:
            table = pd.concat([others, pd.DataFrame(part.values, columns=list(part.markers))], axis=1)
            table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path, index=False)
        written.append(path)
    data.truth.to_csv(folder / "truth.csv", index=False)
    return written


# ---------------------------------------------------------------------- one sample


def _sample(
    rng: np.random.Generator,
    number: int,
    n_cells: int,
    markers: Sequence[str],
    doublets: float,
    spillover: np.ndarray | None,
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    names, stimulated = list(POPULATIONS), number % 2 == 1
    shares = np.array([POPULATIONS[name].share for name in names]) * rng.lognormal(0, 0.25, len(names))
    if stimulated:
        shares *= [_EXPANDED.get(name, 1.0) for name in names]
    population = rng.choice(len(names), n_cells, p=shares / shares.sum())
    values = _intensities(rng, population, markers)
    dna = 250 * rng.lognormal(0, 0.12, n_cells)
    lineages = np.array([POPULATIONS[name].lineage for name in names])
    lineage, told = lineages[population], np.array(names)[population]
    second = rng.choice(len(names), n_cells, p=shares / shares.sum())
    doublet = (rng.random(n_cells) < doublets) & (lineages[second] != lineage)
    values[doublet] += _intensities(rng, second[doublet], markers)
    dna[doublet] += 250 * rng.lognormal(0, 0.12, int(doublet.sum()))
    both = [
        " + ".join(sorted(pair)) for pair in zip(told[doublet], np.array(names)[second[doublet]], strict=True)
    ]
    told, lineage = told.astype(object), lineage.astype(object)
    told[doublet], lineage[doublet] = both, "mixed"
    values *= rng.lognormal(0, _GAIN, len(markers))
    if spillover is None:
        # Ions are counted; the instrument spreads each count over the unit below it.
        values = np.maximum(rng.poisson(values) - rng.random(values.shape), 0)
    else:
        values = (values * 40) @ spillover
        values += rng.normal(0, 40 + 0.05 * np.sqrt(np.abs(values) * 100))
    sample = f"donor{number + 1:02d}"
    cells = pd.DataFrame(
        {
            "sample": sample,
            "condition": "stimulated" if stimulated else "resting",
            "Time": np.sort(rng.uniform(0, 600_000, n_cells)).astype(np.float32),
            "Event_length": rng.normal(25, 4, n_cells).round().clip(10, 75).astype(np.float32),
            "DNA1": rng.poisson(dna).astype(np.float32),
            "DNA2": rng.poisson(dna * 1.8).astype(np.float32),
        }
    )
    truth = pd.DataFrame({"sample": sample, "population": told, "lineage": lineage, "doublet": doublet})
    return values.astype(np.float32), cells, truth


def _intensities(rng: np.random.Generator, population: np.ndarray, markers: Sequence[str]) -> np.ndarray:
    """Expected counts of cells of these populations, (n_cells, n_markers)."""
    levels = np.array(
        [[one.levels.get(marker, _NEGATIVE) for marker in markers] for one in POPULATIONS.values()]
    )
    level = levels[population]
    return 5 * np.sinh(
        np.abs(level + rng.normal(0, 1, level.shape) * np.where(level > _NEGATIVE, _SPREAD, 0.1))
    )


def _spillover(n_markers: int) -> np.ndarray:
    """Every dye gives a little in the channels beside its own."""
    matrix = np.eye(n_markers)
    for place in range(n_markers - 1):
        matrix[place, place + 1], matrix[place + 1, place] = 0.12, 0.03
    return matrix


def _write_fcs(path: Path, part: CellTable, others: pd.DataFrame, spillover: np.ndarray | None) -> None:
    import flowio

    metadata = {"cyt": "cytopipe synthetic", "src": path.stem}
    if spillover is not None:
        numbers = ",".join(f"{one:g}" for one in spillover.ravel())
        metadata["spillover"] = f"{len(part.channels)},{','.join(part.channels)},{numbers}"
    values = np.concatenate([others.to_numpy(np.float32), part.values], axis=1)
    with path.open("wb") as stream:
        flowio.create_fcs(
            stream,
            values.ravel(),
            [*others, *part.channels],
            opt_channel_names=[*others, *part.markers],
            metadata_dict=metadata,
        )
