"""Chunks of a matrix as HDF5's shuffle and gzip filters would leave them, made faster and in any thread.

In comes an array of a chunk's dtype; out go the bytes of the chunk. Bytes of equal significance are put
together (shuffle); of a float most of these planes are noise, which DEFLATE cannot shorten, so a plane whose
sample does not shrink is stored as it is inside the stream (RFC 1951, blocks of type 0). What must hold:
every reader of gzip-compressed HDF5 reads the chunk; the bytes are a function of the values alone.
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
_SAMPLE = 2048  # bytes from the middle of a plane
_NOISE = 0.75  # share of its size that a sample keeps at least, for its plane to be stored
_STORED_MAX = 65_535  # bytes of a stored block
_HEADER, _END = b"\x78\x01", b"\x01\x00\x00\xff\xff"  # of a zlib stream; an empty last block


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
        _shuffle(values.reshape(-1).view(f"u{dtype.itemsize}"), planes)
        return zlib_stream(planes)

    return encode


def zlib_stream(planes: np.ndarray) -> bytes:
    """Planes one after the other as one zlib stream.

    Parameters
    ----------
    planes : ndarray, (n_planes, n) uint8, C-contiguous
    """
    noise = [_is_noise(plane) for plane in planes]
    if not any(noise):
        return isal_zlib.compress(planes, _LEVEL)
    parts = [_HEADER]
    for plane, stored in zip(planes, noise, strict=True):
        if stored:
            for start in range(0, len(plane), _STORED_MAX):
                block = plane[start : start + _STORED_MAX]
                parts += [struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF), block.data]
        else:
            deflate = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -15)
            parts += [deflate.compress(plane), deflate.flush(isal_zlib.Z_SYNC_FLUSH)]
    parts += [_END, struct.pack(">I", isal_zlib.adler32(planes))]
    return b"".join(parts)


def _is_noise(plane: np.ndarray) -> bool:
    middle = (len(plane) - _SAMPLE) // 2
    return middle > 0 and len(isal_zlib.compress(plane[middle : middle + _SAMPLE], _LEVEL)) > _NOISE * _SAMPLE


@njit(nogil=True, cache=True)
def _shuffle(values, planes):
    """Byte p of every value, the least significant first, into row p."""
    for p in range(planes.shape[0]):
        for k in range(len(values)):
            planes[p, k] = np.uint8((values[k] >> (8 * p)) & 255)
