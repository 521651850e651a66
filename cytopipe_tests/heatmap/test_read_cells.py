"""Cells from the files that people have: names, values, samples; and what is said of damaged ones."""

from __future__ import annotations

import random
import re

import numpy as np
import pandas as pd
import pytest

from cytopipe.errors import CytopipeError, InputError
from cytopipe.heatmap import read_cells
from cytopipe.testing.damage import flip_bit, truncate


def fcs(events, names, labels=None, *, order="1,2,3,4", kind="F", **keywords) -> bytes:
    """An FCS 3.1 file of these events, (n, channels), with keywords changed or added."""
    events = np.asarray(events)
    text = {
        "$BEGINANALYSIS": "0",
        "$ENDANALYSIS": "0",
        "$BEGINSTEXT": "0",
        "$ENDSTEXT": "0",
        "$NEXTDATA": "0",
    }
    text |= {
        "$BYTEORD": order,
        "$DATATYPE": kind,
        "$MODE": "L",
        "$PAR": str(len(names)),
        "$TOT": str(len(events)),
    }
    bits = {"F": 32, "D": 64, "I": 16}[kind]
    for number, name in enumerate(names, 1):
        text |= {
            f"$P{number}N": name,
            f"$P{number}B": str(bits),
            f"$P{number}E": "0,0",
            f"$P{number}R": "65536",
        }
        if labels and labels[number - 1]:
            text[f"$P{number}S"] = labels[number - 1]
    sign = "<" if order.startswith("1") else ">"
    data = events.astype(f"{sign}{'u' if kind == 'I' else 'f'}{bits // 8}").tobytes()
    begin = 8192
    text |= {"$BEGINDATA": str(begin), "$ENDDATA": str(begin + len(data) - 1)}
    text |= {f"${name}": value for name, value in keywords.items()}
    segment = (
        "/" + "/".join(f"{key}/{value.replace('/', '//')}" for key, value in text.items()) + "/"
    ).encode()
    places = (58, 58 + len(segment) - 1, begin, begin + len(data) - 1, 0, 0)
    header = b"FCS3.1    " + b"".join(b"%8d" % one for one in places)
    return (header + segment).ljust(begin) + data


EVENTS = np.arange(24, dtype=np.float32).reshape(6, 4) + 1


def test_markers_are_named_as_people_know_them_and_channels_without_a_stain_are_none(tmp_path):
    names = ["Time", "Er170Di", "Y89Di", "FSC-A"]
    (tmp_path / "one.fcs").write_bytes(fcs(EVENTS, names, ["", "170Er_CD3", "89Y", ""]))
    cells = read_cells(tmp_path / "one.fcs")
    assert (cells.markers, cells.channels) == (("CD3",), ("Er170Di",))
    assert np.array_equal(cells.values[:, 0], EVENTS[:, 1])
    assert list(cells.cells) == ["sample", "Time", "FSC-A"]
    assert set(cells.cells["sample"]) == {"one"}


@pytest.mark.parametrize(
    ("order", "kind"), [("1,2,3,4", "F"), ("4,3,2,1", "F"), ("4,3,2,1", "D"), ("2,1", "I")]
)
def test_every_type_and_byte_order_gives_the_same_values(tmp_path, order, kind):
    (tmp_path / "one.fcs").write_bytes(fcs(EVENTS, ["A", "B", "C", "D"], order=order, kind=kind))
    assert np.array_equal(read_cells(tmp_path / "one.fcs").values, EVENTS)


def test_files_are_samples_in_the_order_of_their_paths(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.fcs").write_bytes(fcs(EVENTS + (name == "b"), ["A", "B", "C", "D"]))
    cells = read_cells([tmp_path / "b.fcs", tmp_path / "a.fcs"])
    assert list(cells.cells["sample"]) == ["a"] * 6 + ["b"] * 6
    assert np.array_equal(cells.values, np.concatenate([EVENTS, EVENTS + 1]))
    assert np.array_equal(read_cells(tmp_path).values, cells.values)


def test_channels_of_one_name_are_kept_apart(tmp_path):
    (tmp_path / "one.fcs").write_bytes(fcs(EVENTS, ["FL1", "FL1", "FL2", "FL3"], ["", "", "CD3", "CD3"]))
    cells = read_cells(tmp_path / "one.fcs", markers=["FL1", "FL1 2", "CD3 (FL3)"])
    assert np.array_equal(cells.values, EVENTS[:, [0, 1, 3]])


def test_spillover_in_the_file_is_undone(tmp_path):
    matrix = np.array([[1, 0.2], [0.05, 1]])
    measured = EVENTS.astype(float).copy()
    measured[:, [1, 2]] = EVENTS[:, [1, 2]] @ matrix
    told = "2,B,C," + ",".join(map(str, matrix.ravel()))
    (tmp_path / "one.fcs").write_bytes(fcs(measured, ["A", "B", "C", "D"], SPILLOVER=told))
    assert np.allclose(read_cells(tmp_path / "one.fcs").values, EVENTS, rtol=1e-5)
    assert np.allclose(read_cells(tmp_path / "one.fcs", compensate=False).values, measured, rtol=1e-6)


def test_real_files_are_read_as_flowio_reads_them(real_data):
    import flowio

    path = real_data / "heatmap/facs_diva_test.fcs"
    expected = flowio.FlowData(str(path), ignore_offset_error=True)
    cells = read_cells(path, compensate=False, markers=expected.pnn_labels)
    assert np.allclose(cells.values, expected.as_array(), rtol=1e-6)
    assert read_cells(path).markers == ("CD20", "CD10", "CD45", "CD34", "Syto 41", "CD19", "CD38")


def test_files_with_odd_headers_are_read(real_data):
    large = read_cells(real_data / "heatmap/fake_large_fcs.fcs")  # its header leaves the place of data blank
    assert large.values.shape == (11585, 4)
    assert read_cells(real_data / "heatmap/SG_2014-09-26_Duplicate_Names.fcs").values.shape == (8129, 1)


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"TOT": "99999999999"}, "is cut off, or declares more events"),
        ({"PAR": "4000000000"}, "$PAR is not usable; expected a whole number from 1 to 5,000"),
        ({"PAR": "-3"}, "$PAR is not usable"),
        ({"TOT": "1e9"}, "is no FCS file that can be read: invalid literal for int() with base 10: '1e9'"),
        ({"TOT": "5"}, "$TOT does not fit the segment of events"),
        ({"DATATYPE": "A"}, "$DATATYPE is not read; expected F, D or I"),
        ({"MODE": "C"}, "$MODE is not read"),
        ({"BYTEORD": "3,4,1,2"}, "$BYTEORD is not read"),
        ({"BYTEORD": "4,3,2,1"}, "the wrong byte order"),
        ({"P2B": "10"}, "$P2B does not fit $DATATYPE F"),
        ({"P3N": " "}, "channel 3 has no name"),
        ({"P1E": "nan,1"}, "$P1E is not usable"),
        ({"NEXTDATA": "77"}, "holds several data sets"),
        ({"BEGINDATA": "12"}, "does not say where its events begin"),
        ({"SPILLOVER": "2,A,X,1,0,0,1"}, "names channels that the file lacks"),
        ({"SPILLOVER": "2,A,B,1,1,1,1"}, "cannot be inverted"),
        ({"SPILLOVER": "900000000,A"}, "is not whole"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_in_words(tmp_path, keywords, told):
    (tmp_path / "one.fcs").write_bytes(fcs(EVENTS * 100, ["A", "B", "C", "D"], **keywords))
    with pytest.raises(CytopipeError, match=re.escape(told)) as raised:
        read_cells(tmp_path / "one.fcs")
    assert "one.fcs" in str(raised.value)


@pytest.mark.parametrize("damage", [flip_bit, truncate])
def test_a_damaged_file_is_read_or_refused_and_never_a_traceback(tmp_path, damage):
    whole = fcs(EVENTS, ["A", "B", "C", "D"], SPILLOVER="2,B,C,1,0.1,0.2,1")
    path, refused = tmp_path / "one.fcs", 0
    for seed in range(300):
        path.write_bytes(whole)
        damage(path, random.Random(seed))
        try:
            read_cells(path)
        except CytopipeError as error:
            refused += 1
            assert "one.fcs" in str(error) or "marker" in str(error)
    assert refused > (250 if damage is truncate else 0)


def test_layouts_of_tables_are_known_by_their_columns(tmp_path, real_data):
    pd.DataFrame(
        {"cell_size": [9, 8], "CD3": [1.0, 2], "CD4": [0, 1], "label": [1, 2], "area": [9, 8],
         "centroid-0": [5, 6], "centroid-1": [7, 8], "fov": ["f1", "f2"], "cell_meta_cluster": ["T", "B"]}
    ).to_csv(tmp_path / "ark.csv", index=False)  # fmt: skip
    ark = read_cells(tmp_path / "ark.csv")
    assert ark.markers == ("CD3", "CD4")
    assert list(ark.cells["x"]) == [7, 8] and list(ark.cells["y"]) == [5, 6]
    assert list(ark.cells["sample"]) == ["f1", "f2"] and list(ark.cells["label"]) == [1, 2]
    mcmicro = read_cells(real_data / "heatmap/mcmicro_exemplar-001_cell.csv")
    assert mcmicro.values.shape == (11201, 9) and "CD45" in mcmicro.markers
    assert {"label", "x", "y", "area", "DNA_6"} <= set(mcmicro.cells)


def test_steinbock_joins_intensities_and_properties_by_object(tmp_path):
    for folder in ("intensities", "regionprops"):
        (tmp_path / folder).mkdir()
    for image in ("b", "a"):
        (tmp_path / f"intensities/{image}.csv").write_text("Object,CD3,CD4\n1,1.5,2\n2,3,4\n")
        (tmp_path / f"regionprops/{image}.csv").write_text(
            "Object,area,centroid-0,centroid-1\n2,20,6,7\n1,10,4,5\n"
        )
    cells = read_cells(tmp_path)
    assert cells.markers == ("CD3", "CD4")
    assert list(cells.cells["sample"]) == ["a", "a", "b", "b"]
    assert list(cells.cells["area"]) == [10, 20] * 2 and list(cells.cells["x"]) == [5, 7] * 2


def test_the_same_cells_come_out_of_text_parquet_and_h5ad(tmp_path):
    anndata = pytest.importorskip("anndata")
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.random((50, 3)), columns=["CD3", "CD4", "CD8"])
    table.insert(0, "sample", ["s1", "s2"] * 25)
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    table.to_csv(tmp_path / "b.csv.gz", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    obs = table[["sample"]].set_axis(map(str, range(50)))
    anndata.AnnData(
        table[["CD3", "CD4", "CD8"]].to_numpy(), obs, pd.DataFrame(index=["CD3", "CD4", "CD8"])
    ).write_h5ad(tmp_path / "a.h5ad")
    first = read_cells(tmp_path / "a.csv")
    for name in ("a.tsv", "b.csv.gz", "a.parquet", "a.h5ad"):
        other = read_cells(tmp_path / name)
        assert np.array_equal(other.values, first.values), name
        assert other.markers == first.markers and list(other.cells["sample"]) == list(first.cells["sample"])


def test_the_only_layer_stands_in_for_an_absent_x(real_data):
    cells = read_cells(real_data / "heatmap/cytof_6000x55.h5ad")
    assert cells.values.shape == (6000, 37) and cells.channels[1] == "In115Di"
    assert cells.cells["sample"].nunique() == 6
    with pytest.raises(InputError, match="has no layer 'raw'; expected compensated"):
        read_cells(real_data / "heatmap/cytof_6000x55.h5ad", layer="raw")


def test_everything_wrong_with_values_is_told_at_once_with_its_line(tmp_path):
    (tmp_path / "a.csv").write_text("CD3,CD4,CD8,sample\n1,2,3,s\n,2,x,s\n3,inf,4,s\n")
    with pytest.raises(InputError) as raised:
        read_cells(tmp_path / "a.csv")
    assert [finding.where.rpartition(":")[2] for finding in raised.value.findings] == ["3", "4", "3"]
    assert "marker CD8 has 1 of 3 cells without a number; expected a finite number" in str(raised.value)


def test_a_text_among_numbers_is_an_error_until_the_column_is_declared_as_metadata(tmp_path):
    rows = "".join(f"{number},{'x' if number % 4 else number},{number % 3},LPS\n" for number in range(40))
    (tmp_path / "a.csv").write_text(f"CD3,CD4,age,stimulus\n{rows}")
    with pytest.raises(InputError, match=r"a\.csv:3: marker CD4 has 30 of 40 cells .*found x\. .*CD4\]"):
        read_cells(tmp_path / "a.csv")
    cells = read_cells(tmp_path / "a.csv", metadata=["CD4", "age"])
    assert cells.markers == ("CD3",)
    assert list(cells.cells["CD4"][:3]) == ["0", "x", "x"] and list(cells.cells["age"][:3]) == [0, 1, 2]
    with pytest.raises(InputError, match="has no column 'CD44'; expected one of CD3, CD4, age, stimulus"):
        read_cells(tmp_path / "a.csv", metadata=["CD44"])


@pytest.mark.parametrize("kind", ["csv", "fcs"])
def test_cells_with_a_missing_value_are_told_or_left_out_as_one_chooses(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        path.write_text("CD3,CD4,CD8,sample\n1,2,3,s\n,2,3,t\n4,5,NA,u\n7,8,9,v\n")
    else:
        events = np.array([[1, 2, 3], [np.nan, 2, 3], [4, 5, np.nan], [7, 8, 9]], np.float32)
        path.write_bytes(fcs(events, ["CD3", "CD4", "CD8"]))
    with pytest.raises(InputError, match="missing: drop"):
        read_cells(path)
    cells = read_cells(path, missing="drop")
    assert np.array_equal(cells.values, [[1, 2, 3], [7, 8, 9]])
    assert cells.n_dropped == 2 and len(cells.cells) == 2
    if kind == "csv":
        assert list(cells.cells["sample"]) == ["s", "v"]
    assert len(read_cells(path, missing="drop", markers=["CD4"])) == 4


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("1,inf\n2,3\n,4\n", "1 of 3 cells without a finite value"),
        ("1,x\n2,3\n,4\n", "found x"),
        ("1,\n,4\n", "has no cell with a value of every marker"),
    ],
)
def test_what_is_no_missing_value_is_never_dropped(tmp_path, rows, told):
    (tmp_path / "a.csv").write_text(f"CD3,CD4\n{rows}")
    with pytest.raises(InputError, match=told):
        read_cells(tmp_path / "a.csv", missing="drop")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("CD3,CD4\n", "holds no cells"),
        ("CD3,CD3,CD4\n1,2,3\n", "several columns are called CD3"),
        ("1,2,3\n4,5,6\n", "does not begin with the names of columns"),
        ("CD3,CD4\n1,2\n1,2,3\n", "is no whole table"),
        ("sample,label\ns,1\n", "has no column that is known as a marker"),
        ("CD3\0,CD4\n1,2\n", "is no text"),
    ],
)
def test_a_table_that_is_none_is_refused_in_words(tmp_path, text, told):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=re.escape(told)):
        read_cells(tmp_path / "a.csv")


def test_a_byte_that_is_no_text_is_told_as_a_value(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"CD3,CD4\n1,2\n3,\xff4\n5,6\n")
    with pytest.raises(InputError, match=r"a\.csv:3: marker CD4 has 1 of 3 cells without a number"):
        read_cells(tmp_path / "a.csv")


def test_markers_that_files_lack_are_told_for_every_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("CD3,CD4\n1,2\n")
    with pytest.raises(InputError) as raised:
        read_cells(tmp_path, markers=["CD3", "CD99"])
    assert [str(one.where).rpartition("/")[2] for one in raised.value.findings] == ["a.csv", "b.csv"]


def test_files_with_other_markers_are_not_mixed_silently(tmp_path):
    (tmp_path / "a.csv").write_text("CD3,CD4\n1,2\n")
    (tmp_path / "b.csv").write_text("CD3,CD8\n1,2\n")
    with pytest.raises(InputError, match="without CD4; with CD8"):
        read_cells(tmp_path)
    assert len(read_cells(tmp_path, markers=["CD3"])) == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["h5ad", "csv", "parquet"])
def test_damaged_files_of_every_kind_are_read_or_refused_in_words(tmp_path, kind):
    """Among them an h5ad whose heap of text makes HDF5 loop for ever."""
    anndata = pytest.importorskip("anndata")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.random((60, 3)), columns=["CD3", "CD4", "CD8"])
    path = tmp_path / f"cells.{kind}"
    if kind == "h5ad":
        obs = pd.DataFrame({"sample": ["a", "b"] * 30}, index=[f"c{number}" for number in range(60)])
        anndata.AnnData(table.to_numpy(), obs, pd.DataFrame(index=list(table))).write_h5ad(path)
    else:
        table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    whole = path.read_bytes()
    places = range(len(whole)) if kind != "h5ad" else range(2000, 6200)
    for seed in range(12):
        rng = random.Random(seed)
        at = rng.choice(places)
        path.write_bytes(whole[:at] + bytes(512) + whole[at + 512 :] if seed % 3 else whole[:at])
        try:
            read_cells(path)
        except CytopipeError as error:
            assert "cells." in str(error)
