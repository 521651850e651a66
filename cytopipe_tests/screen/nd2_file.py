"""Writes small ND2 files of version 3 (chunks, and metadata as tagged values), for tests of reading them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

_MAGIC = 0x0ABECEDA
_HEAD = b"ND2 FILE SIGNATURE CHUNK NAME01!"
_MAP = b"ND2 FILEMAP SIGNATURE NAME 0001!"
_END = b"ND2 CHUNK MAP SIGNATURE 0000001!"


def write_nd2(
    path: Path,
    pixels: np.ndarray,
    stage_um: list[tuple[float, float]],
    pixel_size_um: float,
    names: list[str],
) -> None:
    """Write (P, Z, C, Y, X) uint16 pixels; `stage_um` holds (x, y) of each position."""
    n_positions, depth, n_channels, height, width = pixels.shape
    attributes = {
        "uiWidth": width,
        "uiWidthBytes": width * n_channels * 2,
        "uiHeight": height,
        "uiComp": n_channels,
        "uiBpcInMemory": 16,
        "uiBpcSignificant": 16,
        "uiSequenceCount": n_positions * depth,
        "uiTileWidth": width,
        "uiTileHeight": height,
        "eCompression": 2,
        "dCompressionParam": 0.0,
        "ePixelType": 1,
        "uiVirtualComponents": n_channels,
    }
    planes = {
        f"a{at}": {
            "sDescription": name,
            "uiCompCount": 1,
            "uiColor": 255,
            "uiSampleIndex": 0,
            "pFluorescentProbe": {"m_sName": name},
        }
        for at, name in enumerate(names)
    }
    picture = {
        "dCalibration": pixel_size_um,
        "bCalibrated": True,
        "dTimeMSec": 0.0,
        "sPicturePlanes": {"uiCount": n_channels, "uiCompCount": n_channels, "sPlaneNew": planes},
    }
    points = {
        f"i{at:010}": {"dPosX": x, "dPosY": y, "dPosZ": 0.0, "dPFSOffset": -1.0}
        for at, (x, y) in enumerate(stage_um)
    }
    stack = {
        "eType": 4,
        "uLoopPars": {
            "uiCount": depth, "dZLow": 0.0, "dZHigh": depth - 1.0, "dZStep": 1.0, "bAbsolute": False,
            "dZHome": 0.0, "iType": 0, "bTriggeredPiezo": False, "wsZDevice": "",
        },
    }  # fmt: skip
    experiment = {
        "eType": 2,
        "uLoopPars": {"uiCount": n_positions, "bUseZ": False, "Points": points},
        "uiNextLevelCount": 1,
        "ppNextLevelEx": {"i0000000000": stack},
    }
    chunks: list[tuple[bytes, bytes]] = [
        (b"ImageAttributesLV!", _level("SLxImageAttributes", attributes)),
        (b"ImageMetadataLV!", _level("SLxExperiment", experiment)),
        (b"ImageMetadataSeqLV|0!", _level("SLxPictureMetadata", picture)),
        (b"CustomData|AcqTimesCache!", struct.pack(f"<{n_positions * depth}d", *range(n_positions * depth))),
    ]
    for at, frame in enumerate(pixels.reshape(-1, n_channels, height, width)):
        data = np.ascontiguousarray(frame.transpose(1, 2, 0), "<u2").tobytes()
        chunks.append((b"ImageDataSeq|%d!" % at, struct.pack("<d", 0.0) + data))
    out = bytearray(struct.pack("<IIQ32s64s", _MAGIC, 32, 64, _HEAD, b"Ver3.0"))
    where = bytearray()
    for name, data in chunks:
        out += b"\0" * (-len(out) % 4096)
        where += name + struct.pack("<QQ", len(out), len(data))
        out += struct.pack("<IIQ", _MAGIC, 4072, len(data)) + name.ljust(4072, b"\0") + data
    out += b"\0" * (-len(out) % 4096)
    at = len(out)
    where += _END + struct.pack("<Q", at)
    out += struct.pack("<IIQ", _MAGIC, 32, len(where)) + _MAP + where
    path.write_bytes(bytes(out))


def _level(name: str, values: dict) -> bytes:
    items = [_value(key, value) for key, value in values.items()]
    head = bytes([11, len(name) + 1]) + (name + "\0").encode("utf-16-le")
    body = b"".join(items)
    length = len(head) + 12 + len(body)
    return head + struct.pack("<IQ", len(items), length) + body + b"\0" * 8 * len(items)


def _value(name: str, value: object) -> bytes:
    if isinstance(value, dict):
        return _level(name, value)
    kind, data = {
        bool: (1, lambda: struct.pack("<?", value)),
        int: (3, lambda: struct.pack("<I", value)),
        float: (6, lambda: struct.pack("<d", value)),
        str: (8, lambda: (str(value) + "\0").encode("utf-16-le")),
    }[type(value)]
    return bytes([kind, len(name) + 1]) + (name + "\0").encode("utf-16-le") + data()
