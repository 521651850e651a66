"""Cycles of a tile brought onto the first one by shifts: channels within each cycle, then cycle on cycle.

This is the reference's alignment, bit for bit; `registration.py` has the better one. Here it is faster:
spectra of real images are halved, the target's is computed once, percentiles come from a histogram, and the
linear shift of a frame is one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cytopipe.errors import Finding, InputError, ParameterError

__all__ = [
    "BASES",
    "Alignment",
    "align_cycles",
    "apply_offsets",
    "apply_window",
    "calculate_offsets",
    "filter_percentiles",
]

#: Channels of this name show bases.
BASES = ("G", "T", "A", "C")

#: Correlations this close (relative to the highest) are the same up to rounding.
_SAME = 1e-12


@dataclass(frozen=True)
class Alignment:
    """Aligned cycles, and the shifts that made them.

    Parameters
    ----------
    image : (T, C, Y, X) array
    within : (T, C, 2) float64
        Shift (y, x) in px of each channel against the first base of its cycle.
    between : (T, 2) float64
        Shift (y, x) in px of each cycle against the first.
    method : {'DAPI', 'sbs_mean'}
    """

    image: np.ndarray
    within: np.ndarray
    between: np.ndarray
    method: str


def align_cycles(
    image_data: Sequence[np.ndarray] | np.ndarray,
    channel_order: Sequence[str] | None = None,
    method: Literal["DAPI", "sbs_mean"] | None = None,
    upsample_factor: int = 2,
    window: float = 2,
    cutoff: float = 1,
    q_norm: float = 70,
    use_align_within_cycle: bool = True,
    skip_cycles: Sequence[int] | None = None,
    manual_background_cycle: int | None = None,
    manual_channel_mapping: Sequence[Sequence[str]] | None = None,
    return_shifts: bool = False,
) -> np.ndarray | Alignment:
    """All cycles on the first one.

    Parameters
    ----------
    image_data : sequence of (C, Y, X), or (T, C, Y, X), uint8 or uint16
        One image per cycle. Cycles may have further channels in front: those of one cycle (see
        `manual_background_cycle`) are then given to all cycles.
    channel_order : sequence of str, optional
        Names of the channels of the aligned image, such as DAPI, G, T, A, C (the default).
    method : {'DAPI', 'sbs_mean'}, optional
        What cycles are compared by. By default DAPI where all cycles have the same channels and DAPI comes
        first, else sbs_mean: the maximum over bases, in units of its `q_norm`-th percentile, cut at `cutoff`.
    upsample_factor : int
        Shifts are multiples of 1 / upsample_factor px.
    window : float
        The centre 1 / window of the image (each axis) is compared.
    use_align_within_cycle : bool
        Bring the channels of a cycle, from the first base on, onto the first base before.
    skip_cycles : sequence of int, optional
        Cycles, counted from 0, that are left out.
    manual_background_cycle : int, optional
        Cycle, counted from 0, whose further channels all cycles get; by default the one that has most.
    manual_channel_mapping : sequence of sequence of str, optional
        Names of the channels of each cycle: a cycle takes what it lacks from the background cycle, or from
        the first cycle that has it.
    return_shifts : bool
        Return an :class:`Alignment`, which holds the shifts too.

    Returns
    -------
    (T, C, Y, X) of the same dtype, or Alignment

    Raises
    ------
    InputError, ParameterError
        Cycles of different size or type; names that do not fit the channels; cycles that do not exist.

    Notes
    -----
    Source: Feldman et al. (2019), Cell 179:787, as Brieflow's ``align_cycles``. Where `method` is DAPI
    and there is none, bases are compared; the reference then leaves cycles where they are.
    """
    if method not in (None, "DAPI", "sbs_mean"):
        raise ParameterError("method of alignment", expected="DAPI, sbs_mean or None", found=repr(method))
    cycles, kept = _cycles(image_data, skip_cycles or ())
    background = _background(manual_background_cycle, kept)
    mapping = _kept_mapping(manual_channel_mapping, kept, len(image_data))
    order = list(channel_order) if channel_order is not None else _default_order(cycles)
    source: int | None = None
    same_channels = len({len(one) for one in cycles}) == 1
    if mapping is not None:
        stack = _filled(cycles, mapping, order, background)
        source, same_channels = background, True
    elif same_channels:
        stack = np.stack(cycles)
    else:
        stack, source = _with_extras(cycles, background)
    if len(order) != stack.shape[1]:
        raise InputError(
            "channels have other names than there are channels",
            expected=f"{stack.shape[1]} names",
            found=", ".join(order),
        )
    bases = [at for at, name in enumerate(order) if name in BASES]
    has_dapi = order[0] == "DAPI"
    if method is None:
        method = "DAPI" if same_channels and has_dapi else "sbs_mean"
    elif method == "DAPI" and not has_dapi:
        method = "sbs_mean"

    within = np.zeros((*stack.shape[:2], 2))
    if use_align_within_cycle and bases:
        for cycle, shifts in zip(stack, within, strict=True):
            compared = filter_percentiles(apply_window(cycle[bases[0] :], window), q1=0, q2=90)
            shifts[bases[0] :] = calculate_offsets(compared, upsample_factor)
            cycle[bases[0] :] = apply_offsets(cycle[bases[0] :], shifts[bases[0] :])

    if method == "DAPI":
        between = calculate_offsets(apply_window(stack[:, 0], window), upsample_factor)
    else:
        brightest = apply_window(stack[:, bases] if bases else stack, window).max(axis=1)
        levels = np.array([_percentiles(one, [q_norm])[0] for one in brightest])[:, None, None]
        between = calculate_offsets(
            np.minimum(brightest / np.where(levels == 0, 1, levels), cutoff), upsample_factor
        )
    for channel in range(stack.shape[1]):
        shifts = between
        if method == "sbs_mean" and source is not None and channel not in bases:
            shifts = np.repeat(between[source][None], len(stack), axis=0)  # one image, of that cycle
        stack[:, channel] = apply_offsets(stack[:, channel], shifts)
    return Alignment(stack, within, between, method) if return_shifts else stack


# ---------------------------------------------------------------------- shifts


def apply_window(data: np.ndarray, window: float) -> np.ndarray:
    """The centre 1 / `window` of the last two axes, as a view."""
    if not window >= 1:
        raise ParameterError("window of alignment", expected="from 1", found=repr(window))
    height, width = data.shape[-2:]
    rows, columns = (int((n / 2.0) * (1 - 1 / float(window))) for n in (height, width))
    return data[..., rows : height - rows, columns : width - columns]


def filter_percentiles(data: np.ndarray, q1: float, q2: float) -> np.ndarray:
    """Replace what lies outside of two percentiles by noise between them, frame by frame.

    Parameters
    ----------
    data : (..., Y, X) uint8 or uint16
    q1, q2 : float
        Percentiles.

    Returns
    -------
    same shape and dtype
        The noise is uniform and the same on every call (``RandomState(0)``).
    """
    out = np.array(data)
    for index in np.ndindex(out.shape[:-2]):
        frame = out[index]
        low, high = _percentiles(frame, [q1, q2])
        outside = frame > high
        if low > 0:
            outside |= frame < low
        noise = np.random.RandomState(0).uniform(low, high, np.count_nonzero(outside))
        frame[outside] = noise.astype(out.dtype)
    return out


def calculate_offsets(data_: np.ndarray, upsample_factor: int) -> np.ndarray:
    """Shift of each frame against the first, by cross-correlation.

    Parameters
    ----------
    data_ : (N, Y, X)
    upsample_factor : int
        Shifts are multiples of 1 / upsample_factor px.

    Returns
    -------
    (N, 2) float64
        (y, x) in px. Of shifts that correlate equally, the smallest: 0 where a frame is flat.

    Notes
    -----
    Guizar-Sicairos, Thurman & Fienup (2008), Optics Letters 33:156, not normalised: the highest whole-pixel
    correlation, then a discrete Fourier transform of its neighbourhood alone at the finer step.
    """
    from scipy import fft

    if isinstance(upsample_factor, bool) or int(upsample_factor) != upsample_factor or upsample_factor < 1:
        raise ParameterError(
            "upsample_factor of alignment", expected="a whole number from 1", found=repr(upsample_factor)
        )
    offsets = np.zeros((len(data_), 2))
    target = fft.rfft2(data_[0])
    np.conjugate(target, out=target)
    for offset, frame in zip(offsets[1:], data_[1:], strict=True):
        product = fft.rfft2(frame)
        product *= target
        correlation = np.abs(fft.irfft2(product, s=frame.shape))
        shape = np.array(frame.shape)
        shifts = np.argwhere(correlation >= correlation.max() * (1 - _SAME)).astype(float)
        shifts -= np.where(shifts > shape // 2, shape, 0)
        shift = _smallest(shifts)
        if upsample_factor > 1:
            shift = _refined(product, frame.shape, shift, upsample_factor)
        offset[:] = np.where(shape == 1, 0, shift)
    return offsets


def apply_offsets(data_: np.ndarray, offsets: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Shift each frame back by its offset, with linear interpolation.

    Parameters
    ----------
    data_ : (N, Y, X) uint8 or uint16
    offsets : (N, 2)
        (y, x) in px.

    Returns
    -------
    (N, Y, X) of the same dtype
        Truncated; 0 outside of the frame. As in scikit-image, a shift below one pixel on both axes never
        gives less than the frame's minimum.
    """
    from cytopipe.screen.kernels import shift_frame

    if data_.dtype not in (np.uint8, np.uint16):
        raise InputError("frames cannot be shifted", expected="uint8 or uint16", found=str(data_.dtype))
    out = np.empty(data_.shape, data_.dtype)
    height, width = data_.shape[-2:]
    for frame, (down, right), target in zip(data_, np.asarray(offsets, float), out, strict=True):
        if down == 0 and right == 0:
            target[:] = frame
            continue
        rows, columns = _places(height, down), _places(width, right)
        shift_frame(np.ascontiguousarray(frame), *rows[:3], *columns, target)
        if abs(down) < 1 and abs(right) < 1 and (lowest := frame.min()):
            np.maximum(target, lowest, out=target)
    return out


def _places(n: int, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Neighbours of the places 0..n-1 + shift, distances from the lower ones, and where the loop is plain."""
    places = np.clip(np.arange(n) + shift, -2.0, n + 1.0)  # beyond, everything is outside
    low, high = np.floor(places).astype(np.int64), np.ceil(places).astype(np.int64)
    inside = np.flatnonzero((low >= 0) & (high < n))
    first, last = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)
    steps, apart = (low - np.arange(n))[first:last], (high - low)[first:last]
    if last > first and not ((steps == steps[0]).all() and (apart == apart[0]).all()):
        first = last = 0  # rounding put a place on a pixel: each is taken on its own
    return low, high, places - low, first, last


def _refined(product: np.ndarray, shape: tuple[int, ...], shift: np.ndarray, factor: int) -> np.ndarray:
    """The best shift among multiples of 1 / factor around a whole one."""
    from cytopipe.screen.kernels import rows_of_spectrum

    height, width = shape
    shift = np.round(shift * factor) / factor
    size = int(np.ceil(factor * 1.5))
    middle = size // 2
    steps = [np.arange(size) - (middle - one * factor) for one in shift]
    rows = np.exp(2j * np.pi * steps[0][:, None] * np.fft.fftfreq(height, factor))
    columns = np.exp(2j * np.pi * steps[1][:, None] * np.fft.fftfreq(width, factor))
    # The other half of the spectrum is this one, conjugated and mirrored.
    half = product.shape[1]
    mirrored = np.conjugate(rows[:, -np.arange(height) % height])
    along, against = np.empty((size, half), complex), np.empty((size, half), complex)
    rows_of_spectrum(product, rows, mirrored, along, against)
    rest = np.arange(half, width)
    correlation = along @ columns[:, :half].T + np.conjugate(against[:, width - rest]) @ columns[:, rest].T
    strength = np.abs(correlation)
    best = np.argwhere(strength >= strength.max() * (1 - _SAME))
    return _smallest(shift + (best - middle) / factor)


def _smallest(shifts: np.ndarray) -> np.ndarray:
    return shifts[np.argmin((shifts**2).sum(axis=1))]


def _percentiles(frame: np.ndarray, wanted: Sequence[float]) -> list[float]:
    """As np.percentile, to the last bit, by counting."""
    if any(not 0 <= one <= 100 for one in wanted):
        raise ParameterError("percentiles", expected="from 0 to 100", found=str(list(wanted)))
    if frame.dtype not in (np.uint8, np.uint16):
        return list(np.percentile(frame, wanted))
    up_to = np.cumsum(np.bincount(frame.ravel(), minlength=1))
    found = []
    for one in wanted:
        place = (frame.size - 1) * (one / 100)
        before = int(place)
        low, high = np.searchsorted(up_to, [before, min(before + 1, frame.size - 1)], side="right").tolist()
        part = place - before
        found.append(high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part)
    return found


# ---------------------------------------------------------------------- channels


def _cycles(
    given: Sequence[np.ndarray] | np.ndarray, skipped: Sequence[int]
) -> tuple[list[np.ndarray], list[int]]:
    """The cycles that are kept and their numbers; all faults at once."""
    n, findings = len(given), []
    if wrong := [one for one in skipped if not 0 <= one < n]:
        findings.append(
            Finding(
                what="a cycle that is to be skipped does not exist",
                expected=f"numbers from 0 to {n - 1}",
                found=", ".join(map(str, wrong)),
            )
        )
    kept = [at for at in range(n) if at not in set(skipped)]
    if not kept:
        findings.append(Finding(what="no cycle is left to align", found=f"{n} cycles, all skipped"))
    cycles = [np.asarray(given[at]) for at in kept]
    for at, cycle in zip(kept, cycles, strict=True):
        first = cycles[0]
        if cycle.ndim != 3 or not cycle.size or cycle.dtype not in (np.uint8, np.uint16):
            findings.append(
                Finding(
                    what="is no image of channels",
                    where=f"cycle {at + 1}",
                    expected="(C, Y, X) uint8 or uint16",
                    found=f"{cycle.shape} {cycle.dtype}",
                )
            )
        elif cycle.shape[-2:] != first.shape[-2:] or cycle.dtype != first.dtype:
            findings.append(
                Finding(
                    what="has another size or type than the first cycle",
                    where=f"cycle {at + 1}",
                    expected=f"{first.shape[-2:]} {first.dtype}",
                    found=f"{cycle.shape[-2:]} {cycle.dtype}",
                )
            )
    if findings:
        raise InputError(findings)
    return cycles, kept


def _background(cycle: int | None, kept: list[int]) -> int | None:
    """Where the background cycle stands among those that are kept."""
    if cycle is None:
        return None
    if cycle not in kept:
        raise ParameterError(
            "the background cycle is not among the cycles that are aligned",
            expected=", ".join(map(str, kept)),
            found=str(cycle),
        )
    return kept.index(cycle)


def _kept_mapping(mapping: Sequence[Sequence[str]] | None, kept: list[int], n: int) -> list[list[str]] | None:
    if mapping is None:
        return None
    if len(mapping) not in (n, len(kept)):
        raise ParameterError(
            "the mapping of channels does not name every cycle",
            expected=f"names for {n} cycles",
            found=f"names for {len(mapping)}",
        )
    return [list(mapping[at]) for at in kept] if len(mapping) == n else [list(one) for one in mapping]


def _default_order(cycles: list[np.ndarray]) -> list[str]:
    n = max(map(len, cycles))
    if n > 1 + len(BASES):
        raise InputError(
            "channels without names",
            expected=f"names, or at most {1 + len(BASES)} channels",
            found=f"{n} channels",
            next="Give channel_order.",
        )
    return ["DAPI", *BASES][:n]


def _filled(
    cycles: list[np.ndarray], names: list[list[str]], order: list[str], background: int | None
) -> np.ndarray:
    """Channels by name; what a cycle lacks comes from the background cycle or the first that has it."""
    findings = [
        Finding(
            what="has other names than channels",
            where=f"cycle {at + 1}",
            expected=f"{len(cycle)} different names",
            found=", ".join(given),
        )
        for at, (cycle, given) in enumerate(zip(cycles, names, strict=True))
        if len(cycle) != len(given) or len(set(given)) != len(given)
    ]
    known = set().union(*names)
    if lacking := [name for name in order if name not in known]:
        findings.append(Finding(what="no cycle has the channel", found=", ".join(lacking)))
    if findings:
        raise InputError(findings)
    stack = np.empty((len(cycles), len(order), *cycles[0].shape[1:]), cycles[0].dtype)
    for at, given in enumerate(names):
        for channel, name in enumerate(order):
            others = [one for one in range(len(names)) if name in names[one]]
            source = at if name in given else background if background in others else others[0]
            stack[at, channel] = cycles[source][names[source].index(name)]
    return stack


def _with_extras(cycles: list[np.ndarray], background: int | None) -> tuple[np.ndarray, int]:
    """The channels that all cycles have, last ones first; before them the further ones of one cycle."""
    numbers = [len(cycle) for cycle in cycles]
    common = min(numbers)
    source = int(np.argmax(numbers))
    if background is not None and numbers[background] > common:
        source = background
    extras = cycles[source][: numbers[source] - common]
    return np.stack([np.concatenate([extras, cycle[-common:]]) for cycle in cycles]), source
