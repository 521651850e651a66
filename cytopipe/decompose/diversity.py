"""How far apart species of a set are, judged by how much varies within them.

Two groups of records are two species if the distance between them is at least four times what is usual within
one (the "4x rule" of Birky et al. 2010: with less, chance alone divides the genealogy of one species like
that). What is usual within a species differs between markers and between taxa, so it is measured on the set
itself: the median, over clusters, of the mean distance between two of their sequences.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from cytopipe.decompose.distance import Distances
from cytopipe.decompose.parameters import BarcodeGap, Parameters

__all__ = ["narrowest_cut", "species_cut"]

#: Distance between species, in units of the mean distance within them (Birky C. W. et al. (2010) Using
#: population genetic theory and DNA sequences for species detection and identification in asexual organisms.
#: PLoS ONE 5(5):e10609).
BETWEEN_TO_WITHIN = 4.0

#: A cluster of fewer sequences says little of what varies within its species.
LEAST_SEQUENCES = 4

#: Sequences of a cluster that are measured at most.
SAMPLE = 9


def species_cut(
    clusters: Sequence[Collection[int]],
    distances: Distances,
    parameters: Parameters,
    gap: BarcodeGap | None = None,
) -> float:
    """Distance from which a barcode gap divides species, by what varies within the given clusters.

    Parameters
    ----------
    clusters : sequence of collection of int
        Positions of sequences.
    distances : Distances
    parameters : Parameters
    gap : BarcodeGap, optional
        Where the set is cut; by default at `max_lump`.

    Returns
    -------
    float
        Between twice `min_split` and the cut of the set; the latter where no cluster has four sequences.
    """
    widest = parameters.lump if gap is None else gap.divides
    sampled = [_spread(cluster) for cluster in clusters if len(cluster) >= LEAST_SEQUENCES]
    if not sampled:
        return widest
    rows, columns = (np.concatenate(side) for side in zip(*map(_pairs, sampled), strict=True))
    values = distances.pairs(rows, columns)
    ends = np.cumsum([len(sample) * (len(sample) - 1) // 2 for sample in sampled])[:-1]
    within = np.median([part.mean() for part in np.split(values, ends)])
    return float(np.clip(BETWEEN_TO_WITHIN * within, narrowest_cut(parameters, gap), widest))


def narrowest_cut(parameters: Parameters, gap: BarcodeGap | None = None) -> float:
    """The smallest distance from which species are ever divided."""
    return min(2.0 * parameters.min_split, parameters.lump if gap is None else gap.divides)


def _spread(cluster: Collection[int]) -> np.ndarray:
    """A few members, evenly spread over their order."""
    members = np.array(sorted(cluster), np.int64)
    return members[np.linspace(0, len(members) - 1, min(SAMPLE, len(members))).round().astype(np.int64)]


def _pairs(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.triu_indices(len(sample), 1)
    return sample[rows], sample[columns]
