"""Cycles of a tile on each other: shift, rotation and scale of each cycle, chromatic shift of each channel.

Cycles are found roughly by correlation, then all base planes are fitted together: each against the mean of
the planes of all other cycles, since a spot shows another base in the next cycle but stands in the same
place. The parameters are those of the optics (one similarity for a cycle, one for a channel), so that a plane
with few spots borrows from the others. Pixels are interpolated once, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytopipe.errors import Finding, InputError
from cytopipe.screen.correlation import bandpass, shift_between, window_shifts
from cytopipe.screen.parameters import CycleAlignmentSettings

__all__ = ["Registration", "register_cycles", "resample"]

_SPOT_PX = (0.8, 3.0)  # Gaussians between which the spots of a sequencing cycle lie
_NUCLEUS_PX = (2.0, 16.0)
_COARSE_SIDE = 512  # pixels of the image in which cycles are found first
_LARGEST_TURN = 0.03  # rotation in radians or change of scale beyond which a fit is not believed
_LEAST_SIGNIFICANCE = 6.0
_OUTER, _INNER = 4, 2
_BLOCK_PX, _BLOCKS = 256, 4  # side of a block, and blocks along a side, of an image larger than all of them


@dataclass(frozen=True, eq=False)
class Registration:
    """Where the planes of a tile lie on each other.

    Parameters
    ----------
    transforms : (T, C, 2, 3) float64
        ``transforms[t, c] @ (row, column, 1)`` is where the plane shows what the pixel (row, column) of the
        reference cycle shows in its first base channel.
    sources : (T, C, 2) int64
        Cycle and channel in the input from which each plane is taken: a channel that only one cycle has is
        repeated for the others.
    registered : (T,) bool
        Whether the cycle was found; the transform of one that was not is the identity.
    reference : int
        Index of the reference cycle.
    residuals : DataFrame
        One row per cycle and channel: ``cycle`` (from 1), ``channel`` (from 0), ``registered``,
        ``shift_i_px``, ``shift_j_px`` (of the middle of the image), ``rotation_deg``, ``scale``; and what is
        left of shifts of small windows against the planes of all other cycles: ``n_windows``, ``median_px``,
        ``p95_px``, with their correlation ``score``. A residual holds the noise of its window, so it tends
        to be above the true error.
    """

    transforms: NDArray[np.float64]
    sources: NDArray[np.int64]
    registered: NDArray[np.bool_]
    reference: int
    residuals: Any = field(repr=False)

    def coverage(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Pixels of the reference frame, (Y, X), that lie inside of every registered plane."""
        rows, cols = np.ogrid[: shape[0], : shape[1]]
        inside = np.ones(shape, bool)
        for matrix in self.transforms[self.registered].reshape(-1, 2, 3):
            for axis, n in enumerate(shape):
                at = matrix[axis, 0] * rows + matrix[axis, 1] * cols + matrix[axis, 2]
                inside &= (at >= 0) & (at <= n - 1)
        return inside


def register_cycles(
    cycles: NDArray | Sequence[NDArray], settings: CycleAlignmentSettings | None = None
) -> Registration:
    """Find where the cycles and channels of a tile lie on each other.

    Parameters
    ----------
    cycles : (T, C, Y, X) array, or a sequence of (C, Y, X) arrays
        Numbers of any kind. The last `settings.n_bases` channels of each cycle show bases; those before
        (DAPI) may be absent in some cycles.
    settings : CycleAlignmentSettings, optional
        `model` ``"translation"`` fits shifts only.

    Returns
    -------
    Registration

    Raises
    ------
    InputError
        With everything in which the cycles do not fit together.
    """
    settings = settings or CycleAlignmentSettings()
    stacks = _checked(cycles, settings)
    sources = _sources(stacks, settings.n_bases)
    reference = settings.reference_cycle - 1
    shape = stacks[0].shape[-2:]
    everywhere = all(len(stack) > settings.n_bases for stack in stacks)
    if settings.method == "DAPI" and not everywhere:
        lacking = [str(t + 1) for t, stack in enumerate(stacks) if len(stack) == settings.n_bases]
        raise InputError(
            f"cycles {', '.join(lacking)} have no DAPI to be aligned by", next="Use method auto or sbs_mean."
        )
    degrees = 2 if settings.model == "translation" else 4
    rough: list[NDArray | None] = [None] * len(stacks)
    if everywhere and settings.method != "sbs_mean":
        nuclei = [_normalised(bandpass(stack[0], *_NUCLEUS_PX)) for stack in stacks]
        rough = _rough(nuclei, reference, degrees)
        del nuclei
    spots = []
    for stack in stacks:
        planes = np.empty((settings.n_bases, *shape), np.float32)
        for b, plane in enumerate(stack[-settings.n_bases :]):
            planes[b] = _normalised(bandpass(plane, *_SPOT_PX))
        spots.append(planes)
    if any(one is None for one in rough) and settings.method != "DAPI":
        by_spots = _rough([planes.mean(axis=0) for planes in spots], reference, degrees)
        rough = [one if one is not None else other for one, other in zip(rough, by_spots, strict=True)]
    fit = _Fit(spots, rough, reference, degrees)
    if fit.possible:
        fit.run()
    registered = np.array([one is not None for one in rough])
    transforms = np.empty((len(stacks), sources.shape[1], 2, 3))
    n_extra = sources.shape[1] - settings.n_bases
    planes = fit.planes()
    for t, c in np.ndindex(transforms.shape[:2]):
        source = sources[t, c, 0]
        transforms[t, c] = fit.cycles[source][:2] if c < n_extra else planes[t, c - n_extra][:2]
    table = _residuals(fit, transforms, registered, n_extra, shape)
    return Registration(transforms, sources, registered, reference, table)


def resample(
    cycles: NDArray | Sequence[NDArray], registration: Registration, order: int = 3
) -> NDArray[np.uint16]:
    """The planes of all cycles in the frame of the reference cycle, (T, C, Y, X) uint16.

    Each pixel is interpolated once, from the input: cubic (`order` 3, Keys 1981) or linear (1). What lies
    outside of a plane is 0.
    """
    if order not in (1, 3):
        raise InputError(f"no interpolation of order {order}", expected="1 (linear) or 3 (cubic)")
    shape = np.shape(cycles[0])[-2:]
    n_cycles, n_channels = registration.sources.shape[:2]
    out = np.empty((n_cycles, n_channels, *shape), np.uint16)
    made: dict[tuple[int, int], NDArray] = {}
    for t, c in np.ndindex(n_cycles, n_channels):
        key = tuple(int(k) for k in registration.sources[t, c])
        if key not in made:
            made[key] = out[t, c]
            plane = np.asarray(cycles[key[0]][key[1]])
            out[t, c] = _warped_uint16(plane, registration.transforms[t, c], order)
        else:
            out[t, c] = made[key]
    return out


# ---------------------------------------------------------------------- input


def _checked(cycles: Any, settings: CycleAlignmentSettings) -> list[NDArray]:
    stacks = [np.asarray(stack) for stack in cycles]
    faults = []
    if not stacks:
        raise InputError("there are no cycles to align")
    shape = stacks[0].shape[-2:]
    for t, stack in enumerate(stacks, 1):
        where = f"cycle {t}"
        if stack.ndim != 3:
            faults.append(Finding(what=f"an array of {stack.ndim} dimensions", where=where, expected="CYX"))
            continue
        if stack.dtype.kind not in "uif":
            faults.append(Finding(what=f"pixels of {stack.dtype}", where=where, expected="numbers"))
        if stack.shape[-2:] != shape or 0 in stack.shape:
            faults.append(
                Finding(
                    what=f"planes of {stack.shape[-2:]} px", where=where, expected=f"{shape} as in cycle 1"
                )
            )
        if len(stack) < settings.n_bases:
            faults.append(
                Finding(
                    what=f"{len(stack)} channels", where=where, expected=f"{settings.n_bases} bases or more"
                )
            )
        if stack.dtype.kind == "f" and not np.isfinite(stack).all():
            faults.append(Finding(what="pixels that are no finite numbers", where=where))
    if settings.reference_cycle > len(stacks):
        faults.append(
            Finding(
                what=f"reference cycle {settings.reference_cycle} of {len(stacks)} cycles",
                next=f"Set reference_cycle to a number from 1 to {len(stacks)}.",
            )
        )
    if faults:
        raise InputError(faults)
    return stacks


def _sources(stacks: list[NDArray], n_bases: int) -> NDArray[np.int64]:
    """From which cycle and channel of the input each plane of the output is taken."""
    n_extra = max(len(stack) for stack in stacks) - n_bases
    first = {}
    for t, stack in enumerate(stacks):
        for c in range(len(stack) - n_bases):
            first.setdefault(c, t)
    sources = np.empty((len(stacks), n_extra + n_bases, 2), np.int64)
    for t, stack in enumerate(stacks):
        own = len(stack) - n_bases
        for c in range(n_extra):
            sources[t, c] = (t, c) if c < own else (first[c], c)
        sources[t, n_extra:] = [(t, own + b) for b in range(n_bases)]
    return sources


def _normalised(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """A filtered plane in units of its noise, with what is far brighter than its spots cut off."""
    sample = plane[:: max(1, plane.shape[0] // 256), :: max(1, plane.shape[1] // 256)]
    noise = 1.4826 * float(np.median(np.abs(sample - np.median(sample))))
    noise = noise or float(plane.std())
    if noise == 0:
        return np.zeros_like(plane)
    cap = 3.0 * max(float(np.percentile(sample, 99.5)), 3.0 * noise)
    return np.clip(plane, -cap, cap) / np.float32(noise)


# ---------------------------------------------------------------------- cycles, roughly


def _rough(images: list[NDArray], reference: int, degrees: int) -> list[NDArray[np.float64] | None]:
    """A 3 x 3 matrix for each cycle, from the reference to it; None where it cannot be found.

    A cycle that does not resemble the reference is tried again against the mean of those that do.
    """
    found: list[NDArray[np.float64] | None] = [None] * len(images)
    if not images[reference].any():
        return found
    found[reference] = np.eye(3)
    target = images[reference]
    for attempt in range(2):
        known = [t for t, one in enumerate(found) if one is not None]
        if len(known) == len(found) or (attempt and len(known) == 1):
            break
        if attempt:
            target = np.mean([_warped(images[t], found[t]) for t in known], axis=0)
        for t in [t for t, one in enumerate(found) if one is None]:
            found[t] = _rough_one(target, images[t], degrees)
    return found


def _rough_one(target: NDArray, moving: NDArray, degrees: int) -> NDArray[np.float64] | None:
    """From one image to another, by a whole shift and then the shifts of small windows."""
    import cv2

    shape = target.shape
    factor = max(1, round(max(shape) / _COARSE_SIDE))
    small = [
        cv2.resize(one, (shape[1] // factor, shape[0] // factor), interpolation=cv2.INTER_AREA)
        for one in (target, moving)
    ]
    shift = shift_between(*small, smooth_px=1.5)
    if shift.significance < _LEAST_SIGNIFICANCE:
        return None
    start = shift.pixels * factor
    half = int(np.clip(min(shape) // 10, 24, 96))
    turn = 0.012 * max(shape) / 2
    centres = _grid(shape, half, 5)
    matrix = np.eye(3)
    matrix[:2, 2] = start
    for reach in (int(np.ceil(turn + 2 * factor + 2)), 4):
        starts = centres @ matrix[:2, :2].T + matrix[:2, 2] - centres
        shifts, scores = window_shifts(target, moving, centres, starts, half, reach)
        known = np.isfinite(shifts[:, 0])
        matrix = _robust_similarity(centres[known], centres[known] + shifts[known], scores[known], degrees)
        if matrix is None:
            return None
    return matrix


def _grid(shape: tuple[int, int], half: int, most: int) -> NDArray[np.int64]:
    """Centres of windows that cover an image evenly, at most `most` along a side."""
    lines = [
        np.unique(np.rint(np.linspace(half, n - half, int(np.clip(n // half - 1, 1, most)))).astype(int))
        if n > 2 * half
        else np.array([n // 2])
        for n in shape
    ]
    return np.array([(row, col) for row in lines[0] for col in lines[1]], np.int64)


def _similarity(points: NDArray, images: NDArray, weights: NDArray, degrees: int) -> NDArray[np.float64]:
    """The 3 x 3 matrix that takes points (n, 2) to their images, by weighted least squares."""
    total = weights.sum()
    middle, to = weights @ points / total, weights @ images / total
    a, b = 1.0, 0.0
    if degrees == 4:
        x, y = points - middle, images - to
        spread = weights @ (x * x).sum(axis=1)
        if spread > 0:
            a = weights @ (x * y).sum(axis=1) / spread
            b = weights @ (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]) / spread
    matrix = np.array([[a, -b, 0.0], [b, a, 0.0], [0.0, 0.0, 1.0]])
    matrix[:2, 2] = to - matrix[:2, :2] @ middle
    return matrix


def _robust_similarity(
    points: NDArray, images: NDArray, scores: NDArray, degrees: int, near_px: float = 1.5
) -> NDArray[np.float64] | None:
    """The similarity that most windows agree on; a mere shift where few do; None where none do.

    Every pair of windows proposes one, so the result does not depend on a random choice.
    """
    if not len(points):
        return None
    best, kind = _proposed(points, images, scores, degrees, near_px)
    if best is None:
        return None
    for _ in range(8):
        gap = np.hypot(*(points @ best[:2, :2].T + best[:2, 2] - images).T)
        scale = max(0.15, 1.4826 * float(np.median(gap[gap < near_px])) if (gap < near_px).any() else 0.15)
        weights = scores**2 * np.clip(1 - (gap / (4 * scale)) ** 2, 0, None) ** 2
        if np.count_nonzero(weights) < (3 if kind == 4 else 1):
            break
        best = _similarity(points, images, weights, kind)
    agree = np.count_nonzero(np.hypot(*(points @ best[:2, :2].T + best[:2, 2] - images).T) < near_px)
    if agree < max(min(3, len(points)), 0.3 * len(points)):
        return None
    if abs(best[1, 0]) > _LARGEST_TURN or abs(best[0, 0] - 1) > _LARGEST_TURN:
        return None
    return best


def _proposed(
    points: NDArray, images: NDArray, scores: NDArray, degrees: int, near_px: float
) -> tuple[NDArray[np.float64] | None, int]:
    """Of shifts of each window and similarities of each pair, the one with most votes; its degrees."""
    turns = np.tile([1.0, 0.0], (len(points), 1))
    shifts = images - points
    if degrees == 4 and len(points) > 2:
        pairs = np.array(list(combinations(range(len(points)), 2)))
        pairs = pairs[:: max(1, len(pairs) // 1500)]
        x, y = (one[pairs[:, 1]] - one[pairs[:, 0]] for one in (points, images))
        a = (x * y).sum(axis=1) / (x * x).sum(axis=1)
        b = (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]) / (x * x).sum(axis=1)
        sane = (abs(a - 1) < _LARGEST_TURN) & (abs(b) < _LARGEST_TURN)
        a, b, pairs = a[sane], b[sane], pairs[sane]
        middle, to = points[pairs].mean(axis=1), images[pairs].mean(axis=1)
        turns = np.concatenate([turns, np.stack([a, b], axis=1)])
        shifts = np.concatenate([shifts, to - _turned(middle, a, b)])
    a, b = turns.T[:, :, None]
    rows = a * points[:, 0] - b * points[:, 1] + shifts[:, :1] - images[:, 0]
    cols = b * points[:, 0] + a * points[:, 1] + shifts[:, 1:] - images[:, 1]
    votes = (np.hypot(rows, cols) < near_px) @ scores
    votes[len(points) :] -= 0.5 * scores.mean()  # a turn has to win a vote more than a mere shift
    best = int(np.argmax(votes))
    if not votes[best] > 0:
        return None, 2
    matrix = np.array([[a[best, 0], -b[best, 0], 0.0], [b[best, 0], a[best, 0], 0.0], [0.0, 0.0, 1.0]])
    matrix[:2, 2] = shifts[best]
    return matrix, 2 if best < len(points) else 4


def _turned(points: NDArray, a: NDArray, b: NDArray) -> NDArray[np.float64]:
    return np.stack([a * points[:, 0] - b * points[:, 1], b * points[:, 0] + a * points[:, 1]], axis=1)


# ---------------------------------------------------------------------- all planes together


class _Fit:
    """Similarities of cycles and of channels that bring all base planes onto each other.

    A plane shows at ``channels[b] @ cycles[t] @ x`` what the reference shows at x. For a plane that is off by
    the small field e(x), the difference to its target T is a T'(x) e(x) with a, the part of the spots of T
    that the plane shows; e is linear in the shift, the change of scale and the rotation, and least squares
    over salient pixels find it (Lucas and Kanade 1981). Each plane's equations enter those of its cycle and
    its channel, weighted by what they tell.
    """

    def __init__(
        self, spots: list[NDArray], rough: list[NDArray | None], reference: int, degrees: int
    ) -> None:
        self.spots, self.reference, self.degrees = spots, reference, degrees
        self.found = [t for t, one in enumerate(rough) if one is not None]
        self.cycles = [np.eye(3) if one is None else one for one in rough]
        self.n_bases = len(spots[0])
        self.channels = [np.eye(3) for _ in range(self.n_bases)]
        self.shape = spots[0].shape[-2:]
        self.half = max(self.shape) / 2
        self.middle = (np.array(self.shape) - 1) / 2
        self.own = np.zeros((len(spots), self.n_bases, 2))
        # A large image is compared in blocks that are spread over it: they say where it lies well enough.
        cut = [(n, 1) if n <= _BLOCK_PX * _BLOCKS else (_BLOCK_PX, _BLOCKS) for n in self.shape]
        self.block = tuple(size for size, _ in cut)
        self.corners = [
            np.rint(np.linspace(0, n - size, count)).astype(int) if count > 1 else np.array([0])
            for n, (size, count) in zip(self.shape, cut, strict=True)
        ]
        self.warped: dict[int, NDArray] = {}

    @property
    def possible(self) -> bool:
        return len(self.found) > 1

    def planes(self) -> NDArray[np.float64]:
        """(T, bases, 3, 3): from the reference frame to each plane."""
        planes = np.array([[channel @ cycle for channel in self.channels] for cycle in self.cycles])
        planes[:, :, :2, 2] += self.own
        for t in range(len(self.cycles)):
            if t not in self.found:
                planes[t] = np.eye(3)
        return planes

    def run(self) -> None:
        self._channels_roughly()
        for _ in range(_OUTER):
            self._warp()
            if self._improve() < 0.01:
                break
        for _ in range(2):
            self._warp()
            if not self._shift_planes():
                break
        self._fix_frame()

    def target(self, t: int) -> NDArray[np.float32]:
        """Mean of the planes of all cycles but `t`, as warped last."""
        return (self._sum - self.warped[t].sum(axis=0)) / np.float32(self.n_bases * (len(self.found) - 1))

    def _warp(self) -> None:
        """The blocks of every plane in the reference frame, beside each other as one image."""
        planes, (height, width) = self.planes(), self.block
        size = (len(self.corners[0]) * height, len(self.corners[1]) * width)
        self._sum = np.zeros(size, np.float32)
        for t in self.found:
            warped = self.warped.setdefault(t, np.empty((self.n_bases, *size), np.float32))
            for b in range(self.n_bases):
                for (r, row), (c, col) in product(enumerate(self.corners[0]), enumerate(self.corners[1])):
                    matrix = planes[t, b] @ [[1, 0, row], [0, 1, col], [0, 0, 1]]
                    part = warped[b, r * height : (r + 1) * height, c * width : (c + 1) * width]
                    part[:] = _warped(self.spots[t][b], matrix, self.block)
                self._sum += warped[b]

    def places(self, at: NDArray) -> NDArray:
        """Pixels (n, 2) of the blocks as pixels of the reference frame."""
        return np.stack(
            [
                corners[at[:, k] // size] + at[:, k] % size
                for k, (corners, size) in enumerate(zip(self.corners, self.block, strict=True))
            ],
            axis=1,
        )

    def windows(self, half: int, reach: int, most: int) -> NDArray[np.int64]:
        """Centres of windows that do not look beyond their block; at most about `most` along a side."""
        n_rows, n_cols = (len(corners) for corners in self.corners)
        within = _grid(self.block, half + reach, max(1, most // max(n_rows, n_cols)))
        origin = [(r * self.block[0], c * self.block[1]) for r in range(n_rows) for c in range(n_cols)]
        return (np.array(origin)[:, None] + within).reshape(-1, 2)

    def _channels_roughly(self) -> None:
        """Whole chromatic shifts: the mean over cycles of a channel shows most spots, as any other's does."""
        self._warp()
        means = [np.mean([self.warped[t][b] for t in self.found], axis=0) for b in range(self.n_bases)]
        half = int(np.clip(min(self.block) // 6, 24, 128))
        centres = self.windows(half, 6, 5)
        for b in range(1, self.n_bases):
            starts = np.zeros((len(centres), 2))
            shifts, scores = window_shifts(means[0], means[b], centres, starts, half, 6)
            known = np.isfinite(shifts[:, 0]) & (scores > 0.05)
            if known.any():
                matrix = _robust_similarity(centres[known], centres[known] + shifts[known], scores[known], 2)
                if matrix is not None:
                    self.channels[b] = matrix

    def _shift_planes(self) -> bool:
        """Shift single planes by what the model leaves, as far as this exceeds its error; whether any was.

        Where a filter wheel or a stage moves between two channels, planes are off on their own. The error of
        each shift is that of a jackknife over strips of the image; what planes vary beyond it is their true
        variance, and each shift is shrunk accordingly (empirical Bayes).
        """
        from cytopipe.screen.interpolation import moments, sums_at

        planes, keys, shifts, errors = self.planes(), [], [], []
        for t in self.found:
            at, columns = self._salient(self.target(t))
            strips = np.array_split(np.arange(len(at)), 8) if len(at) >= 64 else []
            parts = [(at[one], columns[one], moments(columns[one])) for one in strips]
            for b in range(self.n_bases):
                if not parts:
                    continue
                sums = np.array([sums_at(self.spots[t][b], planes[t, b, :2], *one[:2])[1] for one in parts])
                known = np.array([one[2] for one in parts])
                leave = np.arange(len(parts))[:, None] != np.arange(len(parts))
                each = np.array([self._shift_of(sums[k].sum(axis=0), known[k].sum(axis=0)) for k in leave])
                keys.append((t, b))
                shifts.append(self._shift_of(sums.sum(axis=0), known.sum(axis=0)))
                errors.append((len(parts) - 1) * ((each - each.mean(axis=0)) ** 2).mean(axis=0).mean())
        if not keys:
            return False
        found, error = np.array(shifts), np.array(errors)
        good = np.isfinite(found).all(axis=1) & (error < 1)
        if good.sum() < 4:
            return False
        # Squared shifts follow an exponential law under normal errors, whose mean is its median / ln 2.
        spread = np.median((found[good] ** 2).sum(axis=1)) / np.log(2) / 2 - np.mean(error[good])
        if spread < 0.03**2:
            return False
        for (t, b), shift, variance in zip(keys, found, np.where(good, error, np.inf), strict=True):
            if np.isfinite(variance):
                self.own[t, b] += np.clip(shift, -1.5, 1.5) * (spread / (spread + variance))
        return True

    def _shift_of(self, sums: NDArray, known: NDArray) -> NDArray[np.float64]:
        """By what a plane has to be shifted, in its own pixels, from sums over salient pixels; or NaN."""
        p = self.degrees
        part = sums[p] / known[p, p] if known[p, p] > 0 else 0.0
        if part <= 0.01:
            return np.full(2, np.nan)
        mean = (sums[p + 1] - part * known[p, p + 1]) / known[p + 1, p + 1]
        slopes = sums[:2] - part * known[p, :2] - mean * known[p + 1, :2]
        return -np.linalg.solve(known[:2, :2], slopes) / part

    def _salient(self, target: NDArray) -> tuple[NDArray, NDArray]:
        """Pixels (n, 2) that tell most of a shift, and what the target's slopes say of each parameter."""
        slope = np.gradient(target)
        strength = slope[0] ** 2 + slope[1] ** 2
        for axis, size in enumerate(self.block):
            edge = np.arange(strength.shape[axis]) % size
            edge = np.minimum(edge, size - 1 - edge) < 4
            strength[edge if axis == 0 else (slice(None), edge)] = 0
        if not strength.max() > 0:
            return np.empty((0, 2)), np.empty((0, self.degrees + 2))
        n = int(np.clip(0.15 * strength.size, 1, 150_000))
        chosen = np.sort(np.argpartition(strength.ravel(), strength.size - n)[-n:])
        at = np.stack(np.divmod(chosen, strength.shape[1]), axis=1)
        places = self.places(at).astype(np.float64)
        ty, tx = (one[at[:, 0], at[:, 1]].astype(np.float64) for one in slope)
        y, x = ((places - self.middle) / self.half).T
        columns = [ty, tx, ty * y + tx * x, tx * y - ty * x][: self.degrees]
        columns += [target[at[:, 0], at[:, 1]], np.ones(len(at))]
        return places, np.stack(columns, axis=1)

    def _improve(self) -> float:
        """One template, a few steps to it; the largest last step in pixels at the edge of the image."""
        from cytopipe.screen.interpolation import moments

        targets = {}
        for t in self.found:
            at, columns = self._salient(self.target(t))
            if len(at):
                targets[t] = at, columns, moments(columns)
        largest = 0.0
        for _ in range(_INNER):
            steps, information = self._steps(targets)
            largest = self._apply(steps, information)
        return largest

    def _steps(self, targets: dict[int, tuple]) -> tuple[dict, dict]:
        """Of each plane, what it is off by and what that is worth: (p,) and (p, p)."""
        from cytopipe.screen.interpolation import sums_at

        planes, p = self.planes(), self.degrees
        steps, information = {}, {}
        for t, (at, columns, known) in targets.items():
            # The columns are the slopes of the target, its values and ones: known holds all their products.
            normal, of_values, of_ones = known[:p, :p], known[p], known[p + 1]
            if np.linalg.cond(normal) > 1e10:
                continue
            for b in range(self.n_bases):
                squares, sums = sums_at(self.spots[t][b], planes[t, b, :2], at, columns)
                part = sums[p] / of_values[p]
                if part <= 0.01:
                    continue
                mean = (sums[p + 1] - part * of_ones[p]) / len(at)
                slopes = sums[:p] - part * of_values[:p] - mean * of_ones[:p]
                rest = squares - 2 * part * sums[p] + part**2 * of_values[p] - len(at) * mean**2
                step = np.linalg.solve(normal, slopes) / part
                steps[t, b] = step * min(1.0, 1.5 / max(float(np.hypot(*step[:2])), 1e-9))
                information[t, b] = normal * (part**2 * len(at) / max(rest, 1e-9))
        return steps, information

    def _apply(self, steps: dict, information: dict) -> float:
        """Solve for the cycles and channels, and correct them."""
        p, n = self.degrees, len(self.found)
        size = (n + self.n_bases) * p
        left, right = np.zeros((size, size)), np.zeros(size)
        place = {t: k for k, t in enumerate(self.found)}
        for (t, b), step in steps.items():
            weight = information[t, b]
            blocks = (place[t] * p, (n + b) * p)
            for i in blocks:
                right[i : i + p] += weight @ step
                for j in blocks:
                    left[i : i + p, j : j + p] += weight
        # What cannot be told apart (all cycles one way, all channels the other) is left as it is.
        solution = np.linalg.lstsq(left, right, rcond=1e-9)[0].reshape(-1, p)
        largest = 0.0
        for k, step in enumerate(solution):
            largest = max(largest, float(np.abs(step).sum()))
            change = self._field(-step)
            if k < n:
                self.cycles[self.found[k]] = self.cycles[self.found[k]] @ change
            else:
                self.channels[k - n] = self.channels[k - n] @ change
        return largest

    def _field(self, step: NDArray) -> NDArray[np.float64]:
        """The matrix x -> x + e(x) of a step: shift of the middle, scale and rotation in px at the edge."""
        scale, turn = (step[2] / self.half, step[3] / self.half) if self.degrees == 4 else (0.0, 0.0)
        matrix = np.array([[1 + scale, -turn, 0.0], [turn, 1 + scale, 0.0], [0.0, 0.0, 1.0]])
        matrix[:2, 2] = step[:2] + self.middle - matrix[:2, :2] @ self.middle
        return matrix

    def _fix_frame(self) -> None:
        """The first base channel of the reference cycle is the identity."""
        # The mean of what single planes are shifted by belongs to their channel.
        for b in range(self.n_bases):
            extra = self.own[self.found, b].mean(axis=0)
            self.own[self.found, b] -= extra
            self.channels[b] = self.channels[b].copy()
            self.channels[b][:2, 2] += extra
        first = self.channels[0]
        self.channels = [channel @ np.linalg.inv(first) for channel in self.channels]
        self.cycles = [first @ cycle for cycle in self.cycles]
        frame = self.cycles[self.reference].copy()
        frame[:2, 2] += self.own[self.reference, 0]
        self.cycles = [cycle @ np.linalg.inv(frame) for cycle in self.cycles]
        for t in range(len(self.cycles)):
            if t not in self.found:
                self.cycles[t] = np.eye(3)


# ---------------------------------------------------------------------- residuals


def _residuals(
    fit: _Fit, transforms: NDArray, registered: NDArray, n_extra: int, shape: tuple[int, int]
) -> Any:
    import pandas as pd

    middle = np.array([(shape[0] - 1) / 2, (shape[1] - 1) / 2, 1.0])
    half = int(np.clip(min(shape) // 8, 16, 64))
    centres = fit.windows(half, 3, 5)
    rows, targets = [], {}
    for t, c in np.ndindex(transforms.shape[:2]):
        matrix = transforms[t, c]
        row = {
            "cycle": t + 1,
            "channel": c,
            "registered": bool(registered[t]),
            **dict(zip(("shift_i_px", "shift_j_px"), matrix @ middle - middle[:2], strict=True)),
            "rotation_deg": float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))),
            "scale": float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))),
            **dict.fromkeys(("n_windows", "median_px", "p95_px", "score"), np.nan),
        }
        if c >= n_extra and t in fit.warped and fit.possible:
            if t not in targets:
                targets = {t: fit.target(t)}
            shifts, scores = window_shifts(
                fit.warped[t][c - n_extra], targets[t], centres, np.zeros((len(centres), 2)), half, 3
            )
            known = np.isfinite(shifts[:, 0])
            row["n_windows"] = int(known.sum())
            if known.any():
                off = np.hypot(*shifts[known].T)
                row |= {
                    "median_px": float(np.median(off)),
                    "p95_px": float(np.percentile(off, 95)),
                    "score": float(np.median(scores[known])),
                }
        rows.append(row)
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------- interpolation


def _warped(
    plane: NDArray[np.float32], matrix: NDArray, shape: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """A filtered plane brought into the reference frame; 0 outside. For comparing, not for measuring."""
    import cv2

    columns_first = np.array([matrix[1, [1, 0, 2]], matrix[0, [1, 0, 2]]])
    size = (shape or plane.shape)[::-1]
    return cv2.warpAffine(plane, columns_first, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def _warped_uint16(plane: NDArray, matrix: NDArray, order: int) -> NDArray[np.uint16]:
    from cytopipe.screen.interpolation import warp_cubic, warp_linear

    image = np.ascontiguousarray(plane, np.float32)
    if np.array_equal(matrix, np.eye(3)[:2]):
        warped = image
    else:
        warp = warp_cubic if order == 3 else warp_linear
        warped = warp(image, np.ascontiguousarray(matrix, np.float64))
    return np.clip(np.rint(warped), 0, 65535).astype(np.uint16)
