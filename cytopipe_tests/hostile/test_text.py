"""Text files of others: FASTA, YAML, JSON and TSV with every trap, each told with its line."""

from __future__ import annotations

import gzip

import pytest

from cytopipe.errors import BudgetError, InputError
from cytopipe.storage.fasta import format_fasta, parse_fasta, read_fasta
from cytopipe.storage.formats.table import format_tsv, read_tsv
from cytopipe.storage.state import format_json, parse_json
from cytopipe.storage.strict_yaml import load_yaml, parse_yaml

# --------------------------------------------------------------------------- FASTA

BAD_FASTA = {
    "nul": (b">a\nAC\0GT\n", "x.fasta:2: NUL at column 3"),
    "digit": (b">a\nACGT\nAC1GT\n", "x.fasta:3: digit '1'"),
    "blank id": (b">\nACGT\n", "x.fasta:1: the id after '>' is blank"),
    "space before the id": (b"> a\nACGT\n", "x.fasta:1: the id after '>' is blank"),
    "duplicate id": (b">a\nAC\n>b\nGG\n>a x\nTT\n", "x.fasta:5: id 'a' stands already in line 1"),
    "old macintosh": (b">a\rACGT\r>b\rAC\r", "bare carriage return"),
    "mixed line ends": (b">a\nAC\rGT\n", "x.fasta:2: a carriage return inside a line"),
    "empty": (b"", "holds no sequence; found an empty file"),
    "blank": (b"\n\n", "holds no sequence; found an empty file"),
    "text first": (b"hello\n>a\nACGT\n", "x.fasta:1: text before the first header"),
    "no sequence": (b">a\n>b\nAC\n", "x.fasta:1: record 'a' has no sequence"),
    "no sequence at the end": (b">a\nAC\n>b\n", "x.fasta:3: record 'b' has no sequence"),
    "not utf-8": (b">a\nAC\n>\xff\nAC\n", "x.fasta:3: byte 0xFF is not UTF-8"),
    "another letter": (b">a\nACGT\nACJT\n", "x.fasta:3: 'J' is no sequence letter, at column 3"),
    "space inside": (b">a\nAC GT\n", "x.fasta:2: white space inside a sequence"),
    "html": (b"<html><body>502</body></html>", "x.fasta:1: text before the first header"),
    "nul in a header": (b">a\0b\nACGT\n", "x.fasta:1: NUL in a header"),
}


@pytest.mark.parametrize("name", BAD_FASTA)
def test_a_fault_in_fasta_is_told_with_its_line(name, tmp_path):
    data, told = BAD_FASTA[name]
    with pytest.raises(InputError) as caught:
        parse_fasta(data, where="x.fasta")
    assert told in str(caught.value)
    (tmp_path / "x.fasta").write_bytes(data)
    with pytest.raises(InputError):
        list(read_fasta(tmp_path / "x.fasta"))


def test_all_faults_of_a_fasta_come_at_once():
    with pytest.raises(InputError) as caught:
        parse_fasta(b">a\nAC1\n>a\nGT\n>\n\0\n", where="x")
    assert len(caught.value.findings) == 4


def test_thousands_of_faults_are_counted_not_listed():
    with pytest.raises(InputError) as caught:
        parse_fasta(b">a\n" + b"1\n" * 5000, where="x")
    assert len(caught.value.findings) == 51
    assert "and 4950 more" in str(caught.value)


def test_a_whole_fasta_is_read_as_it_was_written(tmp_path):
    data = b"\xef\xbb\xbf>a one  two\r\nACGT\r\nacgtn-\r\n\r\n>b\r\nRYK\r\n"
    (tmp_path / "x.fasta").write_bytes(data)
    first, second = read_fasta(tmp_path / "x.fasta")
    assert (first.id, first.description, first.sequence, first.line) == ("a", "one  two", "ACGTacgtn-", 1)
    assert (second.header, second.sequence, second.line) == ("b", "RYK", 5)
    assert format_fasta([first, second]) == b">a one  two\nACGTacgtn-\n>b\nRYK\n"
    assert format_fasta([second], width=2) == b">b\nRY\nK\n"


@pytest.mark.parametrize("record", [("", "AC"), ("a\nb", "AC"), ("a", ""), ("a", "A C"), (" a", "AC")])
def test_what_could_not_be_read_again_is_not_written(record):
    with pytest.raises(InputError):
        format_fasta([record])


def test_a_gzip_bomb_stops_at_the_budget(tmp_path):
    (tmp_path / "x.fasta.gz").write_bytes(gzip.compress(b">a\n" + b"A" * (64 << 20)))
    with pytest.raises(BudgetError, match="after decompression"):
        read_fasta(tmp_path / "x.fasta.gz", max_bytes=1 << 20)


@pytest.mark.parametrize("cut", [5, 15, 25])
def test_a_gzip_that_is_cut_off_is_told(tmp_path, cut):
    (tmp_path / "x.fasta.gz").write_bytes(gzip.compress(b">a\nACGT\n" * 40)[:cut])
    with pytest.raises(InputError, match="compressed data is damaged"):
        read_fasta(tmp_path / "x.fasta.gz")


def test_a_directory_is_no_fasta(tmp_path):
    with pytest.raises(InputError, match="is not a file; found a directory"):
        read_fasta(tmp_path)


# --------------------------------------------------------------------------- YAML

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(8)
)
BAD_YAML = {
    "alias bomb": (BOMB, "y.yaml:1: anchor '&a'"),
    "merge": ("a: {<<: {b: 1}}", "y.yaml:1: merge key"),
    "tag": ("a: 1\nb: !!python/object/apply:os.system [ls]", "y.yaml:2: tag"),
    "duplicate": ("a:\n  b: 1\n  c: 2\n  b: 3\n", "y.yaml:4: key 'b' stands already in line 2"),
    "two documents": ("a: 1\n---\nb: 2\n", "y.yaml:2: a second document"),
    "nan": ("a: .nan", "y.yaml:1: .nan is not a number"),
    "too large": ("a: 1e999", "y.yaml:1: 1e999 is too large"),
    "deep": ("[" * 5000, "nested deeper than 50"),
    "list as key": ("? [a, b]\n: 1\n", "a list or mapping stands where a key should"),
    "tab": ("a:\n\t- b\n", "y.yaml:2: "),
    "open bracket": ("a: [1,\nb: 2\n", "that begins in line 1"),
    "control character": ("a: \x01", "character that YAML does not allow"),
    "not utf-8": (b"a: 1\nb: \xff\n", "y.yaml:2: is not UTF-8"),
}


@pytest.mark.parametrize("name", BAD_YAML)
def test_a_trap_in_yaml_is_told_with_its_line(name):
    data, told = BAD_YAML[name]
    with pytest.raises(InputError) as caught:
        parse_yaml(data, where="y.yaml")
    assert told in str(caught.value)


def test_yaml_words_stay_words():
    text = (
        "country: NO\nanswer: yes\nplate: 007\ntime: 1:30\nday: 2026-01-01\noctal: 0o7\nempty:\n"
        "t: true\nf: 1.5e-3\n"
    )
    assert parse_yaml(text).data == {
        "country": "NO",
        "answer": "yes",
        "plate": "007",
        "time": "1:30",
        "day": "2026-01-01",
        "octal": "0o7",
        "empty": None,
        "t": True,
        "f": 0.0015,
    }


def test_every_key_knows_its_line():
    document = parse_yaml("a:\n  b: 1\n  c:\n    - d: 2\n    - e\n", where="y.yaml")
    assert [document.line(path) for path in [("a",), ("a", "b"), ("a", "c", 0, "d"), ("a", "c", 1)]] == [
        1,
        2,
        4,
        5,
    ]
    assert document.at(("a", "c", 7, "missing")) == "y.yaml:3"


def test_a_yaml_file_has_a_size(tmp_path):
    (tmp_path / "y.yaml").write_text("a: " + "x" * 2000)
    with pytest.raises(BudgetError):
        load_yaml(tmp_path / "y.yaml", max_bytes=1000)


# --------------------------------------------------------------------------- JSON

BAD_JSON = {
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "overflow": b'{"a": 1e999}',
    "duplicate": b'{"a": 1, "a": 2}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "cut off": b'{"a": [1, 2',
    "long number": b"1" * 10_000,
    "not utf-8": b'{"a": "\xff"}',
    "empty": b"",
    "two": b"{} {}",
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_json_with_a_trap_is_refused(name):
    with pytest.raises(InputError, match=r"s\.json"):
        parse_json(BAD_JSON[name], where="s.json")


def test_json_has_a_size():
    with pytest.raises(BudgetError):
        parse_json(b"[" + b"1," * 1000 + b"1]", max_bytes=100)


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}, {1: 2}, object(), [b"x"]])
def test_what_json_has_no_word_for_is_not_written(value):
    with pytest.raises(InputError):
        format_json(value)


def test_state_is_written_for_people_and_read_back():
    import numpy as np

    value = {"b": [1, 2.5, None, True], "a": {"é": "x"}, "n": np.int64(3), "v": np.array([1.5, 2])}
    text = format_json(value)
    assert text.endswith(b"}\n") and b'\n  "b"' in text and "é".encode() in text
    assert parse_json(text) == {"b": [1, 2.5, None, True], "a": {"é": "x"}, "n": 3, "v": [1.5, 2.0]}


# --------------------------------------------------------------------------- TSV


def test_a_value_cannot_break_a_row():
    with pytest.raises(InputError, match="row 2, a: a tab or line break"):
        format_tsv({"a": ["x", "y\tz"]})


def test_a_table_is_read_back_exactly(tmp_path):
    table = {"id": ["007", "8"], "value": [0.1, None], "n": [1, 2], "ok": [True, False]}
    (tmp_path / "t.tsv").write_bytes(format_tsv(table))
    back = read_tsv(tmp_path / "t.tsv", columns=["id", "value"], text=["id"])
    assert list(back["id"]) == ["007", "8"]
    assert back["value"][0] == 0.1 and back["value"].isna()[1]
    assert (tmp_path / "t.tsv").read_bytes() == b"id\tvalue\tn\tok\n007\t0.1\t1\ttrue\n8\t\t2\tfalse\n"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"a\tb\n1\n", "t.tsv:2: a row of another length"),
        (b"a\ta\n1\t2\n", "column 'a' stands twice"),
        (b"", "is empty"),
        (b"a\tb\n1\t\0\n", "t.tsv:2: NUL"),
        (b"a\tb\n\xff\t1\n", "t.tsv:2: is not UTF-8"),
        (b"a\tc\n1\t2\n", "column 'b' is absent"),
    ],
)
def test_a_table_with_a_fault_is_told_with_its_line(tmp_path, data, told):
    (tmp_path / "t.tsv").write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_tsv(tmp_path / "t.tsv", columns=["a", "b"])
    assert told in str(caught.value)
