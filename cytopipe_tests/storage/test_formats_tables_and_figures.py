"""Parquet and figures: the same bytes for the same content, and damage told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytopipe.errors import BudgetError, InputError
from cytopipe.storage import Store, Sync
from cytopipe.storage.fasta import format_fasta, parse_fasta
from cytopipe.storage.formats.figure import figure_bytes, new_figure, validate_png
from cytopipe.storage.formats.table import (
    format_parquet,
    format_tsv,
    read_parquet,
    read_tsv,
    validate_parquet,
    validate_tsv,
)
from cytopipe.storage.state import format_json, parse_json

TABLE = pd.DataFrame({"gene": ["a", "b"], "t": [0.1, np.nan], "n": [1, 2]})


def figure():
    drawn = new_figure(3, 2)
    drawn.add_subplot().plot([1, 2, 3], [2, 1, 3])
    return drawn


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_the_same_drawing_is_the_same_bytes(format):
    assert figure_bytes(figure(), format) == figure_bytes(figure(), format)


def test_a_figure_of_another_format_is_refused():
    with pytest.raises(InputError, match="png, svg, pdf"):
        figure_bytes(figure(), "bmp")


def test_a_png_that_is_cut_off_is_not_published(tmp_path):
    store, data = Store(tmp_path, sync=Sync.NONE), figure_bytes(figure())
    store.publish_bytes("f.png", data, validate=validate_png)
    for broken in (data[:-200], b"", data[:100] + b"xxxx" + data[104:]):
        with pytest.raises(InputError, match="not a whole PNG"):
            store.publish_bytes("f.png", broken, validate=validate_png)
    assert store.read_bytes("f.png") == data
    with pytest.raises(BudgetError):
        validate_png(tmp_path / "f.png", budget=10)


def test_a_parquet_is_read_back_and_its_bytes_repeat(tmp_path):
    data = format_parquet(TABLE)
    assert data == format_parquet(TABLE.copy())
    store = Store(tmp_path, sync=Sync.NONE)
    store.publish_bytes("t.parquet", data, validate=validate_parquet(["gene", "t"]))
    pd.testing.assert_frame_equal(read_parquet(store.open_file("t.parquet")), TABLE)
    with pytest.raises(BudgetError):
        read_parquet(tmp_path / "t.parquet", budget=1)
    with pytest.raises(InputError, match="column 'donor' is absent"):
        store.publish_bytes("t.parquet", data, validate=validate_parquet(["donor"]))


def test_a_flipped_bit_in_a_parquet_page_is_told(tmp_path):
    data = bytearray(format_parquet(pd.DataFrame({"x": np.arange(5000) % 977})))
    data[len(data) // 4] ^= 1
    (tmp_path / "t.parquet").write_bytes(data)
    with pytest.raises(InputError, match="not a whole Parquet"):
        read_parquet(tmp_path / "t.parquet")


def test_a_tsv_without_its_columns_is_not_published(tmp_path):
    store = Store(tmp_path, sync=Sync.NONE)
    with pytest.raises(InputError, match="column 'donor' is absent"):
        store.publish_bytes("t.tsv", format_tsv(TABLE), validate=validate_tsv(["donor"]))


@settings(max_examples=60)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_floats_survive_a_table_exactly(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "floats.tsv"
    path.write_bytes(format_tsv({"x": values, "id": ["a"] * len(values)}))
    assert list(read_tsv(path)["x"].astype(float)) == values


def test_single_precision_is_written_as_short_as_it_is():
    assert format_tsv({"x": np.array([0.1, 3], dtype="float32")}) == b"x\n0.1\n3.0\n"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_state_survives_json_exactly(value):
    try:
        data = format_json(value)
    except InputError:  # a lone surrogate, which UTF-8 cannot hold
        return
    assert parse_json(data) == value
    assert format_json(parse_json(data)) == data


RECORDS = st.lists(
    st.tuples(
        st.from_regex(r"[A-Za-z0-9_.|]{1,12}( [a-z=]{1,8}){0,2}", fullmatch=True),
        st.text("ACGTNacgtn-", min_size=1, max_size=60),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda record: record[0].split()[0],
)


@given(RECORDS, st.integers(0, 20))
def test_records_survive_fasta_exactly(records, width):
    found = parse_fasta(format_fasta(records, width=width))
    assert [(record.header, record.sequence) for record in found] == records
