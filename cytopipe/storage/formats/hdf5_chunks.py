"""Encode chunks of a matrix as HDF5's shuffle and gzip filters would, but faster and in any thread.

An array of the chunk's dtype becomes the bytes of the chunk. Shuffle puts bytes of equal significance
together as planes. Most planes of a float are noise, which DEFLATE cannot shorten, so a plane whose bytes are
rarely equal is stored as it is inside the stream (RFC 1951, blocks of type 0). Every reader of
gzip-compressed HDF5 can read the chunk, and its bytes depend on the values alone.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import h5py
import numpy as np
from isal import isal_zlib
from numba import njit

__all__ = ["encoder", "zlib_stream"]

_LEVEL = 1
_STORED_MAX = 65_535  # bytes of a stored block
_HEADER, _END = b"\x78\x01", b"\x01\x00\x00\xff\xff"  # of a zlib stream; an empty last block
_EVERY = 16  # of so many bytes of a plane one is looked at
_NOISE = 0.1  # probability that two bytes of a plane are equal; below it DEFLATE gains less than it costs


def encoder(dataset: h5py.Dataset) -> Callable[[np.ndarray], bytes]:
    """How a chunk of `dataset`, chunked and either shuffled with gzip or plain, becomes bytes.

    Returns
    -------
    callable
        Takes an array no larger than a chunk, which is filled up with zeros.
    """
    chunk, dtype, compressed = dataset.chunks, dataset.dtype, dataset.compression == "gzip"

    def encode(values: np.ndarray) -> bytes:
        if values.shape != chunk:
            whole = np.zeros(chunk, dtype)
            whole[tuple(map(slice, values.shape))] = values
            values = whole
        values = np.ascontiguousarray(values, dtype)
        if not compressed:
            return values.tobytes()
        planes = np.empty((dtype.itemsize, values.size), np.uint8)
        noise = _shuffle(values.reshape(-1).view(f"u{dtype.itemsize}"), planes, _EVERY, _NOISE)
        return zlib_stream(planes, noise)

    return encode


def zlib_stream(planes: np.ndarray, noise: np.ndarray) -> bytes:
    """Planes one after the other as one zlib stream, those that are noise stored as they are.

    Parameters
    ----------
    planes : ndarray, (n_planes, n) uint8, C-contiguous
    noise : ndarray, (n_planes,) bool
    """
    if not noise.any():
        return isal_zlib.compress(planes, _LEVEL)
    # one call for all planes after the last noise: every call hands the interpreter's lock around
    last = len(planes) - int(np.argmax(noise[::-1]))
    parts: list[bytes | memoryview] = [_HEADER]
    for plane, stored in zip(planes[:last], noise, strict=False):
        if stored:
            for start in range(0, len(plane), _STORED_MAX):
                block = plane[start : start + _STORED_MAX]
                parts += [struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF), block.data]
        else:
            deflate = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -15)
            parts += [deflate.compress(plane), deflate.flush(isal_zlib.Z_SYNC_FLUSH)]
    parts.append(isal_zlib.compress(planes[last:], _LEVEL, -15) if last < len(planes) else _END)
    parts.append(struct.pack(">I", isal_zlib.adler32(planes)))
    return b"".join(parts)


@njit(nogil=True, cache=True)
def _shuffle(values, planes, every, limit):
    """Byte p of every value, the least significant first, into row p; which rows are noise."""
    noise = np.zeros(planes.shape[0], np.bool_)
    for p in range(planes.shape[0]):
        for k in range(len(values)):
            planes[p, k] = np.uint8((values[k] >> (8 * p)) & 255)
        times = np.zeros(256, np.int64)
        n = 0
        for k in range(0, len(values), every):
            times[planes[p, k]] += 1
            n += 1
        equal = 0.0
        for byte in range(256):
            equal += times[byte] * (times[byte] - 1.0)
        noise[p] = n > 256 and equal < limit * n * (n - 1.0)
    return noise
