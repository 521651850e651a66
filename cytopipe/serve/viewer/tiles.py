"""A piece of an image as a PNG picture: channels in their colours added up, objects outlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from cytopipe.serve.viewer.pyramid import Channel, Pyramid

__all__ = ["render_small", "render_tile"]

_GOLDEN = 0.618033988749895  # steps of the hue that keep neighbouring numbers apart


def render_tile(
    pyramid: Pyramid,
    level: int,
    top: int,
    left: int,
    shown: Mapping[int, Channel],
    labels: Sequence[str],
    where: Mapping[str, int],
) -> bytes:
    """PNG of at most `TILE_PX` rows and columns of a level.

    Parameters
    ----------
    pyramid : Pyramid
    level, top, left : int
        Row and column, in pixels of that level.
    shown : mapping of int to Channel
        Channels by their number, with colour and window.
    labels : sequence of str
        Label images to outline.
    where : mapping of str to int
        Position along the axes T and Z.
    """
    return _png(_rendered(pyramid, level, top, left, shown, labels, where))


def _rendered(
    pyramid: Pyramid,
    level: int,
    top: int,
    left: int,
    shown: Mapping[int, Channel],
    labels: Sequence[str] = (),
    where: Mapping[str, int] = MappingProxyType({}),
) -> np.ndarray:
    """The same as (rows, columns, 3) uint8, red first."""
    if pyramid.levels[0].is_labels:
        picture = _filled(pyramid.plane(level, where, top, left))
    else:
        picture = None
        for number, channel in shown.items():
            plane = pyramid.plane(level, {**where, "C": number}, top, left).astype(np.float32)
            light = np.clip((plane - channel.start) / (channel.end - channel.start), 0, 1)
            light[~np.isfinite(light)] = 0
            part = light[..., None] * np.frombuffer(bytes.fromhex(channel.color), np.uint8)
            picture = part if picture is None else picture + part
        if picture is None:
            height, width = pyramid.plane(level, where, top, left).shape
            picture = np.zeros((height, width, 3), np.float32)
        picture = np.clip(picture, 0, 255).astype(np.uint8)
    for name in labels:
        numbers = pyramid.labels(name, level, where, top, left)
        edges = _edges(numbers)
        picture[edges] = _filled(numbers)[edges]
    return picture


_SMALL_PX = 192
_SHOWN_AT_ONCE = 4  # channels; more of them are one grey


def render_small(pyramid: Pyramid) -> bytes:
    """PNG of the coarsest level, at most `_SMALL_PX` rows and columns, as it is shown at first."""
    import cv2

    level = len(pyramid.levels) - 1
    channels = dict(enumerate(pyramid.channels[:_SHOWN_AT_ONCE]))
    picture = _rendered(pyramid, level, 0, 0, channels)
    shrink = max(1.0, max(picture.shape[:2]) / _SMALL_PX)
    size = tuple(max(1, round(n / shrink)) for n in picture.shape[1::-1])
    return _png(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _edges(numbers: np.ndarray) -> np.ndarray:
    """Pixels of objects that touch something else, above, below, left or right."""
    down, right = numbers[:-1] != numbers[1:], numbers[:, :-1] != numbers[:, 1:]
    edges = np.zeros(numbers.shape, bool)
    edges[:-1] |= down
    edges[1:] |= down
    edges[:, :-1] |= right
    edges[:, 1:] |= right
    return edges & (numbers > 0)


def _filled(numbers: np.ndarray) -> np.ndarray:
    """Each object in a colour of its own, the background black; the same number has the same colour."""
    hue = (numbers.astype(np.float64) * _GOLDEN) % 1.0
    phases = np.abs((hue[..., None] + np.array([0.0, 2 / 3, 1 / 3])) % 1.0 * 6 - 3) - 1
    colors = (95 + 160 * np.clip(phases, 0, 1)).astype(np.uint8)
    colors[numbers == 0] = 0
    return colors


def _png(picture: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
