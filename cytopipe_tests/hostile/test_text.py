"""Text files of others: FASTA, YAML, JSON and TSV with every trap, each told with its line."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
from Bio import SeqIO
from hypothesis import given
from hypothesis import strategies as st

from cytopipe.errors import BudgetError, InputError
from cytopipe.storage.fasta import format_fasta, load_fasta, parse_fasta, read_fasta
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
    "html": (b"<html><body>502</body></html>", "x.fasta:1: is a web page (HTML), not FASTA"),
    "protein": (
        b">a\nMKLVEFIPQLLE*\n>b\nACGT\n",
        "x.fasta: holds proteins; expected nucleotides; found amino",
    ),
    "fastq": (b"@a\nACGT\n+\nIIII\n", "x.fasta:1: is FASTQ, not FASTA. Convert it: seqtk seq -a"),
    "fastq, windows": (b"@a\r\nACGT\r\n+\r\nIIII\r\n", "x.fasta:1: is FASTQ"),
    "sam": (b"@HD\tVN:1.6\n", "x.fasta:1: is SAM, not FASTA. Convert it: samtools fasta"),
    "genbank": (b"LOCUS       AB000001 600 bp\n", "x.fasta:1: is GenBank"),
    "utf-16": (">a\nACGT\n".encode("utf-16"), "x.fasta:1: is text in UTF-16"),
    "an at sign first": (b"@a\n>b\nACGT\n", "x.fasta:1: text before the first header"),
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


WORDS = st.text("ABCdef0123_.|:;=-", min_size=1, max_size=12)
RECORDS = st.lists(
    st.tuples(WORDS, st.lists(WORDS, max_size=3), st.text("ACGTacgtNRYU-", min_size=1, max_size=150)),
    max_size=8,
    unique_by=lambda record: record[0],
)


@given(RECORDS, st.integers(1, 90), st.sampled_from(["\n", "\r\n"]))
def test_biopython_reads_the_same_records_and_writes_the_same_bytes(records, width, line_end):
    """The twin of the reader and the writer."""
    given = [(" ".join([name, *words]), sequence) for name, words, sequence in records]
    data = format_fasta(given, width=width)
    ours = parse_fasta(data.replace(b"\n", line_end.encode()), allow_empty=True)
    theirs = list(SeqIO.parse(io.StringIO(data.decode()), "fasta"))
    assert [(one.id, one.header, one.sequence) for one in ours] == [
        (one.id, one.description, str(one.seq)) for one in theirs
    ]
    for format, columns in (("fasta", 60), ("fasta-2line", 0)):
        text = io.StringIO()
        SeqIO.write(theirs, text, format)
        assert format_fasta(ours, width=columns) == text.getvalue().encode()


@pytest.mark.parametrize("record", [("", "AC"), ("a\nb", "AC"), ("a", ""), ("a", "A C"), (" a", "AC")])
def test_what_could_not_be_read_again_is_not_written(record):
    with pytest.raises(InputError):
        format_fasta([record])


def test_a_gzip_bomb_stops_at_the_budget(tmp_path):
    (tmp_path / "x.fasta.gz").write_bytes(gzip.compress(b">a\n" + b"A" * (64 << 20)))
    with pytest.raises(BudgetError, match="after decompression"):
        read_fasta(tmp_path / "x.fasta.gz", max_bytes=1 << 20)


def zstd(data: bytes) -> bytes:
    import pyarrow as pa

    return pa.Codec("zstd").compress(data, asbytes=True)


COMPRESSIONS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_compressed_fasta_is_read_whatever_its_name(tmp_path, ending):
    text = b"".join(b">r%d\n%s\n" % (i, b"ACGT" * 50) for i in range(2000))
    raw = COMPRESSIONS[ending](text[: len(text) // 2]) + COMPRESSIONS[ending](text[len(text) // 2 :])
    for name in (f"x.fasta.{ending}", "x.fasta"):
        (tmp_path / name).write_bytes(raw)
        read = load_fasta(tmp_path / name)
        assert read.records == parse_fasta(text), "two members in a row, as bgzip and cat make them"
        assert read.sha256 == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_compressed_bomb_stops_at_the_budget(tmp_path, ending):
    (tmp_path / "x.fasta").write_bytes(COMPRESSIONS[ending](b">a\n" + b"A" * (64 << 20)))
    with pytest.raises(BudgetError, match="after decompression"):
        read_fasta(tmp_path / "x.fasta", max_bytes=1 << 20)


@pytest.mark.parametrize("cut", [6, 15, 30, -1])
@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_compressed_data_that_is_cut_off_is_told(tmp_path, ending, cut):
    text = b"".join(b">r%d\n%s\n" % (i, hashlib.sha256(b"%d" % i).hexdigest().encode()) for i in range(99))
    (tmp_path / "x.fasta").write_bytes(COMPRESSIONS[ending](text)[:cut])
    with pytest.raises(InputError, match="compressed data is damaged"):
        read_fasta(tmp_path / "x.fasta", alphabet=None)


@pytest.mark.parametrize(
    ("magic", "kind"),
    [(b"PK\x03\x04", "a zip archive"), (b"7z\xbc\xaf\x27\x1c", "a 7z"), (b"\x1f\x9d", "compress")],
)
def test_an_archive_is_named_with_what_to_do(tmp_path, magic, kind):
    (tmp_path / "x.fasta").write_bytes(magic + bytes(100))
    with pytest.raises(InputError, match=rf"is (compressed with )?{kind}.*Unpack it"):
        read_fasta(tmp_path / "x.fasta")


def test_aligned_sequences_are_one_finding_with_a_count(tmp_path):
    text = b"".join(b">r%d\nAC-GT\n" % i for i in range(5000)) + b">whole\nACGT\n"
    assert len(parse_fasta(text)) == 5001
    with pytest.raises(InputError) as caught:
        parse_fasta(text, where="x.fasta", gaps=False)
    told = "x.fasta:1: the sequences are aligned: 5,000 of 5,001 records hold gaps"
    assert len(caught.value.findings) == 1 and str(caught.value).startswith(told)


def test_every_fault_of_a_fasta_says_what_to_do():
    for data, _ in BAD_FASTA.values():
        with pytest.raises(InputError) as caught:
            parse_fasta(data, where="x.fasta")
        assert all(one.next or one.found for one in caught.value.findings)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin"])
def test_a_device_or_pipe_is_no_input(path):
    with subprocess.Popen(["sleep", "30"], stdout=subprocess.PIPE) as slow:
        script = f"from cytopipe.storage.fasta import read_fasta; read_fasta({path!r})"
        done = subprocess.run(
            [sys.executable, "-c", script], stdin=slow.stdout, capture_output=True, text=True, timeout=20
        )
        slow.kill()
    assert "InputError" in done.stderr and "is not a file; found a" in done.stderr


def test_a_name_that_is_not_utf_8_is_told(tmp_path):
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.fasta"))
    path.write_bytes(b">a\nACGT\n")
    with pytest.raises(InputError, match=r"caf\\udce9\.fasta': the name of the file is not UTF-8") as caught:
        read_fasta(path)
    str(caught.value).encode()


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
