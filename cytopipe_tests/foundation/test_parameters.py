"""A parameter is declared once; entry, options, state, schema and documentation have it from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel, Field, ValidationError

from cytopipe.atlas.activity import EXPRESSION_PREPARATIONS, METHODS
from cytopipe.atlas.permutation import STREAMS
from cytopipe.atlas.settings import ActivitySettings, Settings
from cytopipe.commands.options import parameter_options, said
from cytopipe.decompose.parameters import Parameters
from cytopipe.errors import ParameterError
from cytopipe.parameters import ParameterSet, allowed, choices, parameter_table
from cytopipe.project.entry import Entry
from cytopipe.units import Duration_s, Fraction
from cytopipe_tests.conftest import REPOSITORY


class More(Parameters):
    """What a domain declares when it gains two parameters."""

    overlap: Annotated[Fraction, Field(json_schema_extra={"reference": "Nobody (2026)"})] = 0.25
    """Share of positions that two reads must have in common."""

    patience: Duration_s | None = None
    """How long to wait for an answer."""


@click.command()
@parameter_options(More)
def command(**given: object) -> None:
    click.echo(json.dumps(said(More, given)))


def test_a_new_parameter_is_an_option_with_its_range_default_and_help():
    done = CliRunner().invoke(command, ["--help"])
    text = " ".join(done.output.split())
    assert "--overlap FRACTION Share of positions that two reads must have in common." in text
    assert "percent such as '2 %'. [default: 0.25]" in text
    given = CliRunner().invoke(command, ["--overlap", "30 %", "--patience", "5 min"], catch_exceptions=False)
    assert json.loads(given.output) == {"overlap": 0.3, "patience": 300.0}


def test_a_new_parameter_is_in_the_entry_of_a_project_file():
    class Extended(Entry, More):
        domain = "decompose"

    entry = Extended.model_validate({"overlap": "30 %", "description": "x"})
    assert More.of(entry) == More(overlap=0.3)
    with pytest.raises(ValidationError) as caught:
        Extended.model_validate({"overlap": 30})
    assert caught.value.errors()[0]["loc"] == ("overlap",)


def test_a_new_parameter_is_in_the_state_document_and_its_schema():
    class State(BaseModel):
        parameters: More

    state = State.model_validate_json('{"parameters": {"overlap": 0.3}}')
    assert state.model_dump(mode="json")["parameters"]["overlap"] == 0.3
    offered = State.model_json_schema()["$defs"]["More"]["properties"]["overlap"]
    assert offered["default"] == 0.25 and offered["description"].startswith("Share of positions")
    assert offered["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 1}


def test_a_new_parameter_is_in_the_documentation():
    (row,) = [line for line in parameter_table(More).splitlines() if "`overlap`" in line]
    assert row.startswith("| `overlap` | a fraction from 0 to 1, or percent such as '2 %' | 0.25 | Share of")
    assert row.endswith("Reference: Nobody (2026) |")


def test_the_page_of_parameters_is_current():
    """Write it again with: python -m cytopipe.project.documentation > docs/parameters.md"""
    from cytopipe.project.documentation import parameters_page

    assert Path(REPOSITORY / "docs/parameters.md").read_text() == parameters_page()


@pytest.mark.parametrize("model", [Parameters, Settings, ActivitySettings])
def test_every_parameter_says_what_it_means_and_what_it_takes(model):
    for name, field in model.model_fields.items():
        assert field.description and allowed(field) != "text", name


def test_choices_are_those_of_the_algorithms():
    fields = ActivitySettings.model_fields
    assert choices(fields["method"]) == tuple(METHODS)
    assert choices(fields["expression"]) == tuple(EXPRESSION_PREPARATIONS)
    assert choices(fields["stream"]) == STREAMS


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--max-lump", "2"], "--max-lump: is not usable; expected a fraction from 0 to 1; found"),
        (["--min-identity", "0.9"], "Did you mean 90?"),
        (["--target-percentile", "0.95"], "Did you mean 95?"),
        (["--min-split", "2 um"], "unit 'um' does not fit here"),
        (["--blast-max-hits", "0"], "expected a whole number from 1; found '0'"),
        (["--blast-max-hits", "1.5"], "expected a whole number from 1; found '1.5'"),
        (["--gap-alpha", "nan"], "expected a number from 0 to 1; found"),
    ],
)  # fmt: skip
def test_an_option_out_of_its_range_is_refused_with_what_was_probably_meant(words, told):
    with pytest.raises(ParameterError) as caught:
        CliRunner().invoke(command, words, catch_exceptions=False)
    assert told in str(caught.value)
    assert str(caught.value).count(words[0].lstrip("-").replace("-", "_")) == 0


def test_an_unsaid_option_leaves_a_stored_value_alone():
    assert json.loads(CliRunner().invoke(command, []).output) == {}
    assert json.loads(CliRunner().invoke(command, ["--no-parity"]).output) == {"parity": False}


def test_all_wrong_values_are_told_at_once_and_each_names_its_field_once():
    with pytest.raises(ParameterError) as caught:
        Parameters(max_lump=2, gap_method="widest", blast_threads=0)
    assert [one.where for one in caught.value.findings] == ["max_lump", "gap_method", "blast_threads"]
    assert all(str(one).count(one.where) == 1 for one in caught.value.findings)


def test_values_that_contradict_are_one_finding_that_names_both():
    with pytest.raises(ParameterError) as caught:
        Parameters(min_split=0.5)
    assert str(caught.value) == "min_split exceeds max_lump; expected min_split <= max_lump; found 0.5 > 0.02"


def test_a_changed_copy_is_checked_like_a_new_value():
    assert Parameters().replace(max_lump="3 %").max_lump == 0.03
    with pytest.raises(ParameterError, match="max_lump"):
        Parameters().replace(max_lump=3)


def test_a_choice_of_one_word_is_told_as_it_is_written():
    class One(ParameterSet):
        kind: Literal["a", "b"] = "a"
        """Kind."""

    with pytest.raises(ParameterError, match=r"kind: is not usable; expected a \| b; found 'c'"):
        One(kind="c")
