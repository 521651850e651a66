"""Coarser levels of an image, a strip of rows at a time.

Intensities become local means, rounded to the nearest whole number (halves up) where they are integers; a
block at an odd edge is the mean of the pixels it has. Labels keep the pixel at the middle of each block: a
mean of labels 10 and 501 would be a third object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

__all__ = ["level_shapes", "local_mean", "nearest", "strips"]

_SUM_TYPE = {"u1": "u4", "u2": "u4", "u4": "u8", "i1": "i4", "i2": "i4", "i4": "i8", "f4": "f8", "f8": "f8"}


def level_shapes(
    shape: tuple[int, ...], factor: int, chunk: tuple[int, int], max_levels: int | None
) -> list[tuple[int, ...]]:
    """Shapes of all levels: each ``ceil(size / factor)`` of the one before, until the last fits one chunk.

    Parameters
    ----------
    shape : tuple of int
        Of level 0; the last two axes are made coarser.
    factor : int
        2 or more.
    chunk : (int, int)
        Rows and columns.
    max_levels : int or None
        Level 0 included.
    """
    shapes = [tuple(shape)]
    while any(n > one for n, one in zip(shapes[-1][-2:], chunk, strict=True)):
        if max_levels is not None and len(shapes) >= max_levels:
            break
        shapes.append((*shape[:-2], *(-(-n // factor) for n in shapes[-1][-2:])))
    return shapes


def strips(blocks: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """The same rows in blocks of exactly `rows` rows (axis -2), the last one excepted."""
    waiting: list[np.ndarray] = []
    for block in blocks:
        waiting.append(block)
        n = sum(part.shape[-2] for part in waiting)
        if n < rows:
            continue
        joined = waiting[0] if len(waiting) == 1 else np.concatenate(waiting, axis=-2)
        whole = n - n % rows
        for start in range(0, whole, rows):
            yield joined[..., start : start + rows, :]
        waiting = [joined[..., whole:, :]] if n > whole else []
    if waiting:
        yield np.concatenate(waiting, axis=-2)


def local_mean(block: np.ndarray, factor: int) -> np.ndarray:
    """Means of blocks of factor x factor pixels over the last two axes, in the dtype of `block`."""
    height, width = block.shape[-2:]
    kind = np.dtype(_SUM_TYPE[block.dtype.str[1:]])
    sums = _sum_columns(_sum_rows(block, factor, kind), factor)
    means = _divided(sums, factor * factor)
    ragged_y, ragged_x = height % factor, width % factor
    if ragged_y:
        means[..., -1, :] = _divided(sums[..., -1, :], ragged_y * factor)
    if ragged_x:
        means[..., -1] = _divided(sums[..., -1], ragged_x * factor)
    if ragged_y and ragged_x:
        means[..., -1, -1] = _divided(sums[..., -1, -1], ragged_y * ragged_x)
    return means.astype(block.dtype)


def _sum_rows(block: np.ndarray, factor: int, kind: np.dtype) -> np.ndarray:
    whole = block.shape[-2] // factor
    sums = np.empty((*block.shape[:-2], -(-block.shape[-2] // factor), block.shape[-1]), kind)
    first, second = (block[..., k : whole * factor : factor, :] for k in (0, 1))
    np.add(first, second, out=sums[..., :whole, :], dtype=kind)
    for k in range(2, factor):
        sums[..., :whole, :] += block[..., k : whole * factor : factor, :]
    if whole < sums.shape[-2]:
        block[..., whole * factor :, :].sum(axis=-2, dtype=kind, out=sums[..., whole, :])
    return sums


def _sum_columns(rows: np.ndarray, factor: int) -> np.ndarray:
    sums = rows[..., ::factor].copy()
    for k in range(1, factor):
        part = rows[..., k::factor]
        sums[..., : part.shape[-1]] += part
    return sums


def _divided(sums: np.ndarray, n: int) -> np.ndarray:
    """Divided by the number of pixels; whole numbers are rounded, halves up."""
    if sums.dtype.kind == "f":
        return sums / n
    rounded = sums + sums.dtype.type(n // 2)
    rounded //= sums.dtype.type(n)
    return rounded


def nearest(block: np.ndarray, factor: int) -> np.ndarray:
    """The pixel at the middle of each block; the upper left of the middle where the factor is even."""
    rows, columns = (
        np.minimum(np.arange(-(-n // factor)) * factor + (factor - 1) // 2, n - 1) for n in block.shape[-2:]
    )
    return block[..., rows[:, None], columns]
