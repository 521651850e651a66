"""TIFF files of others: what every page declares, before a pixel is allocated.

The chain of directories has to end, strips and tiles have to lie inside the file, and a page that declares
10^6 x 10^6 pixels is refused with both numbers. tifffile does not do this: it follows a chain that is a
circle until memory ends (2026.3), and opens what is cut off.

The layout is that of TIFF 6.0 (Adobe, 1992) and BigTIFF: a header, then a chain of directories of tagged
fields.
"""

from __future__ import annotations

import io
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cytopipe.errors import CytopipeError, DamagedError, InputError, RefusedError
from cytopipe.storage.filesystem import open_regular
from cytopipe.storage.guard.budget import require_budget

__all__ = ["TiffPage", "survey_tiff"]

MAX_PAGES = 100_000
MAX_DEPTH = 16
MAX_VALUES = 50_000_000
_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_WIDTH, _LENGTH, _BITS, _SAMPLES, _SUBIFDS = 256, 257, 258, 277, 330
_OFFSETS, _COUNTS = (273, 324), (279, 325)


@dataclass(frozen=True)
class TiffPage:
    """One page.

    Parameters
    ----------
    width_px, length_px, samples : int
    bits : int
        Of one pixel, all samples together.
    """

    width_px: int
    length_px: int
    samples: int
    bits: int

    @property
    def declared_bytes(self) -> int:
        """Memory the page would take, decoded."""
        return self.width_px * self.length_px * max(self.bits, 8) // 8


def survey_tiff(path: Path | str, *, budget: int | None = None) -> tuple[TiffPage, ...]:
    """Walk the directories of a TIFF or BigTIFF.

    Parameters
    ----------
    path : Path or str
    budget : int, optional
        Bytes all pages together may declare; half of the available memory by default.

    Raises
    ------
    InputError
        Not a TIFF, or cut off: a directory, strip or tile lies outside of the file.
    RefusedError
        The chain of directories has a cycle, or more than 100,000 pages.
    BudgetError
        It declares more than the budget.
    """
    where = str(path)
    try:
        with io.BufferedReader(open_regular(Path(path), follow=True)) as stream:
            pages = tuple(_Reader(stream, where).pages())
    except DamagedError as error:  # a directory or a pipe
        found = error.findings[0].found
        raise InputError("is not a TIFF", where=where, expected="a file", found=found) from None
    except CytopipeError:  # some of ours are OSErrors too
        raise
    except struct.error:
        raise InputError("is a TIFF that is cut off", where=where) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=where) from None
    require_budget(sum(page.declared_bytes for page in pages), budget, what="the image", where=where)
    return pages


class _Reader:
    def __init__(self, stream: BinaryIO, where: str) -> None:
        self.stream, self.where = stream, where
        self.size = stream.seek(0, 2)
        stream.seek(0)
        mark = stream.read(4)
        self.order = {b"II": "<", b"MM": ">"}.get(mark[:2])
        version = struct.unpack(f"{self.order}H", mark[2:])[0] if self.order and len(mark) == 4 else 0
        if version not in (42, 43):
            raise InputError(
                "is not a TIFF",
                where=where,
                expected="a file that begins with II*, MM*, II+ or MM+",
                found=repr(mark)[1:] if mark else "an empty file",
            )
        self.big = version == 43
        if self.big:
            stream.read(4)
        self.offset = "Q" if self.big else "I"

    def pages(self) -> Iterator[TiffPage]:
        yield from self._chain(self._read(self.offset), frozenset(), set())

    def _chain(self, at: int, above: frozenset[int], seen: set[int]) -> Iterator[TiffPage]:
        """Pages from `at` on, each followed by those below it; `seen` are the pages of all chains.

        The levels of a pyramid are listed by the page above them and are often a chain as well, so that two
        ways lead to a page. Within a chain, and down from a page to itself, there must not be two.
        """
        chain: set[int] = set()
        while at and (at in chain or at in above or at not in seen):
            if at in chain or at in above:
                raise RefusedError("has a cycle in its chain of pages", where=self.where)
            if len(seen) >= MAX_PAGES:
                raise RefusedError(f"has more than {MAX_PAGES:,} pages", where=self.where)
            if len(above) >= MAX_DEPTH:
                raise RefusedError(f"has pages nested deeper than {MAX_DEPTH}", where=self.where)
            chain.add(at)
            seen.add(at)
            fields, following = self._directory(at)
            yield self._page(fields)
            for below in self._values(fields, _SUBIFDS):
                yield from self._chain(below, above | {at}, seen)
            at = following

    def _directory(self, at: int) -> tuple[dict[int, tuple[int, int, bytes]], int]:
        """Fields as tag to (type, count, value or offset), and where the next directory is."""
        if at >= self.size:
            raise InputError("is cut off: a page lies beyond its end", where=self.where)
        self.stream.seek(at)
        fields = {}
        for _ in range(self._read("Q" if self.big else "H")):
            tag, kind, count = self._read("H"), self._read("H"), self._read(self.offset)
            fields[tag] = (kind, count, self.stream.read(8 if self.big else 4))
            if self.stream.tell() >= self.size:
                raise InputError("has a directory that is cut off", where=self.where)
        return fields, self._read(self.offset)

    def _page(self, fields: dict) -> TiffPage:
        width, length = self._values(fields, _WIDTH), self._values(fields, _LENGTH)
        if not width or not length:
            raise InputError("has a page without width or length", where=self.where)
        samples = (self._values(fields, _SAMPLES) or [1])[0]
        bits = self._values(fields, _BITS) or [1]
        for offsets, counts in zip(_OFFSETS, _COUNTS, strict=True):
            end = self._end(fields, offsets, counts)
            if end > self.size:
                raise InputError(
                    "is cut off: pixels lie beyond its end",
                    where=self.where,
                    expected=f"at least {end} bytes",
                    found=f"{self.size} bytes",
                )
        total = sum(bits) if len(bits) == samples else bits[0] * samples
        return TiffPage(width[0], length[0], samples, total)

    def _end(self, fields: dict, offsets: int, counts: int) -> int:
        """Where the last strip or tile ends; numbers of 8 bytes each, there may be millions."""
        starts, lengths = (self._packed(fields, tag) for tag in (offsets, counts))
        return max(map(sum, zip(starts, lengths, strict=False)), default=0)

    def _values(self, fields: dict, tag: int) -> list[int]:
        return list(self._packed(fields, tag))

    def _packed(self, fields: dict, tag: int) -> array:
        if tag not in fields:
            return array("Q")
        kind, count, inline = fields[tag]
        if kind not in _FORMATS or count > MAX_VALUES:
            raise InputError(f"has a field {tag} that cannot be read", where=self.where)
        length = count * struct.calcsize(f"={_FORMATS[kind]}")
        data = inline[:length]
        if length > len(inline):
            start = struct.unpack(f"{self.order}{self.offset}", inline)[0]
            if start + length > self.size:
                raise InputError(f"has a field {tag} outside of the file", where=self.where)
            here = self.stream.tell()
            self.stream.seek(start)
            data = self.stream.read(length)
            self.stream.seek(here)
        values = array(_FORMATS[kind], data)
        if (self.order == "<") != (sys.byteorder == "little"):
            values.byteswap()
        return values

    def _read(self, format: str) -> int:
        packed = self.stream.read(struct.calcsize(f"={format}"))
        return struct.unpack(f"{self.order}{format}", packed)[0]
