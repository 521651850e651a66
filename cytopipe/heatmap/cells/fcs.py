"""FCS files, versions 2.0 to 3.1: FlowIO reads the keywords, and the events are read as they declare.

Nothing is taken on trust: a file that declares more than it holds, or more than fits into memory, is refused
before anything is allocated. Channels of a logarithmic amplifier ($PnE) become linear, gains ($PnG) are
divided out, and where the file has a matrix of spillover ($SPILLOVER, SPILL), its channels are compensated.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cytopipe.errors import CytopipeError, InputError
from cytopipe.heatmap.cells.names import Column, clean, is_technical, named_columns
from cytopipe.heatmap.cells.source import Cells, Faults
from cytopipe.storage.filesystem import open_regular
from cytopipe.storage.guard.budget import require_budget

__all__ = ["FcsFile"]

_MOST_CHANNELS = 5_000
_MOST_TEXT = 1 << 26
_HEADER = 58
_ORDERS = {"1,2,3,4": "<", "4,3,2,1": ">", "1,2": "<", "2,1": ">"}
_WIDTHS = {"F": (32,), "D": (64,), "I": (8, 16, 32, 64)}
_BLOCK = 1 << 16  # events


class FcsFile:
    """One FCS file; its events are one sample.

    Parameters
    ----------
    path : Path
    compensate : bool
        Whether a matrix of spillover in the file is used.

    Raises
    ------
    InputError
        No FCS file, cut off, or contradicting itself; all findings about what it declares at once.
    BudgetError
        It declares more events than fit into memory.
    """

    def __init__(self, path: Path, *, compensate: bool = True) -> None:
        self.path, self.sample = path, path.stem
        self.faults = Faults(path)
        self._text = _text_of(path)
        self._layout()
        if self.faults.findings:
            raise InputError(self.faults.findings)
        # flowCore calls values custom that it has compensated or transformed, and leaves the matrix there.
        raw = self._text.get("transformation", "").strip().lower() != "custom"
        self._spillover = self._read_spillover() if compensate and raw else None
        if self.faults.findings:
            raise InputError(self.faults.findings)

    def read(self, wanted: Sequence[int]) -> Cells:
        known = [
            place
            for place, column in enumerate(self.columns)
            if place not in wanted and is_technical(column.channel)
        ]
        mixed = list(self._spillover[0]) if self._spillover else []
        kind = np.float64 if self._needs_double() else np.float32
        require_budget(
            self._n_events * (len(wanted) + len(known)) * np.dtype(kind).itemsize,
            None,
            what="the file's events",
            where=str(self.path),
        )
        values = np.empty((self._n_events, len(wanted)), kind)
        others = np.empty((self._n_events, len(known)), np.float32)
        needed = sorted({*wanted, *known, *(mixed if set(mixed) & {*wanted} else ())})
        with np.errstate(invalid="ignore", over="ignore"):
            for start, events in self._blocks():
                block = {place: self._linear(events, place) for place in needed}
                if mixed and set(mixed) & {*wanted}:
                    self._compensate(block)
                part = slice(start, start + len(events))
                for column, place in enumerate(wanted):
                    values[part, column] = block[place]
                for column, place in enumerate(known):
                    others[part, column] = block[place]
        self.faults.check_values(
            values,
            [self.columns[place].marker for place in wanted],
            next_step="Drop these cells (missing: drop); if most values are wrong, the file declares the "
            "wrong byte order ($BYTEORD).",
        )
        self._require_plausible(values)
        table = {self.columns[place].channel: others[:, column] for column, place in enumerate(known)}
        return Cells(values, pd.DataFrame(table, index=range(self._n_events)))

    # ------------------------------------------------------------------ what the file declares

    def _layout(self) -> None:
        text, fault = self._text, self.faults.add
        n_channels = self._number("par", least=1, most=_MOST_CHANNELS)
        self._n_events = self._number("tot", least=0)
        kind = text.get("datatype", "").strip().upper()
        if kind not in _WIDTHS:
            fault("$DATATYPE is not read", expected="F, D or I", found=kind or "nothing")
        if text.get("mode", "L").strip().upper() not in ("L", ""):
            fault("$MODE is not read", expected="L, a list of events", found=clean(text["mode"]))
        order = _ORDERS.get(text.get("byteord", "").replace(" ", ""))
        if order is None:
            fault(
                "$BYTEORD is not read",
                expected=" or ".join(_ORDERS),
                found=clean(text.get("byteord", "nothing"))[:80],
            )
        if text.get("nextdata", "0").strip().strip("0"):
            fault("holds several data sets", expected="one", next="Save each of them as a file of its own.")
        if self.faults.findings:
            return
        self._kind, fields = kind, []
        names, labels, self._amplifier, self._gain, self._mask = [], [], [], [], []
        for number in range(1, n_channels + 1):
            bits = self._number(f"p{number}b", least=1, most=64)
            if bits not in _WIDTHS[kind]:
                fault(
                    f"$P{number}B does not fit $DATATYPE {kind}",
                    expected=" or ".join(map(str, _WIDTHS[kind])),
                    found=str(bits),
                )
            if not clean(text.get(f"p{number}n", "")):
                fault(f"channel {number} has no name", expected=f"$P{number}N")
            letter = "f" if kind in "FD" else "u"
            fields.append((f"c{number}", f"{order}{letter}{max(bits, 8) // 8}"))
            names.append(text.get(f"p{number}n", ""))
            labels.append(text.get(f"p{number}s", ""))
            span = self._decimal(f"p{number}r", 0.0)
            self._amplifier.append(self._decades(number, span))
            self._gain.append(self._divisor(number, clean(names[-1])))
            self._mask.append(_mask(span, bits) if kind == "I" else None)
            if len(self.faults.findings) > 20:
                return
        if self.faults.findings:
            return
        self.columns: tuple[Column, ...] = named_columns(names, labels)
        self._names = [clean(one) for one in names]
        self._event = np.dtype(fields)
        self._place_of_data()

    def _place_of_data(self) -> None:
        """Where the events begin; that so many lie there as the file declares."""
        size = self.path.stat().st_size
        begin = self._number("begindata", least=0) if self._text.get("begindata", "").strip() else 0
        end = self._number("enddata", least=0) if self._text.get("enddata", "").strip() else 0
        # FCS 2.0 says it in the header only, and large files in the text only.
        begin, end = (begin, end) if begin else self._text["header"]
        needed = self._n_events * self._event.itemsize
        self._begin = begin
        if begin < _HEADER and needed:
            self.faults.add("does not say where its events begin", expected="$BEGINDATA")
        elif begin + needed > size:
            self.faults.add(
                "is cut off, or declares more events than it holds",
                expected=f"{self._n_events:,} events of {self._event.itemsize} bytes from byte {begin:,}",
                found=f"{max(size - begin, 0):,} bytes",
                next="Copy the file again from where it was written.",
            )
        elif end > begin and not -1 <= end - begin + 1 - needed <= 1:
            self.faults.add(
                "$TOT does not fit the segment of events",
                expected=f"{self._n_events:,} events, {needed:,} bytes",
                found=f"{end - begin + 1:,} bytes",
            )

    def _number(self, key: str, *, least: int, most: int = 1 << 50) -> int:
        told = self._text.get(key, "").strip()
        number = int(told) if told.isascii() and told.isdecimal() and len(told) < 20 else -1
        if not least <= number <= most:
            self.faults.add(
                f"${key.upper()} is not usable",
                expected=f"a whole number from {least:,} to {most:,}",
                found=clean(told)[:40] or "nothing",
            )
            return least
        return number

    def _decimal(self, key: str, default: float) -> float:
        told = self._text.get(key, "").strip()
        try:
            number = float(told) if told else default
        except ValueError:
            number = float("nan")
        if not np.isfinite(number) or number < 0:
            self.faults.add(f"${key.upper()} is not usable", expected="a number", found=clean(told)[:40])
            return default
        return number

    def _decades(self, number: int, span: float) -> tuple[float, float, float] | None:
        """(decades, value at 0, channels) of a logarithmic amplifier; None of a linear one."""
        told = self._text.get(f"p{number}e", "0,0").strip() or "0,0"
        try:
            decades, offset = (float(one) for one in told.split(","))
        except ValueError:
            decades, offset = float("nan"), 0.0
        if not 0 <= decades <= 100 or not 0 <= offset < 1e9 or (decades > 0 and span <= 0):
            self.faults.add(f"$P{number}E is not usable", expected="two numbers: 0,0", found=clean(told)[:40])
            return None
        return (decades, offset or 1.0, span) if decades > 0 else None

    def _divisor(self, number: int, name: str) -> float:
        """What a linear channel is divided by: its gain; the time is counted in $TIMESTEP seconds."""
        if name.lower() != "time":
            return self._decimal(f"p{number}g", 1.0) or 1.0
        step = self._decimal("timestep", 1.0)
        return 1 / step if step > 0 else 1.0

    def _read_spillover(self) -> tuple[tuple[int, ...], np.ndarray] | None:
        """Places of the channels that spill into one another, and the inverse of the matrix."""
        told = next((self._text[key] for key in ("spillover", "spill", "comp") if self._text.get(key)), "")
        if not told.strip():
            return None
        parts = [one.strip() for one in told.split(",")]
        n = int(parts[0]) if parts[0].isdecimal() and len(parts[0]) < 5 else 0
        if n < 1 or len(parts) != 1 + n + n * n:
            self.faults.add(
                "the matrix of spillover is not whole",
                expected="n, n names and n x n numbers",
                found=f"{len(parts)} parts, the first one {clean(parts[0])[:20]!r}",
                next="Read the file without compensation, or correct $SPILLOVER.",
            )
            return None
        names = [clean(one) for one in parts[1 : n + 1]]
        places = {name: place for place, name in reversed(list(enumerate(self._names)))}
        if absent := [name for name in names if name not in places]:
            self.faults.add(
                "the matrix of spillover names channels that the file lacks",
                expected=f"one of {', '.join(self._names)[:300]}",
                found=", ".join(absent)[:300],
                next="Read the file without compensation, or correct $SPILLOVER.",
            )
            return None
        try:
            matrix = np.array([float(one) for one in parts[n + 1 :]]).reshape(n, n)
            inverse = np.linalg.inv(matrix)
        except (ValueError, np.linalg.LinAlgError):
            inverse = np.array([[np.nan]])
        if not np.isfinite(inverse).all() or len(set(names)) < n:
            self.faults.add(
                "the matrix of spillover cannot be inverted",
                next="Read the file without compensation, or correct $SPILLOVER.",
            )
            return None
        if np.array_equal(matrix, np.eye(n)):
            return None
        return tuple(places[name] for name in names), inverse

    # ------------------------------------------------------------------ events

    def _blocks(self):
        if not self._n_events:
            return
        events = np.memmap(self.path, self._event, "r", offset=self._begin, shape=(self._n_events,))
        for start in range(0, self._n_events, _BLOCK):
            yield start, events[start : start + _BLOCK]

    def _linear(self, events: np.ndarray, place: int) -> np.ndarray:
        raw = events[f"c{place + 1}"]
        if self._mask[place] is not None:
            raw = raw & raw.dtype.type(self._mask[place])
        column = raw.astype(np.float64)
        if self._amplifier[place]:
            decades, offset, span = self._amplifier[place]
            column = 10 ** (decades * column / span) * offset
        return column if self._gain[place] == 1.0 else column / self._gain[place]

    def _compensate(self, block: dict[int, np.ndarray]) -> None:
        places, inverse = self._spillover
        measured = [block[place] for place in places]
        for column, place in enumerate(places):
            total = measured[0] * inverse[0, column]
            for row in range(1, len(places)):
                total += measured[row] * inverse[row, column]
            block[place] = total

    def _needs_double(self) -> bool:
        return self._kind == "D" or (self._kind == "I" and any((one or 0) >= 1 << 24 for one in self._mask))

    def _require_plausible(self, values: np.ndarray) -> None:
        """Numbers in the wrong byte order are finite, but next to 0 or beyond all measure."""
        sizes = np.abs(values[:_BLOCK])
        odd = np.count_nonzero((sizes > 1e15) | ((sizes > 0) & (sizes < 1e-15)))
        if self._kind in "FD" and odd > 0.3 * max(sizes.size, 1) and not self.faults.findings:
            self.faults.add(
                "most values are next to 0 or beyond all measure",
                expected="intensities",
                found=f"{odd:,} of {sizes.size:,} below 1e-15 or above 1e15",
                next="The file declares the wrong byte order ($BYTEORD), or is damaged.",
            )


def _mask(span: float, bits: int) -> int:
    """Bits of an integer that count: those below the next power of two of the declared range."""
    top = 1 << max(int(span) - 1, 0).bit_length() if span >= 1 else 1 << bits
    return min(top, 1 << bits) - 1


def _text_of(path: Path) -> dict[str, str]:
    """Keywords of a file, in small letters and without the $; `header` holds where its data begin and end."""
    import flowio

    with open_regular(path, follow=True) as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(_HEADER)
        if len(head) < _HEADER or not head.startswith(b"FCS"):
            raise InputError(
                "is no FCS file",
                where=str(path),
                expected="a header of 58 bytes that begins with FCS",
                found=f"{size} bytes" if len(head) < _HEADER else repr(head[:6])[1:],
            )
        fields = [head[start : start + 8].strip() for start in range(10, _HEADER, 8)]
        numbers = [int(one) if one.isdigit() else 0 for one in fields]
        if not (_HEADER <= numbers[0] <= numbers[1] < size) or numbers[1] - numbers[0] > _MOST_TEXT:
            raise InputError(
                "has no segment of keywords where its header says",
                where=str(path),
                expected=f"bytes between {_HEADER} and {size:,}",
                found=f"{fields[0].decode('latin-1')} to {fields[1].decode('latin-1')}",
            )
        # FlowIO reads numbers from the header that large files leave blank: they get a 0 in a private copy.
        repaired = head[:10] + b"".join(b"%8d" % one for one in (*numbers[:4], 0, 0))
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY) as view:
            view[:_HEADER] = repaired
            try:
                text = flowio.FlowData(
                    view, only_text=True, ignore_offset_discrepancy=True, nextdata_offset=0
                ).text
            except CytopipeError:
                raise
            except Exception as error:  # whatever FlowIO stumbles over in a file of others
                told = clean(error)[:200] or type(error).__name__
                if isinstance(error, KeyError):
                    told = f"keyword ${told.strip(chr(39)).upper()} is absent"
                raise InputError(f"is no FCS file that can be read: {told}", where=str(path)) from None
    return {**{str(key): str(value) for key, value in text.items()}, "header": tuple(numbers[2:4])}
