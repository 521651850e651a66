"""An image as a value: pixels, what their axes mean, and how they are shown. Nothing here touches a disk.

The axes are a part of ``TCZYX`` in that order, and end with ``YX``: time or cycle, channel, depth, rows,
columns. Pixels may be in memory or lazy (a dask array, a zarr array, pages of a TIFF): a writer takes them a
few rows at a time. A label image holds whole numbers, 0 for background and one number for each object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from cytopipe.errors import Finding, InputError

__all__ = ["AXES", "Image"]

AXES = "TCZYX"
_INTENSITY = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
_LABELS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")


@dataclass(frozen=True, eq=False)
class Image:
    """One image, or one label image.

    Parameters
    ----------
    pixels : array-like
        With `shape`, `dtype` and slices that ``numpy.asarray`` takes: ndarray, dask or zarr array, pages of
        a file. Intensities are (u)int8, 16 or 32, float32 or float64; labels are integers of any size.
    axes : str
        One letter for each dimension, a part of ``TCZYX`` in that order that ends with ``YX``.
    channel_names : tuple of str
        One for each channel; empty where they are not known.
    channel_colors : tuple of str
        One for each channel, six hexadecimal digits (``FF0000`` is red); empty where they are not known.
    pixel_size_um : (float, float), optional
        Height and width of a pixel in micrometres; None where it is not known.
    is_labels : bool
        Whether the pixels are numbers of objects, which must never be averaged.
    window_percentiles : (float, float)
        Darkest and brightest intensity shown, as percentiles of each channel.
    labels : mapping of str to Image
        Label images of the same height and width: ``{"nuclei": ..., "cells": ...}``.

    Raises
    ------
    InputError
        With everything in which these do not fit together.
    """

    pixels: Any
    axes: str
    channel_names: tuple[str, ...] = ()
    channel_colors: tuple[str, ...] = ()
    pixel_size_um: tuple[float, float] | None = None
    is_labels: bool = False
    window_percentiles: tuple[float, float] = (1.0, 99.8)
    labels: Mapping[str, Image] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = [*self._faults_of_pixels(), *self._faults_of_channels(), *self._faults_of_labels()]
        if faults:
            raise InputError(Finding(what=what, where="image") for what in faults)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.pixels.shape)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.pixels.dtype).newbyteorder("=")

    @property
    def n_channels(self) -> int:
        """Channels; 1 where there is no channel axis."""
        return self.size("C")

    def size(self, axis: str) -> int:
        """Length of an axis; 1 where the image does not have it."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def load(self) -> np.ndarray:
        """All pixels in memory."""
        return np.asarray(self.pixels)

    def planes(self) -> Iterator[np.ndarray]:
        """Each (Y, X) plane in memory, one at a time; the last of the other axes moves fastest."""
        for index in product(*map(range, self.shape[:-2])):
            yield np.asarray(self.pixels[index] if index else self.pixels)

    def _faults_of_pixels(self) -> Iterator[str]:
        if self.axes != "".join(axis for axis in AXES if axis in self.axes) or not self.axes.endswith("YX"):
            yield f"axes {self.axes!r} are not a part of {AXES}, in that order, that ends with YX"
        if len(self.axes) != len(self.shape):
            yield f"axes {self.axes!r} do not fit an array of {len(self.shape)} dimensions"
        elif 0 in self.shape:
            yield f"has no pixels: its shape is {self.shape}"
        known = _LABELS if self.is_labels else _INTENSITY
        if self.dtype.name not in known:
            what = "labels" if self.is_labels else "pixels"
            yield f"{what} of {self.dtype} are not one of {', '.join(known)}"
        if self.pixel_size_um is not None and not all(0 < size < 1e9 for size in self.pixel_size_um):
            yield f"a pixel size of {self.pixel_size_um} micrometres is not possible"
        low, high = self.window_percentiles
        if not 0 <= low < high <= 100:
            yield f"window percentiles {low:g} and {high:g} are not two rising numbers from 0 to 100"

    def _faults_of_channels(self) -> Iterator[str]:
        n = self.n_channels if len(self.axes) == len(self.shape) else None
        for what, values in (("names", self.channel_names), ("colours", self.channel_colors)):
            if values and n is not None and len(values) != n:
                yield f"{len(values)} channel {what} for {n} channels"
        for color in self.channel_colors:
            if not re.fullmatch(r"[0-9A-Fa-f]{6}", str(color)):
                yield f"channel colour {color!r} is not six hexadecimal digits"
        if self.is_labels and "C" in self.axes:
            yield "a label image has no channels: give each kind of object an image of its own"

    def _faults_of_labels(self) -> Iterator[str]:
        if self.is_labels and self.labels:
            yield "a label image cannot have labels itself"
        for name, labels in self.labels.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                yield f"a label image cannot be named {name!r}: use letters, digits, '.', '_' and '-'"
            if not labels.is_labels:
                yield f"{name!r} is given as labels and is not a label image"
            elif labels.shape[-2:] != self.shape[-2:]:
                yield f"labels {name!r} are {labels.shape[-2:]} pixels, the image {self.shape[-2:]}"
