"""The measurements of cells the plain way, one object after the other, with scikit-image, mahotas and SciPy.

The twin of `cytopipe.screen.features`, and its peer in the benchmark: formulas are written a second time, for
arrays of one object, and only what concerns the object itself; foci and neighbours are not here.
"""

from __future__ import annotations

import warnings
from itertools import combinations, permutations

import numpy as np
import pandas as pd
from mahotas.features import haralick, pftas, zernike_moments
from mahotas.thresholding import otsu
from scipy.ndimage import distance_transform_edt
from scipy.spatial import ConvexHull, QhullError
from scipy.stats import median_abs_deviation, rankdata
from skimage.measure import regionprops


def measure_one_by_one(
    image: np.ndarray, labels: np.ndarray, channel_names: list[str], *, ceiling: int = 65535
) -> pd.DataFrame:
    """One row per label, columns without compartment, in the order of the catalogue."""
    rows = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for region in regionprops(labels, intensity_image=np.moveaxis(image, 0, -1)):
            rows[region.label] = _one(region, channel_names, ceiling)
    return pd.DataFrame.from_dict(rows, orient="index")


def _one(region, names, ceiling):
    inside = region.image
    planes = [np.ascontiguousarray(region.image_intensity[..., ch]) for ch in range(len(names))]
    found = dict(zip(("i", "j"), region.centroid, strict=True))
    found |= {f"bounds_{n}": value for n, value in enumerate(region.bbox)}
    depth = distance_transform_edt(np.pad(region.image_filled, 1))[1:-1, 1:-1]
    rim = _rim(region.image_filled)
    ring, wedge = _rings_and_wedges(region.image_filled, depth)
    channels = [
        _intensity(region, plane, rim)
        | _radial(plane, inside, ring, wedge)
        | _weighted(region, ch)
        | _texture(plane, ceiling)
        for ch, plane in enumerate(planes)
    ]
    for pattern in channels[0]:
        found |= {
            pattern.format(channel=name): one[pattern] for name, one in zip(names, channels, strict=True)
        }
    return found | _pairs(planes, inside, names) | _shape(region, depth)


def _rim(filled):
    padded = np.pad(filled, 1)
    height, width = filled.shape
    around = [padded[r : r + height, c : c + width] for r in range(3) for c in range(3)]
    return filled & ~np.logical_and.reduce(around)


def _intensity(region, plane, rim):
    values, edge = plane[region.image], plane[rim]
    rows, cols = np.nonzero(region.image)
    total = values.sum(dtype=float)
    row, col = (rows * values).sum() / total, (cols * values).sum() / total
    brightest = values.argmax()
    found = {
        "int": values.sum(),
        "mean": values.mean(),
        "std": values.std(),
        "max": values.max(),
        "min": values.min(),
        "int_edge": edge.sum(),
        "mean_edge": edge.mean(),
        "std_edge": edge.std(),
        "max_edge": edge.max(),
        "min_edge": edge.min(),
        "mass_displacement": np.hypot(rows.mean() - row, cols.mean() - col),
        "lower_quartile": np.percentile(values, 25),
        "median": np.median(values),
        "mad": median_abs_deviation(values),
        "upper_quartile": np.percentile(values, 75),
        "center_mass_r": row,
        "center_mass_c": col,
        "max_location_r": rows[brightest],
        "max_location_c": cols[brightest],
    }
    return {f"{{channel}}_{name}": value for name, value in found.items()}


def _rings_and_wedges(filled, depth):
    centre = [int(np.median(axis)) for axis in np.nonzero(depth == depth.max())]
    rows, cols = np.indices(filled.shape)
    down, right = rows - centre[0], cols - centre[1]
    out = np.sqrt((down**2 + right**2).astype(float))
    ring = np.maximum(np.ceil(4 * (out / (out + depth))), 1) - 1
    return ring, (down > 0) + 2 * (right > 0) + 4 * (abs(down) > abs(right))


def _radial(plane, inside, ring, wedge):
    values, ring, wedge = plane[inside].astype(float), ring[inside], wedge[inside]
    shares, means, spreads = {}, {}, {}
    for n in range(4):
        here = ring == n
        share = values[here].sum() / values.sum()
        parts = [values[here & (wedge == w)] for w in range(8)]
        parts = np.array([part.mean() for part in parts if part.size])
        shares[f"{{channel}}_frac_at_d_{n}"] = share
        means[f"{{channel}}_mean_frac_{n}"] = share / here.mean() if here.any() else np.nan
        spreads[f"{{channel}}_radial_cv_{n}"] = parts.std() / parts.mean() if here.any() else np.nan
    return shares | means | spreads


def _weighted(region, ch):
    moments = region.moments_weighted_hu[..., ch]
    return {f"{{channel}}_weighted_hu_moments_{n}": value for n, value in enumerate(moments)}


def _texture(plane, ceiling):
    statistics = pftas(plane, T=otsu(plane, ignore_zeros=True))
    levels = np.minimum(plane.astype(np.int64) * 256 // (ceiling + 1), 255).astype(np.uint8)
    try:
        features = haralick(levels, ignore_zeros=True, distance=5, return_mean=True)
    except ValueError:
        features = [np.nan] * 13
    found = {f"{{channel}}_pftas_{n}": value for n, value in enumerate(statistics)}
    return found | {f"{{channel}}_haralick_5_{n}": value for n, value in enumerate(features)}


def _pairs(planes, inside, names):
    values = np.array([plane[inside] for plane in planes])
    constant = values.min(axis=1) == values.max(axis=1)
    coefficients = np.atleast_2d(np.corrcoef(values))
    found = {}
    pairs = list(combinations(range(len(names)), 2))
    for a, b in pairs:
        undefined = constant[a] or constant[b]
        found[f"correlation_{names[a]}_{names[b]}"] = np.nan if undefined else coefficients[a, b]
    for a, b in permutations(range(len(names)), 2):
        line = np.stack([values[a], np.ones(values.shape[1])], axis=1)
        slope = np.nan if constant[a] else np.linalg.lstsq(line, values[b], rcond=None)[0][0]
        found[f"lstsq_slope_{names[a]}_{names[b]}"] = slope
    parts = [_colocalization(values[a], values[b]) for a, b in pairs]
    patterns = [f"{word}_{{}}_{{}}" for word in ("overlap", "K", "K", "manders", "manders", "rwc", "rwc")]
    for place, pattern in enumerate(patterns):
        for (a, b), part in zip(pairs, parts, strict=True):
            first, second = (b, a) if place in (2, 4, 6) else (a, b)
            found[pattern.format(names[first], names[second])] = part[place]
    return found


def _colocalization(a, b):
    if not a.any() or not b.any():
        return [np.nan] * 7
    bright_a, bright_b = a > otsu(a), b > otsu(b)
    ranks = [rankdata(one, method="dense").astype(int) for one in (a, b)]
    highest = max(one.max() for one in ranks)
    weight = (highest - abs(ranks[0] - ranks[1])) / highest
    a, b = a.astype(float), b.astype(float)
    shared = (a * b).sum()
    return [
        shared / np.sqrt((a * a).sum() * (b * b).sum()),
        shared / (a * a).sum(),
        shared / (b * b).sum(),
        a[bright_b].sum() / a.sum(),
        b[bright_a].sum() / b.sum(),
        (a * weight)[bright_b].sum() / a.sum(),
        (b * weight)[bright_a].sum() / b.sum(),
    ]


def _shape(region, depth):
    perimeter, central = region.perimeter, region.moments_central
    deep = depth[region.image_filled]
    found = {
        "area": region.area,
        "perimeter": perimeter,
        "convex_area": region.area_convex,
        "form_factor": 4 * np.pi * region.area / perimeter**2 if perimeter else np.nan,
        "solidity": region.solidity,
        "extent": region.extent,
        "euler_number": region.euler_number,
        "centroid_r": region.centroid_local[0],
        "centroid_c": region.centroid_local[1],
        "eccentricity": region.eccentricity,
        "major_axis": region.axis_major_length,
        "minor_axis": region.axis_minor_length,
        "orientation": region.orientation,
        "compactness": 2 * np.pi * (central[0, 2] + central[2, 0]) / region.area**2,
        "max_radius": deep.max(),
        "median_radius": np.median(deep),
        "mean_radius": deep.mean(),
    }
    found |= _feret_and_zernike(region)
    return found


def _feret_and_zernike(region):
    names = ["min_feret_diameter", "max_feret_diameter"]
    names += [f"{kind}_feret_{at}" for kind in ("min", "max") for at in ("r0", "c0", "r1", "c1")]
    orders = [f"zernike_{n}_{m}" for n in range(10) for m in range(n % 2, n + 1, 2)]
    hu = {f"hu_moments_{n}": value for n, value in enumerate(region.moments_hu)}
    try:
        corners = region.coords[ConvexHull(region.coords).vertices]
    except (QhullError, ValueError):
        return dict.fromkeys(names, np.nan) | hu | dict.fromkeys(orders, np.nan)
    following = np.roll(corners, -1, axis=0)
    step = following - corners
    across = corners[:, None] - corners[None]
    area = abs(step[None, :, 0] * across[..., 1] - step[None, :, 1] * across[..., 0])
    widths = (area / np.hypot(*step.T)).max(axis=0)
    apart = np.sqrt((across**2).sum(axis=-1))
    edge, pair = widths.argmin(), np.unravel_index(apart.argmax(), apart.shape)
    places = [*(corners[edge] + following[edge]) / 2, *corners[area[:, edge].argmax()]]
    feret = [widths.min(), apart.max(), *places, *corners[pair[0]], *corners[pair[1]]]
    centre, diameter = smallest_circle(corners.astype(float))
    size = int(np.ceil(diameter - 1e-9)) + 3
    shift = np.round(diameter / 2 - centre) + 1
    image = np.zeros((size, size))
    image[tuple((region.coords + shift).astype(int).T)] = 1
    # the radius a little larger, so that noise does not leave out pixels on the circle
    radius = np.ceil(diameter - 1e-9) / 2 + 1e-12
    moments = zernike_moments(image, radius=radius, degree=9, cm=centre + shift)
    return dict(zip(names, feret, strict=True)) | hu | dict(zip(orders, moments, strict=True))


def smallest_circle(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and diameter of the smallest circle around points: Welzl's, without recursion."""
    centre, radius = points[0], 0.0

    def outside(p):
        return np.hypot(*(p - centre)) > radius + 1e-9

    for i, p in enumerate(points):
        if not outside(p):
            continue
        centre, radius = p, 0.0
        for j, q in enumerate(points[:i]):
            if not outside(q):
                continue
            centre, radius = (p + q) / 2, np.hypot(*(p - q)) / 2
            for s in points[:j]:
                if outside(s):
                    equations = 2 * np.array([q - p, s - p])
                    centre = np.linalg.solve(equations, [q @ q - p @ p, s @ s - p @ p])
                    radius = np.hypot(*(p - centre))
    return centre, 2 * radius
