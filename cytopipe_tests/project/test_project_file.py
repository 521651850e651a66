"""The project file: what it declares, and how every fault in it is told."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from cytopipe.decompose.parameters import Parameters
from cytopipe.errors import ProjectError
from cytopipe.project import (
    check_project,
    find_project,
    load_project,
    project_schema,
    read_project,
    start_project,
)

FASTA = ">a\nACGTACGT\n>b\nACGTACGA\n"


def write(folder: Path, text: str, **files: str) -> Path:
    """A project file in `folder`, with FASTA files beside it."""
    for name in ("one", "two"):
        (folder / f"{name}.fasta").write_text(FASTA)
    file = folder / "cytopipe.yaml"
    file.write_text(text)
    return file


def findings_of(file: Path) -> list[str]:
    with pytest.raises(ProjectError) as caught:
        check_project(file)
    return [str(one).replace(f"{file}:", "") for one in caught.value.findings]


def test_entries_become_data_sets_with_every_parameter(tmp_path):
    """Units are read, defaults are the domain's, and the folder is the slug below the output root."""
    file = write(
        tmp_path,
        "output: results\n"
        "decompose:\n"
        "  Russula:\n"
        "    input: one.fasta\n"
        "    min_split: 0.4 %\n"
        "    refine: [1 %, 0.02]\n",
    )
    project = check_project(file)
    data = project.data_set("decompose", "Russula")
    assert data.entry.parameters == Parameters(min_split=0.004)
    assert data.entry.refine == [0.01, 0.02]
    assert data.folder == tmp_path / "results" / "decompose" / "Russula"
    assert data.resolve(data.entry.input) == tmp_path / "one.fasta"


def test_names_that_differ_only_in_case_are_refused(tmp_path):
    """On macOS, Windows and network shares their folders would be one."""
    entries = "".join(f"  {name}:\n    input: one.fasta\n" for name in ("Russula", "russula", "Amanita"))
    file = write(tmp_path, "decompose:\n" + entries)
    told = findings_of(file)
    assert len(told) == 2
    assert all("the names 'Russula' and 'russula' differ only in case. Rename one" in one for one in told)
    assert list(load_project(file).data_sets["decompose"]) == ["Amanita"]


def test_a_folder_of_an_earlier_version_is_named_with_what_to_do(tmp_path):
    """Capital letters were folded before 0.1.0; what was made then is renamed, not made again."""
    file = write(tmp_path, "output: out\ndecompose:\n  Russula_INxx:\n    input: one.fasta\n")
    former = tmp_path / "out/decompose/russula_inxx--ijts3gtzronqkpt53z3i"
    former.mkdir(parents=True)
    (told,) = findings_of(file)
    assert "has the name that an earlier version gave it; expected Russula_INxx. Rename it: mv " in told
    subprocess.run(told.partition("Rename it: ")[2], shell=True, check=True)
    assert check_project(file).data_set("decompose", "Russula_INxx").folder.is_dir()


def test_the_entry_offers_every_field_of_parameters():
    """A parameter that the domain gains is one a project file can set, described in its own words."""
    entry = project_schema()["$defs"]["decompose"]["properties"]
    for name in Parameters.model_fields:
        assert name in entry
        assert entry[name]["description"]


def test_every_fault_is_told_at_once_with_line_expected_and_found(tmp_path):
    file = write(
        tmp_path,
        "decompose:\n"
        "  a:\n"
        "    input: on.fasta\n"
        "    min_split: 2\n"
        "    max_lumpp: 0.02\n"
        "    neighbours: blst\n"
        "  b:\n"
        "    input: two.fasta\n"
        "    min_split: 3 %\n"
        "    target_percentile: 0.95\n"
        "    max_clusters: 1.5\n",
    )
    told = findings_of(file)
    assert [one.split(":")[0] for one in told] == ["3", "4", "5", "6", "9", "10", "11"]
    assert "no such file" in told[0] and "Did you mean one.fasta?" in told[0]
    assert "expected a fraction from 0 to 1; found 2. For 2 percent write '2 %'." in told[1]
    assert "unknown key 'max_lumpp'" in told[2] and "Did you mean 'max_lump'?" in told[2]
    assert "Did you mean 'blast'?" in told[3]
    assert "min_split exceeds max_lump" in told[4]
    assert "Did you mean 95?" in told[5]
    assert "expected a whole number; found 1.5" in told[6]


def test_a_broken_entry_takes_only_itself_out(tmp_path):
    file = write(tmp_path, "decompose:\n  bad:\n    input: gone.fasta\n  good:\n    input: one.fasta\n")
    project = load_project(file)
    assert list(project.data_sets["decompose"]) == ["good"]
    with pytest.raises(ProjectError, match=r"gone\.fasta"):
        project.data_set("decompose", "bad")
    with pytest.raises(ProjectError, match="Did you mean 'good'"):
        project.data_set("decompose", "goood")


def test_a_pattern_stands_for_one_data_set_per_file(tmp_path):
    """A file that appears is a data set that appears; hidden files never are."""
    file = write(tmp_path, "decompose:\n  plate:\n    input: '*.fasta'\n    max_lump: 3 %\n")
    (tmp_path / ".hidden.fasta").write_text(FASTA)
    assert list(load_project(file).data_sets["decompose"]) == ["plate.one", "plate.two"]
    (tmp_path / "three.fasta").write_text(FASTA)
    project = load_project(file)
    assert project.data_set("decompose", "plate.three").entry.parameters.max_lump == 0.03


def test_a_file_name_that_cannot_be_a_key_is_a_finding_and_not_a_partition(tmp_path):
    file = write(tmp_path, "decompose:\n  plate:\n    input: '*.fasta'\n")
    (tmp_path / "a|b.fasta").write_text(FASTA)
    project = load_project(file)
    assert list(project.data_sets["decompose"]) == ["plate.one", "plate.two"]
    assert "holds |" in str(project.findings[0])


@pytest.mark.parametrize("name", ["a|b", "a,b", "a...b", '"*"', '" a"', r'"a\nb"', r'"a\0b"', "a/b", '""'])
def test_names_that_selections_or_file_systems_would_misread_are_refused(tmp_path, name):
    file = write(tmp_path, f"decompose:\n  {name}:\n    input: one.fasta\n")
    assert findings_of(file)[0].startswith("2: name")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x [1]\nb: *x\n", "anchor"),
        ("a: !!python/object/apply:os.system [ls]\n", "tag"),
        ("decompose:\n  a: {input: x}\n  a: {input: y}\n", "'a'"),
        ("decompose:\n\ta: 1\n", "cytopipe.yaml:2"),
        ("? [1, 2]\n: 3\n", "key"),
        ("<<: {a: 1}\n", "merge key"),
        ("[" * 500 + "]" * 500, "deep"),
        ("a: b: c\n", "cytopipe.yaml:1"),
        ("", "a project file is a mapping"),
        ("- a\n", "a project file is a mapping"),
        ("output: s3://bucket/x\n", "expected a directory"),
        ("engine: cluster\n", "expected serial, local"),
        ("keep_versions: 3 parsecs\n", "unit 'parsecs'"),
        ("cytopipe: 2\n", "cytopipe"),
    ],
)
def test_hostile_or_wrong_yaml_is_refused_with_its_line(tmp_path, text, told):
    file = tmp_path / "cytopipe.yaml"
    file.write_text(text)
    with pytest.raises(ProjectError) as caught:
        read_project(file)
    assert told in str(caught.value)
    assert f"{file}:" in str(caught.value)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    file = tmp_path / "cytopipe.yaml"
    file.write_bytes(b"output: x\nengine: \xff\xfe\n")
    with pytest.raises(ProjectError, match=r"cytopipe\.yaml:2: is not UTF-8"):
        read_project(file)


def test_an_unbounded_file_is_not_read_to_its_end(tmp_path):
    file = tmp_path / "cytopipe.yaml"
    with file.open("wb") as stream:
        stream.truncate(1 << 33)
    with pytest.raises(ProjectError, match="more than may be read"):
        read_project(file)


def test_a_moved_project_means_the_same(tmp_path):
    """Everything relative: the data sets of the moved directory are those of the first, elsewhere."""
    first = tmp_path / "first"
    first.mkdir()
    file = write(first, "decompose:\n  a:\n    input: one.fasta\n")
    before = load_project(file)
    shutil.move(first, tmp_path / "second")
    after = load_project(tmp_path / "second")
    assert before.data_sets["decompose"]["a"].entry == after.data_sets["decompose"]["a"].entry
    assert after.data_set("decompose", "a").folder == tmp_path / "second/outputs/decompose/a"


def test_a_project_is_found_from_below_and_from_the_environment(tmp_path, monkeypatch):
    file = write(tmp_path, "output: x\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert find_project() == file
    elsewhere = tmp_path.parent
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("CYTOPIPE_PROJECT", str(tmp_path))
    assert find_project() == file
    monkeypatch.delenv("CYTOPIPE_PROJECT")
    with pytest.raises(ProjectError, match="cytopipe init"):
        find_project()


def test_a_started_project_is_valid_names_what_lies_there_and_is_never_overwritten(tmp_path):
    write(tmp_path, "")
    (tmp_path / "cytopipe.yaml").unlink()
    (tmp_path / "odd name: x.fa").write_text(FASTA)
    file = start_project(tmp_path)
    project = check_project(file)
    assert len(project.data_sets["decompose"]) == 3
    with pytest.raises(ProjectError, match="stays as it is"):
        start_project(tmp_path)


def test_the_schema_accepts_what_is_accepted_and_refuses_what_is_refused(tmp_path):
    """Editors that follow the schema say the same as `cytopipe check`."""
    schema = project_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {"decompose": {"a": {"input": "one.fasta", "min_split": "0.5 %", "refine": [0.01]}}}
    jsonschema.validate(good, schema)
    for bad in (
        {"decompose": {"a": {}}},
        {"decompose": {"a": {"input": "x", "min_split": 2}}},
        {"decompose": {"a": {"input": "x", "surprise": 1}}},
        {"engin": "local"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
    written = json.loads((start_project(tmp_path).parent / ".cytopipe/schema.json").read_text())
    assert written == schema


def test_reading_a_project_imports_no_dagster():
    """The project file is read by notebooks and by tools that have no orchestrator."""
    import subprocess
    import sys

    code = (
        "import sys, cytopipe.project, cytopipe.project.decompose.entry; sys.exit('dagster' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
