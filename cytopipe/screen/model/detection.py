"""Where reads are: images filtered, noise known, spots found above what chance makes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cytopipe.screen.model import kernels

__all__ = [
    "BLOCK",
    "REACH",
    "Found",
    "blocks",
    "drift_of",
    "filled",
    "filtered",
    "gaps_of",
    "leads_of",
    "near_cells",
    "noise_of",
    "spots",
]

#: Side of the squares that are worked on at a time, px.
BLOCK = 512
#: A spot nearer to the border of the tile than this is not read: half of its surroundings are missing.
BORDER = 3
#: Cells that a spot may belong to are sought up to so many px from it.
REACH = 6
#: Bins of brightness in which noise is measured.
_BINS = 10


@dataclass
class Found:
    """Spots of a tile.

    Attributes
    ----------
    i, j : array (n,)
        Row and column, px.
    cell : array (n,)
        Label at the spot, or of the nearest cell within the margin.
    neighbour, neighbour_px : array (n, 2)
        Labels of the nearest two other cells within `REACH` px, 0 where there is none, and their distances.
    x : array (n, T, 4), float64
        Filtered values.
    level : array (n, 4)
        Local brightness.
    strength : array (n,)
        The statistic.
    apart : array (n, 2)
        Where the spot lies against its pixel, px, by the statistic around it.
    """

    i: np.ndarray
    j: np.ndarray
    cell: np.ndarray
    neighbour: np.ndarray
    neighbour_px: np.ndarray
    x: np.ndarray
    level: np.ndarray
    strength: np.ndarray
    apart: np.ndarray


def filtered(
    bases: np.ndarray, spot_sigma: float, background_sigma: float, drift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Difference of Gaussians of every plane, and the local brightness, mean over cycles.

    Parameters
    ----------
    bases : array (T, 4, H, W)
    drift : array (T, 4)
        Brightness of what is static in each plane, by which it is divided.

    Returns
    -------
    array (T, 4, H, W), array (4, H, W), float32
    """
    import cv2

    out = np.empty(bases.shape, np.float32)
    level = np.zeros(bases.shape[1:], np.float32)
    for t, planes in enumerate(bases):
        for c, plane in enumerate(planes):
            raw = plane.astype(np.float32)
            raw *= np.float32(1 / drift[t, c])
            wide = cv2.GaussianBlur(raw, (0, 0), background_sigma, borderType=cv2.BORDER_REFLECT)
            level[c] += wide
            np.subtract(
                cv2.GaussianBlur(raw, (0, 0), spot_sigma, borderType=cv2.BORDER_REFLECT), wide, out=out[t, c]
            )
    level /= len(bases)
    return out, level


def gaps_of(bases: np.ndarray) -> np.ndarray | None:
    """Where cycles show nothing, 0 in all channels, since they were shifted onto the others.

    Parameters
    ----------
    bases : array (T, 4, H, W)

    Returns
    -------
    array (T, H, W) of bool, or None where there are no gaps
    """
    gaps = ~bases.any(axis=1)
    borders = np.concatenate([gaps[:, 0], gaps[:, -1], gaps[:, :, 0], gaps[:, :, -1]], axis=1)
    # A camera without offset has zeros in the dark; a gap is a band along a border.
    return gaps if (borders.mean(axis=1) > 0.1).any() else None


def filled(bases: np.ndarray, gaps: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Cycles without gaps, and which pixels the filter fills from a gap (T, H, W).

    The mean of the cycles that show a pixel stands for one that does not, so that no edge looks like a spot.
    """
    import cv2

    if gaps is None or not gaps.any():
        return bases, None
    seen = np.maximum((~gaps).sum(axis=0), 1)
    mean = np.rint(bases.sum(axis=0, dtype=np.float64) / seen).astype(bases.dtype)
    square = np.ones((5, 5), np.uint8)
    near = np.stack([cv2.dilate(one.astype(np.uint8), square) > 0 for one in gaps])
    return np.where(gaps[:, None], mean, bases), near


def drift_of(bases: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
    """How bright the background of cells is in each plane, against its mean over cycles (T, 4).

    Parameters
    ----------
    bases : sequence of array (T, 4, H, W)
    masks : sequence of array (H, W), bool
        Pixels of cells.
    """
    found = []
    for planes, mask in zip(bases, masks, strict=True):
        inside, outside = (_some(planes, pixels) for pixels in (mask, ~mask))
        if inside.shape[2] < 50 or outside.shape[2] < 50:
            continue
        # The median pixel of a cell shows no spot; what lies outside of cells is taken off.
        above = np.median(inside, axis=2) - np.median(outside, axis=2)
        noise = np.median(np.abs(np.diff(inside.astype(float), axis=0)), axis=(0, 2)) / np.sqrt(
            inside.shape[2]
        )
        found.append(np.where(above.mean(axis=0) > 30 * noise, above, np.nan))
    if not found:
        return np.ones(bases[0].shape[:2])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN")
        above = np.nanmedian(np.stack([one / one.mean(axis=0) for one in found]), axis=0)
    return np.where(np.isfinite(above), np.clip(above, 0.3, 3.0), 1.0)


def _some(planes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Values (T, 4, n) of up to some 2000 pixels, evenly over a mask."""
    at = np.flatnonzero(mask.ravel())
    at = at[:: max(1, len(at) // 2000)]
    return planes.reshape(*planes.shape[:2], -1)[:, :, at]


def blocks(shape: tuple[int, int], halo: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Squares of an image with `halo` px around them: the wide one, and its own part within the wide one."""
    height, width = shape
    for y in range(0, height, BLOCK):
        for x in range(0, width, BLOCK):
            top, left = max(0, y - halo), max(0, x - halo)
            down, right = min(height, y + BLOCK), min(width, x + BLOCK)
            wide = (slice(top, min(height, down + halo)), slice(left, min(width, right + halo)))
            yield wide, (slice(y - top, down - top), slice(x - left, right - left))


def leads_of(
    values: np.ndarray, level: np.ndarray, noise: np.ndarray, static: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`kernels.leads`, in single precision."""
    return kernels.leads(values, level, *(np.asarray(one, np.float32) for one in (noise, static, weight)))


def near_cells(labels: np.ndarray, margin: int) -> np.ndarray:
    """Pixels of cells, and those within `margin` px of one."""
    import cv2

    mask = (labels > 0).astype(np.uint8)
    if margin:
        side = 2 * margin + 1
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    return mask.astype(bool)


def noise_of(values: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noise and static structure of filtered images as functions of the local brightness.

    Parameters
    ----------
    values : array (n, T, 4)
        Pixels of cells, spots among them.
    level : array (n, 4)

    Returns
    -------
    noise : array (4, 2)
        Variance = noise[c, 0] * level + noise[c, 1].
    static : array (4, 3)
        Variance = static[c, 0] * max(level - static[c, 2], 0)**2 + static[c, 1].
    """
    cycles = values.shape[1]
    noise, static = np.zeros((4, 2)), np.zeros((4, 3))
    for c in range(4):
        edges = np.quantile(level[:, c], np.linspace(0, 1, _BINS + 1))
        which = np.clip(np.searchsorted(edges, level[:, c], side="right") - 1, 0, _BINS - 1)
        middle, vary, still = np.zeros(_BINS), np.zeros(_BINS), np.zeros(_BINS)
        for b in range(_BINS):
            some = values[which == b, :, c]
            if len(some) < 20:
                middle[b] = np.nan
                continue
            centre = np.median(some, axis=1)
            # Differences of neighbouring cycles are free of what is static.
            steps = np.diff(some, axis=1)
            vary[b] = (1.4826 * np.median(np.abs(steps))) ** 2 / 2
            middle[b] = level[which == b, c].mean()
            spread = 1.4826 * np.median(np.abs(centre - np.median(centre)))
            still[b] = max(spread**2 - 1.5 * vary[b] / cycles, 0.05 * vary[b])
        good = ~np.isnan(middle)
        if not good.any():
            noise[c], static[c] = (0.0, 1.0), (0.0, 0.05, 0.0)
            continue
        middle, vary, still = middle[good], vary[good], still[good]
        noise[c] = _line(middle, vary)
        floor = np.quantile(level[:, c], 0.02)
        square = _line(np.maximum(middle - floor, 0) ** 2, still)
        static[c] = (*square, floor)
    return noise, static


def spots(
    values: np.ndarray,
    level: np.ndarray,
    labels: np.ndarray,
    own: tuple[slice, slice],
    at_border: tuple[bool, bool, bool, bool],
    gaps: np.ndarray | None,
    strength: np.ndarray,
    constant: np.ndarray | None,
    least: float,
    radius: int,
    margin: int,
) -> Found:
    """Spots of a block: peaks of the statistic with their filtered values.

    Peaks of `constant` that are far from those of `strength` are spots, too.

    What lies in `gaps` is NaN. `own` is the part of the block whose spots count; `at_border` tells whether
    its top, bottom, left and right end where the tile ends.
    """
    i, j = kernels.peaks(strength, radius, least, 0)
    strong, apart = strength[i, j], kernels.summits(strength, i, j)
    if constant is not None:
        also_i, also_j = kernels.peaks(constant, radius, least, 0)
        new = kernels.alone(also_i, also_j, i, j, radius)
        also_i, also_j = also_i[new], also_j[new]
        order = np.lexsort((np.append(j, also_j), np.append(i, also_i)))
        i, j = np.append(i, also_i)[order], np.append(j, also_j)[order]
        strong = np.append(strong, constant[also_i, also_j])[order]
        apart = np.concatenate([apart, kernels.summits(constant, also_i, also_j)])[order]
    low_i, high_i = own[0].start + BORDER * at_border[0], own[0].stop - BORDER * at_border[1]
    low_j, high_j = own[1].start + BORDER * at_border[2], own[1].stop - BORDER * at_border[3]
    kept = (i >= low_i) & (i < high_i) & (j >= low_j) & (j < high_j)
    i, j, strong, apart = i[kept], j[kept], strong[kept], apart[kept]
    near, away = kernels.owners(labels, i, j, margin, REACH)
    x = values[:, :, i, j].transpose(2, 0, 1).astype(np.float64)
    if gaps is not None:
        x[gaps[:, i, j].T] = np.nan
    return Found(
        i - own[0].start,
        j - own[1].start,
        near[:, 0],
        near[:, 1:],
        away[:, 1:],
        x,
        level[:, i, j].T.astype(float),
        strong,
        apart,
    )


def spot_width(
    values: Sequence[np.ndarray], rows: Sequence[np.ndarray], columns: Sequence[np.ndarray],
    spot_sigma: float, background_sigma: float,
) -> float:  # fmt: skip
    """Sigma (px) of the Gaussian that spots are before they are filtered.

    Parameters
    ----------
    values : sequence of array (T, 4, H, W)
        Filtered images.
    rows, columns : sequence of array
        Places of spots, the brightest ones.
    spot_sigma, background_sigma : float
        Of the filter, px.
    """
    reach, around = 2, []
    for one, i, j in zip(values, rows, columns, strict=True):
        inside = (i >= reach) & (j >= reach) & (i < one.shape[2] - reach) & (j < one.shape[3] - reach)
        i, j = i[inside], j[inside]
        steps = range(-reach, reach + 1)
        seen = np.stack([np.stack([one[:, :, i + a, j + b] for b in steps]) for a in steps]).astype(float)
        seen -= seen.mean(axis=2, keepdims=True)  # what changes over cycles is the spot alone
        centre = seen[reach, reach]
        power = (centre**2).sum(axis=(0, 1))
        around.append((seen * centre).sum(axis=(2, 3)) / np.maximum(power, 1e-9))
    found = np.concatenate(around, axis=2)
    middle = np.median(found, axis=2)
    distance = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    sizes = np.linspace(0.4, 4.0, 73)
    # A spot lies up to half a pixel off its peak, evenly: that widens the mean picture of spots.
    wide = np.sqrt(sizes**2 + 1 / 12)
    misfit = [((profile(distance, one, spot_sigma, background_sigma) - middle) ** 2).sum() for one in wide]
    return float(sizes[int(np.argmin(misfit))])


def profile(distance: np.ndarray, width: float, spot_sigma: float, background_sigma: float) -> np.ndarray:
    """The filtered picture of a spot of sigma `width` at a distance (px) from its centre, 1 in the centre."""
    near, far = width**2 + spot_sigma**2, width**2 + background_sigma**2
    height = lambda d2: np.exp(-0.5 * d2 / near) / near - np.exp(-0.5 * d2 / far) / far  # noqa: E731
    return height(np.square(distance)) / height(0.0)


def separated(
    x: np.ndarray, i: np.ndarray, j: np.ndarray, apart: np.ndarray,
    width: float, spot_sigma: float, background_sigma: float,
) -> np.ndarray:  # fmt: skip
    """Values of spots without the light, and the dark rings, of other spots near by.

    The value at the pixel of a spot is the sum of what all spots send there; the amounts that give these sums
    are found for all spots of an image at once.

    Parameters
    ----------
    x : array (n, T, 4)
        Filtered values at the pixels of spots.
    i, j : array (n,)
        Row and column, px.
    apart : array (n, 2)
        Where each spot lies against its pixel, px.
    width, spot_sigma, background_sigma : float
        Of the spot and the filter, px.

    Returns
    -------
    array (n, T, 4)
    """
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import splu
    from scipy.spatial import cKDTree

    n = len(i)
    if n < 2:
        return x
    pixel = np.column_stack([i, j]).astype(float)
    place = pixel + apart
    reach = 2.5 * np.hypot(width, background_sigma)
    pairs = cKDTree(place).query_pairs(reach, output_type="ndarray")
    to, of = np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]])
    sent = profile(np.hypot(*(pixel[to] - place[of]).T), width, spot_sigma, background_sigma)
    own = np.full(n, 1.0)
    mixed = csc_matrix(
        (np.concatenate([own, sent]), (np.append(np.arange(n), to), np.append(np.arange(n), of))), (n, n)
    )
    absent = np.isnan(x)
    found = splu(mixed).solve(np.where(absent, 0, x).reshape(n, -1)).reshape(x.shape)
    found[absent] = np.nan
    return found


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset, neither negative, of a line that relative errors are smallest from."""
    weight = 1 / np.maximum(y, 1e-9)
    design = np.column_stack([x, np.ones(len(x))]) * weight[:, None]
    scale = np.maximum(np.abs(design).max(axis=0), 1e-12)
    from scipy.optimize import nnls

    found = nnls(design / scale, y * weight)[0] / scale
    return float(found[0]), float(max(found[1], 1e-6))
