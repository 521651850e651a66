"""Which cells are exported: rows of a cell table, chosen by a condition, grouped by a column."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import Finding, InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cells", "read_cell_table"]

_LARGEST_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells of a table.

    Parameters
    ----------
    table : DataFrame
        One row per cell: ``fov`` (text), ``label`` (int64), ``x`` and ``y`` (float, px) and whatever else the
        file has, under its own names.
    colours : mapping of str to str
        Colours of metaclusters by name, where a checkpoint gives them.
    where : str
        The file, for messages.
    """

    table: pd.DataFrame
    colours: Mapping[str, str]
    where: str
    _groups: dict[str, Mapping[str, Mapping[int, str]]] = field(default_factory=dict, init=False, repr=False)
    _names: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)
    _rows: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def chosen(self, condition: str) -> pd.DataFrame:
        """The rows that meet a condition; all rows where it is empty.

        Raises
        ------
        InputError
            It is no condition, or names a column that is not there; or no cell meets it.
        """
        from cytopipe.heatmap.expression import evaluate_expression

        if not condition.strip():
            return self.table
        names = [str(name) for name in self.table.columns]
        keep = evaluate_expression(condition, lambda name: self.table[name], names, size=len(self.table))
        if not keep.any():
            raise InputError(
                "no cell meets the condition",
                where=f"{self.where}: {condition[:100]}",
                expected=f"some of {len(self.table):,} cells",
                next="Widen the condition.",
            )
        return self.table[keep]

    def groups(self, column: str) -> Mapping[str, Mapping[int, str]]:
        """Values of a column as text, by field of view and label.

        Raises
        ------
        InputError
            There is no such column.
        """
        self._check(column)
        if column not in self._groups:
            values = self.table[column].map(_text)
            self._groups[column] = {
                str(fov): dict(zip(part["label"].tolist(), values[part.index].tolist(), strict=True))
                for fov, part in self.table.groupby("fov", sort=True)
            }
        return self._groups[column]

    def names(self, column: str) -> tuple[str, ...]:
        """The values of a column in all fields of view, each once, sorted. Errors as :meth:`groups`."""
        if column not in self._names:
            found = {one for of_fov in self.groups(column).values() for one in of_fov.values()}
            self._names[column] = tuple(sorted(found))
        return self._names[column]

    def numbers(self, column: str, fov: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels (int64) and values (float64) of the cells of a field of view, and the values of all fields;
        without cells that have no finite value.

        Raises
        ------
        InputError
            There is no such column, or it holds no number.
        """
        import pandas as pd

        self._check(column)
        values = pd.to_numeric(self.table[column], errors="coerce").to_numpy(np.float64)
        known = np.isfinite(values)
        if not known.any():
            raise InputError(f"column {column!r} holds no number", where=self.where)
        here = known & (self.table["fov"] == fov).to_numpy()
        return self.table["label"].to_numpy()[here], values[here], values[known]

    def revision(self, fov: str, columns: Collection[str] = ()) -> str:
        """A digest of the cells of a field of view, and of which values some columns have in all fields.

        Raises
        ------
        InputError
            There is no such column.
        """
        from pandas.util import hash_pandas_object

        digest = hashlib.sha256("\0".join(map(str, self.table.columns)).encode())
        if not self._rows:
            self._rows.update(self.table.groupby("fov", sort=False).indices)
        rows = self.table.iloc[self._rows.get(fov, [])]
        digest.update(hash_pandas_object(rows, index=False).to_numpy().tobytes())
        digest.update(json.dumps(sorted(self.colours.items())).encode())
        digest.update(json.dumps([[column, *self.names(column)] for column in columns]).encode())
        return digest.hexdigest()

    def _check(self, column: str) -> None:
        if column not in self.table.columns:
            raise InputError(
                f"no column {column!r}", where=self.where, expected=f"one of {', '.join(self.table.columns)}"
            )


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def read_cell_table(path: Path, checkpoint: Path | None = None) -> Cells:
    """Read a cell table, and the clusters of a checkpoint beside it.

    Columns are found by the names that segmentation programs give: fov or image, label or CellID, x or
    X_centroid or centroid-1, and so on.

    Raises
    ------
    InputError
        It is no table of cells, or columns are missing or no numbers; all findings at once.
    BudgetError
        It is larger than memory allows.
    """
    import pandas as pd

    from cytopipe.heatmap.cells.names import known_column

    raw = _table(path)
    table = raw.copy()
    renamed = {}
    for name in raw.columns:
        known = known_column(str(name))
        if known in ("fov", "label", "x", "y") and known not in raw.columns and known not in renamed.values():
            renamed[name] = known
    table = table.rename(columns=renamed)
    table.columns = [str(name) for name in table.columns]
    findings = [
        Finding(
            what=f"has no column {name!r}",
            where=str(path),
            expected="columns fov, label, x and y",
            found=", ".join(map(str, raw.columns))[:300],
        )
        for name in ("fov", "label", "x", "y")
        if name not in table.columns
    ]
    if not findings and table.empty:
        findings.append(Finding(what="holds no cells", where=str(path)))
    if findings:
        raise InputError(findings)
    for name in ("label", "x", "y"):
        numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
        wrong = (
            ~np.isfinite(numbers)
            if name != "label"
            else ~(np.isfinite(numbers) & (numbers == np.floor(numbers)))
        )
        if wrong.any():
            row = int(np.argmax(wrong))
            findings.append(
                Finding(
                    what=f"column {name!r} has {int(wrong.sum()):,} cells without a number",
                    where=f"{path}: row {row + 1}",
                    found=str(table[name].iloc[row])[:80],
                )
            )
            continue
        table[name] = numbers.astype(np.int64) if name == "label" else numbers
    if findings:
        raise InputError(findings)
    table["fov"] = [_text(value) for value in table["fov"]]
    table = table.reset_index(drop=True)
    colours = _with_checkpoint(table, checkpoint, path) if checkpoint is not None else {}
    return Cells(table, colours, str(path))


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    from cytopipe.storage.formats.table import read_parquet
    from cytopipe.storage.guard.budget import budget_bytes, read_bounded

    suffixes = [one.lower() for one in path.suffixes]
    if ".parquet" in suffixes:
        return read_parquet(path)
    if ".h5ad" in suffixes:
        from cytopipe.heatmap.cells import read_cells

        read = read_cells(path)
        values = pd.DataFrame(read.values, columns=list(read.markers))
        new = [name for name in values.columns if name not in read.cells.columns]
        return pd.concat([read.cells, values[new]], axis=1)
    data = read_bounded(path, min(_LARGEST_BYTES, budget_bytes(0.2)))
    first = data[:65536].split(b"\n", 1)[0]
    separator = (
        "\t"
        if first.count(b"\t") > first.count(b",")
        else ";"
        if first.count(b";") > first.count(b",")
        else ","
    )
    try:
        return pd.read_csv(io.BytesIO(data), sep=separator, low_memory=False)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(
            f"is no table: {error}", where=str(path), expected="CSV or TSV text in UTF-8"
        ) from None


def _with_checkpoint(table: pd.DataFrame, checkpoint: Path, path: Path) -> dict[str, str]:
    from cytopipe.heatmap.artifact import load_heatmap_state

    state = load_heatmap_state(checkpoint)
    row = state.cell_cluster
    if row is None or len(row) != len(table):
        raise InputError(
            "the checkpoint is not about these cells",
            where=str(checkpoint),
            expected=f"{len(table):,} cells, as in {path.name}",
            found="no cells" if row is None else f"{len(row):,} cells",
        )
    row = np.asarray(row)
    table["cluster"] = np.array([*state.cluster_ids, ""], object)[row]
    names = [state.name_of(int(one)) for one in state.label]
    table["metacluster"] = np.array([*names, ""], object)[row]
    return {state.name_of(int(one)): state.colour_of(int(one)) for one in state.label}
