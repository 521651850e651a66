"""state.json, its schema and its documentation say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytopipe.commands.decompose import decompose
from cytopipe.decompose import Decomposition, state_schema
from cytopipe.decompose.layout import STAGES
from cytopipe.decompose.state import State, format_document, parse_document
from cytopipe.errors import InputError, ResumeError
from cytopipe_tests.decompose_run.killing import KMER

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"

NAMED = {
    "": {"version", "status", "stage", "input", "parameters", "stages", "metadata"},
    "input": {"fasta_path", "fasta_hash", "total_sequences", "deduplicated_sequences"},
    "parameters": {
        *("min_split", "max_lump", "target_percentile", "blast_max_hits", "blast_evalue", "blast_threads"),
        "min_identity",
    },
    "stages.initial_clustering": {
        *("completed", "total_iterations", "total_sequences_processed", "coverage_percentage"),
        *("total_clusters", "max_clusters_limit", "max_sequences_limit", "cluster_file_pattern"),
        "unassigned_file",
    },
    "stages.conflict_resolution": {
        *("completed", "conflicts_before", "conflicts_after", "clusters_before", "clusters_after"),
        "cluster_file_pattern",
    },
    "stages.close_cluster_refinement": {
        *("completed", "threshold", "clusters_before", "clusters_after", "cluster_file_pattern"),
        "refinement_history",
    },
    "stages.finalized": {"completed"},
    "metadata": {"command_history", "start_time", "last_checkpoint", "version"},
}


@pytest.fixture
def document(fasta: Path, tmp_path: Path) -> dict:
    Decomposition.create(tmp_path / "run", fasta, KMER, command="cytopipe decompose x").advance(
        "final", report=False
    )
    return json.loads((tmp_path / "run" / "state.json").read_text())


def test_a_state_has_every_field_and_fits_the_schema(document: dict) -> None:
    jsonschema.Draft202012Validator(state_schema()).validate(document)
    for place, fields in NAMED.items():
        part = document
        for name in filter(None, place.split(".")):
            part = part[name]
        assert set(part) >= fields, place or "top level"
    assert document["status"] == "completed" and document["stage"] == "finalized"
    assert document["metadata"]["command_history"][0]["command"] == "cytopipe decompose x"


def test_membership_is_not_in_the_state(document: dict, fasta: Path) -> None:
    assert not re.search(r"sp\d\d_m\d\d", json.dumps(document))


def test_the_published_schema_is_the_one_of_the_models() -> None:
    """Write it again with: cytopipe decompose schema > docs/formats/decompose.state.schema.json"""
    published = json.loads((DOCS / "formats" / "decompose.state.schema.json").read_text())
    assert published == json.loads(json.dumps(state_schema()))


def test_every_field_and_file_is_documented() -> None:
    text = (DOCS / "formats" / "decompose.md").read_text()
    for fields in NAMED.values():
        for field in fields - NAMED["parameters"]:
            short = re.sub("_(before|after)$", "_before/after", field)
            assert field in text or short in text, field
    for stage in STAGES:
        assert stage.name in text and stage.unassigned_file in text


def test_every_option_is_documented() -> None:
    text = (DOCS / "decompose.md").read_text()
    for name in ("resume", "finalize", "cleanup", "targets", "max-clusters", "max-sequences", "dry-run"):
        assert f"--{name}" in text
    options = {one for parameter in decompose.commands["run"].params for one in parameter.opts}
    assert options >= {
        *("--output", "--resume", "--checkpoint-interval", "--force-input-change", "--keep-blast-db"),
        *("--finalize", "--cleanup", "--targets", "--max-clusters", "--max-sequences", "--resolve-conflicts"),
        *("--refine-close-clusters", "--min-split", "--max-lump", "--target-percentile"),
        *("--blast-max-hits", "--blast-evalue", "--blast-threads", "--min-identity", "--dry-run", "--quiet"),
    }
    for verb in decompose.commands.keys() - {"run", "schema"}:
        assert re.search(rf"(decompose |`){verb} ", text), verb


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.pop("input"), "input: field required"),
        (lambda one: one.update(extra=1), "extra: extra inputs are not permitted"),
        (lambda one: one["input"].update(total_sequences="many"), "input.total_sequences"),
        (lambda one: one["input"].update(fasta_hash="abc"), "input.fasta_hash"),
        (lambda one: one.update(version="2.0"), "cannot continue"),
    ],
)
def test_a_wrong_state_says_which_field(document: dict, change, said: str) -> None:
    change(document)
    with pytest.raises(ResumeError, match=re.escape(said)):
        parse_document(json.dumps(document).encode(), where="state.json")


@given(st.binary(max_size=60))
def test_no_bytes_whatever_crash_the_reader(data: bytes) -> None:
    with pytest.raises((ResumeError, InputError)):
        parse_document(data, where="state.json")


def test_a_state_is_written_as_it_was_read(document: dict) -> None:
    state = State.model_validate_json(json.dumps(document))
    assert parse_document(format_document(state), where="") == state
    assert json.loads(format_document(state)) == document
