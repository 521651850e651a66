"""Provenance travels through JSON whole, refuses what it does not know, and separates recipe from moment."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytopipe.errors import InputError
from cytopipe.provenance import Input, Provenance, library_versions, sha256_bytes, sha256_file

text = st.text(max_size=20)
inputs = st.builds(
    Input, path=text, sha256=text, asset=text, storage_id=st.none() | st.integers(0, 2**40), run_id=text
)
provenances = st.builds(
    Provenance,
    what=text,
    parameters=st.dictionaries(text, st.integers() | st.booleans() | text | st.none(), max_size=4),
    inputs=st.lists(inputs, max_size=3).map(tuple),
    libraries=st.dictionaries(text, text, max_size=3),
)


@given(provenances)
def test_json_gives_back_what_was_written(provenance):
    assert Provenance.from_json(json.loads(json.dumps(provenance.as_json()))) == provenance


@given(st.binary(max_size=3000))
def test_a_file_and_its_bytes_have_the_digest_of_sha256(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("digest") / "file"
    path.write_bytes(data)
    assert sha256_file(path) == sha256_bytes(data) == hashlib.sha256(data).hexdigest()


def test_the_recipe_ignores_the_moment_and_sees_every_decisive_part():
    base = Provenance(what="x", parameters={"a": 1}, inputs=(Input(path="p", sha256="1"),), code_version="1")
    later = Provenance(
        what="x",
        parameters={"a": 1},
        inputs=(Input(path="moved", sha256="1", run_id="r"),),
        code_version="1",
        command="cytopipe",
        made_at="2001-01-01T00:00:00+00:00",
    )
    assert base.recipe() == later.recipe()
    for change in (
        {"what": "y"},
        {"parameters": {"a": 2}},
        {"inputs": (Input(path="p", sha256="2"),)},
        {"code_version": "2"},
    ):
        assert Provenance.from_json(base.as_json() | _as_json(change)).recipe() != base.recipe()


def _as_json(change):
    return {
        name: [vars(one) for one in value] if name == "inputs" else value for name, value in change.items()
    }


def test_a_damaged_document_gets_all_its_findings_at_once():
    with pytest.raises(InputError) as caught:
        Provenance.from_json({"parameters": [], "colour": "red", "inputs": [{"path": 3}, "file"]})
    message = str(caught.value)
    for part in (
        "provenance.parameters: wrong type",
        "unknown field 'colour'",
        "field 'what' is missing",
        "provenance.inputs[0]: field 'sha256' is missing",
        "provenance.inputs[0].path: wrong type",
        "provenance.inputs[1]: wrong type",
    ):
        assert part in message


def test_versions_of_absent_libraries_are_left_out():
    versions = library_versions(("numpy", "no-such-distribution"))
    assert set(versions) == {"numpy"}
