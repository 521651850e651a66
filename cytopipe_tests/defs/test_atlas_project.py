"""Atlases in the project file: what the registry completes, what is refused, and where results lie."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest

from cytopipe.atlas import ActivitySettings, Settings, load_registry
from cytopipe.atlas.registry import Level
from cytopipe.defs.atlas_sources import LEVELS, SIGNATURES
from cytopipe.errors import ParameterError, ProjectError
from cytopipe.project import check_project, load_project, project_schema, start_project


def write(folder: Path, text: str) -> Path:
    (folder / "a.h5ad").write_bytes(b"cells")
    file = folder / "cytopipe.yaml"
    file.write_text("output: results\natlas:\n" + text)
    return file


def findings_of(file: Path) -> list[str]:
    with pytest.raises(ProjectError) as caught:
        check_project(file)
    return [str(one).replace(f"{file}:", "") for one in caught.value.findings]


def test_an_atlas_of_the_packaged_registry_needs_only_its_path(tmp_path):
    """Levels, columns, sample column and description come by its name; every level is a data set."""
    project = check_project(write(tmp_path, "  cima:\n    path: a.h5ad\n    n_bootstrap: 7\n"))
    data_sets = project.data_sets["atlas"]
    assert list(data_sets) == ["cima.L1", "cima.L2", "cima.L3", "cima.L4"]
    third = data_sets["cima.L3"].entry
    assert third.level == Level("L3", ("cell_type_l3",))
    assert (third.atlas, third.sample, third.settings) == ("cima", "sample", Settings(n_bootstrap=7))
    assert third.compared_level == "L1"


def test_each_signature_at_each_level_is_a_part_of_the_level(tmp_path):
    """Names with dots and dashes stay as they are; an entry without signatures has no parts."""
    project = check_project(
        write(
            tmp_path,
            "  cima:\n    path: a.h5ad\n    signatures: [cytosig, v1.2-b]\n"
            "  mine:\n    path: a.h5ad\n    levels: {A: x}\n    sample: s\n",
        )
    )
    parts = project.data_sets["atlas_signatures"]
    assert list(parts)[:3] == ["cima.L1.cytosig", "cima.L1.v1.2-b", "cima.L2.cytosig"]
    whole = SIGNATURES.within[LEVELS]
    assert {whole(data) for data in parts.values()} == set(project.data_sets["atlas"]) - {"mine.A"}
    part = project.data_set("atlas_signatures", "cima.L3.v1.2-b")
    assert (part.entry.level.name, part.entry.signature, whole(part)) == ("L3", "v1.2-b", "cima.L3")
    with pytest.raises(ProjectError, match=r"Did you mean 'cima\.L3\.cytosig'"):
        project.data_set("atlas_signatures", "cima.L3.cytosg")


@pytest.mark.parametrize(
    ("entries", "key"),
    [
        ([("a", "b: x, b.c: y", "c.d: t, d: t")], "a.b.c.d"),
        ([("a", "b: x", "c.d: t"), ("a.b", "c: x", "d: t")], "a.b.c.d"),
        ([("a", "b: x, b.c: y", "c: t")], "a.b.c"),
    ],
)
def test_two_partitions_of_one_key_are_refused(tmp_path, entries, key):
    """Dots may stand in every name, so two ways to one key are told, and the first of them keeps it."""
    (tmp_path / "t").write_text("")
    lines = [
        f"  {name}:\n    path: a.h5ad\n    sample: s\n    levels: {{{levels}}}\n    signatures: {{{named}}}\n"
        for name, levels, named in entries
    ]
    file = write(tmp_path, "".join(lines))
    (told,) = findings_of(file)
    assert f"atlas has two data sets '{key}'" in told and "Rename one of them." in told
    project = load_project(file)
    keys = [one for data_sets in project.data_sets.values() for one in data_sets]
    assert keys.count(key) == 1


def test_signatures_and_levels_that_would_share_a_file_are_refused(tmp_path):
    (tmp_path / "t").write_text("")
    entry = "  a:\n    path: a.h5ad\n    sample: s\n    levels: {c: x, b_c: y}\n"
    (told,) = findings_of(write(tmp_path, entry + "    signatures: {a_b: t, a: t}\n"))
    assert told.startswith("7:")
    assert "'a_b' at level 'c' and 'a' at level 'b_c' would write the same files" in told


def test_an_atlas_of_ones_own_declares_its_levels_and_may_override_the_registrys(tmp_path):
    project = check_project(
        write(
            tmp_path,
            "  mine:\n    path: a.h5ad\n    levels: {organ_celltype: tissue+cellType1, organ: [tissue]}\n"
            "    sample: donor\n    counts: layers/counts\n    signatures: {cytosig: null}\n"
            "  scatlas_normal:\n    path: a.h5ad\n    sample: donor\n    levels: {organ: tissue}\n",
        )
    )
    own = project.data_set("atlas", "mine.organ_celltype").entry
    assert own.level.columns == ("tissue", "cellType1")
    assert own.signatures == {"cytosig": None}
    assert project.data_set("atlas", "scatlas_normal.organ").entry.sample == "donor"


def test_results_lie_where_the_plain_commands_put_them(tmp_path):
    """One results root for all atlases, names as they are written."""
    from cytopipe.atlas.catalogue import Catalogue
    from cytopipe.defs.atlas import ATLAS
    from cytopipe.defs.places import Places

    (tmp_path / "t").write_text("")
    entry = "  Mine:\n    path: a.h5ad\n    levels: {L1: t}\n    sample: s\n    signatures: {v1.2-b: t}\n"
    project = check_project(write(tmp_path, entry))
    places, catalogue = Places(project, ATLAS), Catalogue(project.output / "atlas")
    for asset, key, path in (
        ("atlas/pseudobulk", "Mine.L1", catalogue.pseudobulk("Mine", "L1")),
        ("atlas/resampled", "Mine.L1", catalogue.pseudobulk("Mine", "L1", "resampled")),
        ("atlas/activity", "Mine.L1.v1.2-b", catalogue.activity("Mine", "L1", "v1.2-b")),
    ):
        assert project.output / places.place(asset, key).path == path
    place = places.place("atlas/validation", "Mine.L1.v1.2-b")
    expected = catalogue.validation("Mine", "L1", "v1.2-b", "quality.json")
    assert project.output / place.path / f"{place.set_name}_quality.json" == expected


def test_every_fault_of_every_atlas_is_told_at_once_with_its_line(tmp_path):
    file = write(
        tmp_path,
        "  mine:\n"
        "    path: b.h5ad\n"
        "    levels: {A: tissue}\n"
        "    n_bootstrap: -1\n"
        "    activity: {methd: ulm, n_permutations: 1.5}\n"
        "    signatures: {x: gone.tsv}\n"
        "    compare_at: L9\n"
        "    colour: 3\n"
        "  other:\n"
        "    path: a.h5ad\n"
        '    levels: {A: x, a: y, "b c": z, d: ""}\n'
        "  nowhere:\n"
        "    path: a.h5ad\n"
        "  samples:\n"
        "    path: a.h5ad\n"
        "    levels: {A: x}\n"
        "    counts: raw\n"
        "  validation:\n"
        "    path: a.h5ad\n"
        "    levels: {A: x}\n",
    )
    told = findings_of(file)
    by_line = {int(one.split(":")[0]): one for one in told}
    assert sorted(by_line) == [3, 4, 6, 7, 8, 9, 10, 13, 14, 16, 19, 20]
    assert "sample: is needed" in by_line[3]
    assert "no such file" in by_line[4] and "Did you mean a.h5ad?" in by_line[4]
    assert "greater than or equal to 0" in by_line[6]
    assert any("Did you mean 'method'?" in one for one in told)
    assert "gone.tsv" in by_line[8]
    assert "is no level; expected A; found L9" in by_line[9]
    assert "unknown key 'colour' in atlas.mine;" in by_line[10]
    for part in ("'b c'", "'d='", "'A' and 'a' would write the same files"):
        assert part in by_line[13]
    assert "'atlas.nowhere.levels' is missing" in by_line[14]
    assert "sample: is needed" in by_line[16]
    assert "expected X, raw/X, layers/NAME or auto" in by_line[19]
    assert "rename the atlas" in by_line[20]


def test_a_broken_atlas_takes_no_other_out(tmp_path):
    file = write(
        tmp_path,
        "  gone:\n    path: gone.h5ad\n    levels: {A: x}\n    sample: s\n  cima:\n    path: a.h5ad\n",
    )
    project = load_project(file)
    assert set(project.data_sets["atlas"]) == {"cima.L1", "cima.L2", "cima.L3", "cima.L4"}
    with pytest.raises(ProjectError, match=r"gone\.h5ad"):
        project.data_set("atlas", "gone.A")


@pytest.mark.parametrize("name", ["a/b", "a b", "-a", "Ä"])
def test_a_name_that_cannot_stand_in_file_names_is_refused(tmp_path, name):
    told = findings_of(
        write(tmp_path, f'  "{name}":\n    path: a.h5ad\n    levels: {{A: x}}\n    sample: s\n')
    )
    assert told and all(one.startswith("3:") for one in told)


def test_the_entry_offers_every_setting_with_the_domains_default(tmp_path):
    """File, command line and library cannot drift apart."""
    project = check_project(write(tmp_path, "  mine:\n    path: a.h5ad\n    levels: {A: x}\n    sample: s\n"))
    entry = project.data_set("atlas", "mine.A").entry
    assert entry.settings == Settings()
    assert entry.activity == ActivitySettings()
    schema = project_schema()
    for cls, offered in (
        (Settings, schema["$defs"]["atlas"]),
        (ActivitySettings, schema["$defs"]["ActivitySettings"]),
    ):
        for name in cls.model_fields:
            assert offered["properties"][name]["description"]


def test_the_entry_and_the_registry_share_one_declaration():
    """What is declared of an atlas in a project is what the registry knows, and what only assets use."""
    from cytopipe.atlas.registry import AtlasEntry, AtlasFields
    from cytopipe.project.atlas.entry import Atlas

    only_assets = {"batch_size", "checkpoint_every", "use_gpu", "signatures", "activity", "cell_types"}
    assert set(Atlas.model_fields) == {*AtlasEntry.model_fields, *only_assets, "compare_at"} - {"name"}
    for name, field in AtlasFields.model_fields.items():
        assert repr(Atlas.model_fields[name]) == repr(field)
    with pytest.raises(ParameterError, match=r"atlas mine: unknown parameter 'use_gpu'"):
        load_registry({"mine": {"levels": {"A": "x"}, "use_gpu": False}})


def test_the_schema_follows_the_entry():
    schema = project_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    mine = {
        "path": "a.h5ad",
        "levels": {"A": "x", "B": ["x", "y"]},
        "signatures": {"own": "t.tsv", "cytosig": None},
    }
    jsonschema.validate({"atlas": {"cima": {"path": "a.h5ad"}, "mine": mine}}, schema)
    for bad in ({"levels": {"A": "x"}}, {"path": "a", "levels": {}}, {"path": "a", "n_bootstrap": -1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"atlas": {"mine": bad}}, schema)


def test_the_commented_example_of_a_new_project_is_valid_when_it_is_taken_up(tmp_path):
    file = start_project(tmp_path)
    head, _, rest = file.read_text().partition("\natlas:\n")
    example = re.split(r"(?m)^# \S", rest)[0]  # up to the words of the next domain
    file.write_text(head + "\natlas:\n" + re.sub(r"(?m)^#", "", example))
    for name in ("CIMA.h5ad", "mine.h5ad"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"cells")
    (tmp_path / "tables").mkdir()
    for name in ("ours.tsv", "types.tsv"):
        (tmp_path / "tables" / name).write_text("")
    project = check_project(file)
    assert list(project.data_sets["atlas"])[4:] == ["mine.type", "mine.organ_type"]
