"""A read model from the images of a well, without the truth: squares of tiles stand for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cytopipe.errors import InputError
from cytopipe.screen.model import detection, kernels
from cytopipe.screen.model.chemistry import ReadModel, fit_chemistry, lagged_signal
from cytopipe.screen.model.entries import Entries
from cytopipe.screen.parameters import ReadModelSettings

__all__ = ["estimate_model"]

#: Shares of what a read in a cell is, before anything is known.
_SHARES = {"own": 0.6, "noise": 0.25, "sequence": 0.12, "entry": 0.03}
#: Sigma of a spot, px, where there are too few to tell.
SPOT_WIDTH = 1.2
_PRIOR_NONE, _PRIOR_TWO = 0.1, 0.05


@dataclass
class _Square:
    """A part of a tile, as the sample keeps it."""

    order: tuple
    bases: np.ndarray
    labels: np.ndarray


def sample(
    tiles: Iterable[tuple[np.ndarray, np.ndarray]], settings: ReadModelSettings, n_bases: int
) -> list[_Square]:
    """Squares with many cells, from as many tiles as there are, whatever their order."""
    kept: list[_Square] = []
    for aligned, labels in tiles:
        check_tile(aligned, labels)
        bases = aligned[:, -n_bases:]
        height, width = labels.shape
        side = settings.sample_side_px
        down, across = max(1, round(height / side)), max(1, round(width / side))
        parts = [
            (
                slice(a * height // down, (a + 1) * height // down),
                slice(b * width // across, (b + 1) * width // across),
            )
            for a in range(down)
            for b in range(across)
        ]
        filled = [np.count_nonzero(labels[part]) for part in parts]
        digest = hashlib.blake2b(np.ascontiguousarray(labels).tobytes(), digest_size=8)
        digest.update(np.ascontiguousarray(bases[0, 0, ::7, ::7]).tobytes())
        digest.update(str(settings.seed).encode())
        for rank, k in enumerate(np.argsort(-np.array(filled), kind="stable")[: settings.sample_squares]):
            order = (rank, digest.hexdigest())
            if filled[k] == 0 or (len(kept) == settings.sample_squares and order >= kept[-1].order):
                break
            part = parts[k]
            kept.append(_Square(order, bases[:, :, part[0], part[1]].copy(), labels[part].astype(np.int64)))
            kept.sort(key=lambda one: one.order)
            del kept[settings.sample_squares :]
    return kept


def check_tile(aligned: np.ndarray, labels: np.ndarray) -> None:
    """Refuse what is not cycles x channels x rows x columns with labels of the same size."""
    if aligned.ndim != 4 or aligned.shape[1] < 4 or labels.shape != aligned.shape[2:]:
        raise InputError(
            "aligned cycles and cell labels do not fit each other",
            expected="TCYX with four base channels last, and labels YX of the same rows and columns",
            found=f"{aligned.shape} and {labels.shape}",
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            "labels of cells are not whole numbers", expected="integers", found=str(labels.dtype)
        )


class _Sampled:
    """Filtered squares; reads of all of them under a model that is being learned."""

    def __init__(self, squares: list[_Square], settings: ReadModelSettings) -> None:
        self.settings = settings
        self.width: float | None = None
        self.parts = []
        picked, picked_level = [], []
        self.drift = detection.drift_of([one.bases for one in squares], [one.labels > 0 for one in squares])
        for one in squares:
            planes, gaps = detection.filled(one.bases, detection.gaps_of(one.bases))
            values, level = detection.filtered(
                planes, settings.spot_sigma_px, settings.background_sigma_px, self.drift
            )
            mask = detection.near_cells(one.labels, settings.read_margin_px)
            self.parts.append((values, level, mask, one.labels, gaps))
            at = np.flatnonzero(mask.ravel())
            at = at[:: max(1, len(at) // 6000)]
            picked.append(values.reshape(*values.shape[:2], -1)[:, :, at].transpose(2, 0, 1))
            picked_level.append(level.reshape(4, -1)[:, at].T)
        self.noise, self.static = detection.noise_of(np.concatenate(picked), np.concatenate(picked_level))

    def threshold(self, weight: np.ndarray, false_share: float) -> tuple[float, float, list[tuple]]:
        """Where peaks of chance are `false_share` of all peaks; the statistic of every square, too."""
        rng = np.random.default_rng(self.settings.seed)
        real, chance, images = [], [], []
        for values, level, mask, *_ in self.parts:
            cycles, _, height, width = values.shape
            still = np.zeros((cycles, 2), np.int64)
            moved = np.column_stack([rng.integers(12, max(13, n - 12), cycles) for n in (height, width)])
            lead, constant = detection.leads_of(values, level, self.noise, self.static, weight)
            for shifts, into in ((still, real), (moved, chance)):
                image = kernels.statistic(lead, mask, shifts)
                i, j = kernels.peaks(image, self.settings.peak_radius_px, 0.0, 0)
                into.append(image[i, j])
                if into is real:
                    images.append((image, np.where(mask, constant, 0)))
        real, chance = np.sort(np.concatenate(real))[::-1], np.sort(np.concatenate(chance))[::-1]
        if len(real) == 0:
            return np.inf, 0.0, images
        false = np.searchsorted(-chance, -real, side="right") / np.arange(1, len(real) + 1)
        good = np.flatnonzero(false <= false_share)
        if len(good) == 0:
            return float(real[0]), float(false[0]), images
        return float(np.nextafter(real[good[-1]], 0)), float(false[good[-1]]), images

    def reads(self, images: list[tuple], least: float, constant: bool) -> dict[str, np.ndarray]:
        """Spots of all squares, those that never change only if asked for; cells are numbered through."""
        found, first, spread = [], 0, []
        for (image, never), (values, level, _, labels, gaps) in zip(images, self.parts, strict=True):
            whole = tuple(slice(0, n) for n in labels.shape)
            spots = detection.spots(
                values, level, labels, whole, (True,) * 4, gaps, image, never if constant else None, least,
                self.settings.peak_radius_px, self.settings.read_margin_px,
            )  # fmt: skip
            neighbour = np.where(spots.neighbour > 0, spots.neighbour + first, -1)
            found.append((spots.x, spots.level, spots.cell + first, neighbour, spots.neighbour_px))
            first += int(labels.max()) + 1
            spread.append(spots)
        if self.width is None and any(len(one.i) for one in spread):
            least = np.quantile(np.concatenate([one.strength for one in spread]), 0.5)
            bright = [one.strength >= least for one in spread]
            self.width = detection.spot_width(
                [one[0] for one in self.parts],
                [one.i[some] for one, some in zip(spread, bright, strict=True)],
                [one.j[some] for one, some in zip(spread, bright, strict=True)],
                self.settings.spot_sigma_px,
                self.settings.background_sigma_px,
            )
        for k, one in enumerate(spread):
            x = detection.separated(
                one.x, one.i, one.j, one.apart, self.width or SPOT_WIDTH,
                self.settings.spot_sigma_px, self.settings.background_sigma_px,
            )  # fmt: skip
            found[k] = (x, *found[k][1:])
        names = ("x", "level", "cell", "neighbour", "neighbour_px")
        return {name: np.concatenate(one) for name, one in zip(names, zip(*found, strict=True), strict=True)}


def variances(
    level: np.ndarray, noise: np.ndarray, static: np.ndarray, cycles: int
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of noise (n, T, 4) and of static structure (n, 4) at places of known brightness (n, 4)."""
    vary = np.maximum(noise[:, 0] * level + noise[:, 1], 1e-6)
    over = np.maximum(level - static[:, 2], 0)
    return np.repeat(vary[:, None], cycles, axis=1), static[:, 0] * over**2 + static[:, 1]


def debris_of(amplitude: np.ndarray) -> np.ndarray:
    """Share of reads on debris, the variance of debris (as bright as bright spots), its relative change."""
    return np.array([0.05, (2 * np.exp(amplitude[0] + amplitude[1])) ** 2, 0.05])


def estimate_model(
    tiles: Iterable[tuple[np.ndarray, np.ndarray]],
    entries: Entries,
    settings: ReadModelSettings,
    bases: str,
) -> ReadModel:
    """See `cytopipe.screen.model.estimate_read_model`."""
    from cytopipe.screen.model.calls import OWN_READS, SPILL, cell_posteriors, read_likelihoods

    squares = sample(tiles, settings, len(bases))
    cycles = entries.cycles or (squares[0].bases.shape[0] if squares else 0)
    nothing = ReadModel(
        bases=bases,
        spot_sigma_px=settings.spot_sigma_px,
        background_sigma_px=settings.background_sigma_px,
        spot_width_px=SPOT_WIDTH,
        drift=np.ones((cycles, 4)),
        noise=np.tile((0.0, 1.0), (4, 1)),
        static=np.tile((0.0, 1.0, 0.0), (4, 1)),
        mix=np.tile(np.eye(4), (cycles, 1, 1)),
        phasing=0.0,
        prephasing=0.0,
        jitter=0.15,
        amplitude=np.array([5.0, 1.0]),
        weight=np.ones((cycles, 4)),
        threshold=np.inf,
        constant=entries.constant,
        false_share=0.0,
        shares=dict(_SHARES),
        spill=np.array(SPILL),
        own_reads=np.array(OWN_READS),
        prior_none=_PRIOR_NONE,
        prior_two=_PRIOR_TWO,
        counts={},
        n_reads=0,
        n_cells=0,
    )
    if not squares:
        return nothing
    sampled = _Sampled(squares, settings)
    noise, static = sampled.noise, sampled.static
    weight = np.ones((cycles, 4))
    least, _, images = sampled.threshold(weight, settings.learn_false_share)
    reads = sampled.reads(images, least, constant=False)
    whole = np.isfinite(reads["x"]).all(axis=(1, 2))
    x, level = reads["x"][whole], reads["level"][whole]
    model = nothing.replace(
        drift=sampled.drift, noise=noise, static=static, spot_width_px=sampled.width or SPOT_WIDTH
    )
    if len(x) < 10:
        return model
    vary, still = variances(level, noise, static, cycles)
    # The brightest fifth of what leads a cycle tells its gains.
    low = np.sort(x, axis=1)[:, : max(1, (cycles + 1) // 3)].mean(axis=1)
    own = x - np.clip(low, -2.5 * np.sqrt(still), 2.5 * np.sqrt(still))[:, None]
    gains = np.maximum(np.quantile(own, 0.85, axis=0), 1e-3)
    mix = np.einsum("tc,cb->tcb", gains / gains[0].mean(), np.eye(4))
    amplitude = np.array([np.log(max(gains[0].mean(), 1.0)), 0.8])
    phasing, prephasing, jitter = 0.005, 0.005, 0.15
    for turn in range(settings.learn_rounds):
        lagged = lagged_signal(mix, phasing, prephasing)
        known, codes = _known(x, vary, still, lagged, amplitude, jitter, entries)
        if known.sum() < 8:
            break
        mix, phasing, prephasing, a, residual = fit_chemistry(
            x[known], vary[known], still[known], codes[known], mix, phasing, prephasing, jitter
        )
        logs = np.log(np.maximum(a[a > 0], 1e-3))
        centre = np.median(logs)
        amplitude = np.array([centre, np.clip(1.4826 * np.median(np.abs(logs - centre)), 0.3, 1.5)])
        signal = a[:, None, None] * np.einsum(
            "tlcb,ntlb->ntc", lagged_signal(mix, phasing, prephasing), _shifted(codes[known])
        )
        scale, jitter = _noise_scale(residual, vary[known], signal)
        if turn < settings.learn_rounds - 1:
            noise = noise * scale
            vary = vary * scale
    model = model.replace(
        noise=noise, mix=mix, phasing=phasing, prephasing=prephasing, jitter=jitter, amplitude=amplitude
    )
    typical = np.median(vary, axis=(0, 1))
    weight = np.diagonal(mix, axis1=1, axis2=2) / np.sqrt(typical)
    weight = weight / weight.mean()
    sampled.noise = noise
    least, false_share, images = sampled.threshold(weight, settings.false_share)
    reads = sampled.reads(images, least, entries.constant)
    model = model.replace(
        weight=weight, threshold=least, false_share=false_share, n_reads=len(reads["x"]),
        n_cells=len(np.unique(reads["cell"])),
    )  # fmt: skip
    if entries.size and len(reads["x"]):
        told = read_likelihoods(reads["x"], reads["level"], model, entries)
        for _ in range(settings.prior_rounds):
            model = cell_posteriors(reads, model, entries, told).learned
    return model


def _known(x, vary, still, lagged, amplitude, jitter, entries: Entries) -> tuple[np.ndarray, np.ndarray]:
    """Reads whose sequence is certain enough to learn from, and these sequences."""
    codes, scores, gain, _, count, entry, likelihood, _, any_entry, _ = kernels.reads_under_library(
        x,
        vary,
        still,
        debris_of(amplitude),
        lagged,
        amplitude,
        jitter,
        entries.codes,
        entries.skip,
        entries.log_share(None),
        16.0,
        24,
    )
    codes = codes.astype(np.int64)
    if not entries.size:
        sure = np.sort(gain[:, None, None] - scores, axis=2)[:, :, 1].min(axis=1)
        return (sure > 3.0) & (gain > 10.0), codes
    score = np.where(entry >= 0, likelihood + entries.log_share(None)[entry], -np.inf)
    best = np.argmax(score, axis=1)
    row = np.arange(len(x))
    posterior = np.exp(score[row, best] - any_entry)
    chosen = entries.codes[np.maximum(entry[row, best], 0)].astype(np.int64)
    apart = (chosen != codes).sum(axis=1)
    near = (count > 0) & (posterior > 0.9) & (gain > 8.0)
    exact = near & (apart <= 1)
    if exact.sum() < max(8, 0.02 * len(x)):
        exact = near & (apart <= 2)
    return exact, chosen


def _shifted(codes: np.ndarray) -> np.ndarray:
    """One-hot bases at every lag: (n, T, lags, 4)."""
    n, cycles = codes.shape
    onehot = np.zeros((n, cycles + kernels.LAGS_BACK + kernels.LAGS_AHEAD, 4))
    onehot[:, kernels.LAGS_BACK : kernels.LAGS_BACK + cycles] = np.eye(4)[codes]
    lags = kernels.LAGS_BACK + kernels.LAGS_AHEAD + 1
    return np.stack([onehot[:, lag : lag + cycles] for lag in range(lags)], axis=2)


def _noise_scale(residual: np.ndarray, vary: np.ndarray, signal: np.ndarray) -> tuple[float, float]:
    """By which the variance of noise is wrong, and how much a signal varies by itself."""
    z2 = (residual**2 / vary).ravel()
    ratio = (signal**2 / vary).ravel()
    dark = ratio < 0.5
    scale = np.median(z2[dark]) / 0.4549 if dark.sum() > 50 else 1.0
    scale = float(np.clip(scale, 0.5, 3.0))
    bright = ratio > max(9.0, np.quantile(ratio, 0.9))
    if bright.sum() < 20:
        return scale, 0.15
    extra = np.median(z2[bright] / (scale + 0.02 * ratio[bright])) / 0.4549
    # The median of residuals over noise and a jitter of some size is 1 where the size is right.
    sizes = np.linspace(0.03, 0.4, 38)
    told = [np.median(z2[bright] / (scale + size**2 * ratio[bright])) / 0.4549 for size in sizes]
    jitter = float(np.interp(-1.0, -np.array(told), sizes)) if extra > 0 else 0.1
    return scale, float(np.clip(jitter, 0.03, 0.4))
