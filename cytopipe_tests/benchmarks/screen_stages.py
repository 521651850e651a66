"""What the image stages of a screen cost, beside the plain way.

    python -m cytopipe_tests.benchmarks.screen_stages [--size 2048] [--cycles 9]

One tile of 9 cycles x 5 channels x 2048 x 2048 pixels with moved cycles and spots. Both ways get the same
pixels in the same process, compiled before; the plain way calls SciPy, scikit-image and NumPy as one would
write it down. Each stage gets what the one before it gave, and the results of both ways are compared to the
last bit. The median of the illumination field is that of one channel, in a disk of a twentieth of the
image.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np

from cytopipe.screen.alignment import align_cycles, apply_window
from cytopipe.screen.filters import compute_standard_deviation, find_peaks, log_filter, max_filter
from cytopipe.screen.illumination import apply_ic_field, rank_median

ORDER = ["DAPI", "G", "T", "A", "C"]


def main() -> None:
    """Print one row per stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048, help="height and width of a tile in px")
    parser.add_argument("--cycles", type=int, default=9)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    compile_all()
    tile, light = made(given.size, given.cycles), field(given.size)
    radius = int(np.sqrt(given.size**2 / (np.pi * 20)))
    print("| stage | cytopipe CPU s | plain CPU s | ratio | equal |")
    print("|---|---|---|---|---|")
    aligned = row("align_cycles", lambda: align_cycles(tile, ORDER), lambda: plain_align(tile))
    log = row("log_filter", lambda: log_filter(aligned, 1, [0]), lambda: plain_log(aligned))
    deviates = row(
        "compute_standard_deviation",
        lambda: compute_standard_deviation(log, [0]),
        lambda: log[:, 1:].std(axis=0).mean(axis=0),
    )
    row("find_peaks", lambda: find_peaks(deviates, 5), lambda: plain_peaks(deviates, 5))
    row("max_filter", lambda: max_filter(log, 3, [0]), lambda: plain_maximum(log))
    mean = (light[0] * 800 + tile[0, 0] / 20).astype(np.uint16)
    row(
        f"median of a disk, radius {radius} px",
        lambda: rank_median(mean, radius),
        lambda: plain_median(mean, radius),
    )
    row("apply_ic_field", lambda: apply_ic_field(tile[0], light), lambda: (tile[0] / light).astype(np.uint16))


def row(name: str, ours: Callable[[], np.ndarray], plain: Callable[[], np.ndarray]) -> np.ndarray:
    """Measure both ways; returns what ours gave."""
    (found, fast), (expected, slow) = timed(ours), timed(plain)
    same = "yes" if np.array_equal(found, expected) else f"{(found != expected).sum()} values differ"
    print(f"| {name} | {fast:.2f} | {slow:.2f} | {slow / fast:.1f} x | {same} |", flush=True)
    return found


def timed(function: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """What a function gives, and its CPU seconds."""
    start = time.process_time()
    found = function()
    return found, time.process_time() - start


def made(size: int, cycles: int) -> np.ndarray:
    """TCYX: nuclei, and spots that are lit in one base per cycle; every cycle is moved by some pixels."""
    import cv2

    random = np.random.default_rng(0)
    nuclei, spots = size * size // 2000, size * size // 500
    planes = np.zeros((cycles, 5, size, size), np.uint16)
    cells = random.integers(0, size, (2, nuclei))
    places = random.integers(0, size, (2, spots))
    for cycle in range(cycles):
        frames = np.zeros((5, size, size), np.float32)
        frames[0][tuple(cells)] = 400_000
        frames[1 + random.integers(0, 4, spots), places[0], places[1]] = random.gamma(4, 3000, spots)
        move = random.integers(-6, 7, 2)
        for channel, frame in enumerate(frames):
            blurred = cv2.GaussianBlur(frame, (0, 0), 6 if channel == 0 else 1.2)
            noisy = np.roll(blurred, move, (0, 1)) + random.normal(400, 15, frame.shape)
            planes[cycle, channel] = noisy.clip(0, 65535)
    return planes


def field(size: int) -> np.ndarray:
    """An illumination field of five channels, 1 in the corners."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    return np.maximum(np.repeat((1.5 - x * x - y * y)[None], 5, axis=0), 1)


def compile_all() -> None:
    """Every kernel once, on few pixels."""
    small = made(64, 2)
    log = log_filter(align_cycles(small, ORDER))
    max_filter(log)
    find_peaks(compute_standard_deviation(log))
    rank_median(small[0, 0], 3)


# ---------------------------------------------------------------------- the plain way


def plain_align(stack: np.ndarray) -> np.ndarray:
    """Bases of each cycle onto its first base, then cycles by DAPI."""
    aligned = stack.copy()
    for cycle in aligned:
        compared = apply_window(cycle[1:], 2).copy()
        for frame in compared:
            low, high = np.percentile(frame, [0, 90])
            outside = (frame < low) | (frame > high)
            frame[outside] = np.random.RandomState(0).uniform(low, high, outside.sum()).astype(frame.dtype)
        cycle[1:] = plain_shifted(cycle[1:], plain_shifts(compared))
    shifts = plain_shifts(apply_window(aligned[:, 0], 2))
    for channel in range(aligned.shape[1]):
        aligned[:, channel] = plain_shifted(aligned[:, channel], shifts)
    return aligned


def plain_shifts(frames: np.ndarray) -> list[np.ndarray]:
    """Of each frame against the first."""
    from skimage.registration import phase_cross_correlation

    found = [
        phase_cross_correlation(one, frames[0], upsample_factor=2, normalization=None)[0]
        for one in frames[1:]
    ]
    return [np.zeros(2), *found]


def plain_shifted(frames: np.ndarray, shifts: list[np.ndarray]) -> np.ndarray:
    """Frames that are not shifted are not warped."""
    from skimage.transform import SimilarityTransform, warp

    moved = [
        warp(frame, SimilarityTransform(translation=shift[::-1]), preserve_range=True).astype(frame.dtype)
        if shift.any()
        else frame
        for frame, shift in zip(frames, shifts, strict=True)
    ]
    return np.array(moved)


def plain_log(stack: np.ndarray) -> np.ndarray:
    """Frame by frame; DAPI is kept."""
    from scipy import ndimage

    out = stack.copy()
    for cycle, channel in np.ndindex(len(out), out.shape[1] - 1):
        frame = out[cycle, channel + 1]
        frame[:] = np.rint(np.clip(-ndimage.gaussian_laplace(frame.astype(float), 1), 0, 65535))
    return out


def plain_peaks(image: np.ndarray, width: int) -> np.ndarray:
    """Two filters and a border."""
    from scipy import ndimage

    highest = ndimage.maximum_filter(image, size=width)
    peaks = highest - ndimage.minimum_filter(image, size=width)
    peaks[image < highest] = 0
    inside = np.zeros(image.shape, bool)
    inside[width:-width, width:-width] = True
    peaks[~inside] = 0
    return peaks


def plain_maximum(stack: np.ndarray) -> np.ndarray:
    """All frames at once."""
    from scipy import ndimage

    return ndimage.maximum_filter(stack[:, 1:], size=(1, 1, 3, 3))


def plain_median(image: np.ndarray, radius: int) -> np.ndarray:
    """The rank filter of scikit-image."""
    from skimage.filters import rank
    from skimage.morphology import disk

    return rank.median(image, disk(radius))


if __name__ == "__main__":
    main()
