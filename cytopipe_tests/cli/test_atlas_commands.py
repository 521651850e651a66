"""The commands on a project of two atlases: levels, their signatures, and the comparison of the atlases."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from cytopipe_tests.cli.conftest import cytopipe
from cytopipe_tests.defs.atlas_example import ENTRY, make_atlas_project, write_signature

COMPARED = "Organ_type.mine"
OF_PART = ("activity", "activity_resampled", "validation")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project of atlases a and b, all of it made by one command; not to be changed."""
    folder = make_atlas_project(tmp_path_factory.mktemp("atlases"), "a", "b").directory
    said = cytopipe("materialize", "atlas", "--quiet", at=folder)
    assert (said.code, "30 of 30 done in 4 runs" in said.out) == (1, True), said
    assert "activity_follows_expression" in said.err  # the example's data do not follow; it blocks nothing
    return folder


@pytest.fixture
def atlases(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    shutil.copytree(made, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def plan(*arguments: str, at: Path) -> set[tuple[str, str]]:
    """What would be made, as asset and partition."""
    said = cytopipe("materialize", *arguments, "--dry-run", "--json", at=at)
    assert said.code == 0, said
    return {(one["asset"].removeprefix("atlas/"), one["partition"]) for one in json.loads(said.out)["steps"]}


def edit(folder: Path, old: str, new: str) -> None:
    """Change the project file."""
    file = folder / "cytopipe.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_a_level_is_meant_with_its_signatures_and_a_signature_with_its_level(tmp_path):
    """Nothing is made yet: each choice is what it needs, and no more."""
    folder = make_atlas_project(tmp_path, "a").directory
    level = {(asset, "a.fine") for asset in ("pseudobulk", "resampled", "sample_profiles")}
    part = {(asset, "a.fine.mine") for asset in ("activity", "activity_resampled", "validation")}
    assert plan("-p", "a.fine", at=folder) == level | part | {("quality", "a.fine")}
    assert plan("-p", "a.fine.mine", at=folder) == level | part
    assert plan("-p", "a.fine.mine", "--only", at=folder) == part
    needed = {("pseudobulk", "a.fine"), ("activity", "a.fine.mine")}
    assert plan("atlas/activity", "-p", "a.fine", at=folder) == needed
    assert len(plan("-p", "a.fine..a.Organ_type", at=folder)) == 14
    assert len(plan("-p", "a.fine.mine..a.Organ_type.mine", "--only", at=folder)) == 6
    for choice, told in (("a.fine..a.Organ_type.mine", "not in one series"), ("a.fine.min", "a.fine.mine")):
        said = cytopipe("materialize", "-p", choice, "-n", at=folder)
        assert (said.code, told in said.err) == (2, True), said


def test_check_lists_levels_and_signatures(made):
    listed = cytopipe("check", at=made).out
    assert re.search(r"^  atlas  a\.fine$", listed, re.MULTILINE)
    assert re.search(r"^  atlas  a\.fine\.mine$", listed, re.MULTILINE)


def test_what_a_failed_signature_left_is_resumed_alone(tmp_path):
    entry = ENTRY.replace("fine: fine, ", "").replace("mine: mine.tsv", "mine: mine.tsv, other: other.tsv")
    (tmp_path / "other.tsv").write_text("t1\tt2\nG1\t0.5\tmuch\n")
    folder = make_atlas_project(tmp_path, "a", entry=entry).directory
    said = cytopipe("materialize", "atlas", "--quiet", at=folder)
    assert said.code == 1, said
    assert re.search(r"atlas/activity \[a\.Organ_type\.other\]: .*other\.tsv", said.err)
    status = cytopipe("status", "-p", "a.Organ_type.other", at=folder)
    assert (status.code, status.out.splitlines()[-1]) == (1, "2 failed, 1 missing")
    assert "3 done" in cytopipe("status", "-p", "a.Organ_type.mine", at=folder).out
    write_signature(folder / "other.tsv", seed=5)
    resumed = cytopipe("resume", "--dry-run", "--json", at=folder)
    run = json.loads(resumed.out)["runs"][0]
    assert set(run["assets"]) == {"atlas/activity", "atlas/activity_resampled", "atlas/validation"}
    assert run["partitions"] == ["a.Organ_type.other"]
    assert "3 of 3 done" in cytopipe("resume", "--quiet", at=folder).out


def test_a_level_that_fails_leaves_its_signatures_unmade_and_is_the_only_reason_told(tmp_path):
    entry = ENTRY.replace("fine: fine,", "lost: no_such_column,")
    folder = make_atlas_project(tmp_path, "a", entry=entry).directory
    said = cytopipe("materialize", "atlas", "--quiet", at=folder)
    assert said.code == 1, said
    assert "no_such_column" in said.err and "atlas/activity" not in said.err
    status = cytopipe("status", "-p", "a.lost.mine", at=folder).out
    assert "atlas/pseudobulk [a.lost] is failed" in status and "failed  " not in status
    assert "7 done" in cytopipe("status", "-p", "a.Organ_type", at=folder).out


# ------------------------------------------------------------------------------------------- all atlases


def test_status_history_and_lineage_know_the_comparison(atlases):
    status = cytopipe("status", "atlas/cross_atlas", at=atlases)
    assert (status.code, status.out.splitlines()) == (0, ["done        atlas/cross_atlas", "1 done"])
    assert cytopipe("status", at=atlases).out.endswith("30 done\n")
    history = cytopipe("history", "atlas/cross_atlas", at=atlases).out
    assert re.search(r"made +atlas/cross_atlas  \w{12} +\w{8}", history)
    tree = cytopipe("lineage", "atlas/cross_atlas", at=atlases).out.splitlines()
    assert tree[0].startswith("atlas/cross_atlas  ")
    for place in (
        f"atlas/activity [a.{COMPARED}]",
        f"atlas/validation [b.{COMPARED}]",
        "atlas/cells [b]",
    ):
        assert any(place in line for line in tree), place
    assert not any("since" in line or "fine" in line for line in tree)
    file = "outputs/atlas/validation/cross_atlas/mine_coarse_pairs.tsv"
    assert cytopipe("lineage", file, at=atlases).out.splitlines() == tree
    cytopipe("lineage", "atlas/cross_atlas", "--html", "report.html", at=atlases)
    assert "<h1>Provenance of atlas/cross_atlas</h1>" in (atlases / "report.html").read_text()


def test_the_comparison_is_made_by_name_with_what_it_is_made_from(atlases):
    """Another table of a signature: the levels that stand for their atlases come before it, and no others."""
    write_signature(atlases / "mine.tsv", seed=3)
    parts = {(asset, f"{atlas}.{COMPARED}") for asset in OF_PART for atlas in "ab"}
    assert plan("atlas/cross_atlas", at=atlases) == parts | {("cross_atlas", "")}
    assert plan("atlas/cross_atlas", "--only", at=atlases) == {("cross_atlas", "")}
    shown = cytopipe("materialize", "atlas/cross_atlas", "-n", at=atlases).out
    assert re.search(rf"again +atlas/cross_atlas  atlas/activity \[a\.{COMPARED}\] is stale; ", shown)
    assert "7 partitions of assets in 3 runs" in shown
    said = cytopipe("materialize", "atlas/cross_atlas", "--quiet", at=atlases)
    assert (said.code, "7 of 7 done in 3 runs" in said.out) == (1, True), said
    assert "validation/cross_atlas" in said.out
    left = cytopipe("status", at=atlases).out
    assert "24 done, 6 stale" in left
    again = cytopipe("materialize", "atlas/cross_atlas", at=atlases)
    assert (again.code, "up to date" in again.out) == (1, True), again  # the failed check is told again


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("table", "atlas/cell_types changed: a, b"),
        ("level", "atlas/activity changed: a.Organ_type.mine, b.Organ_type.mine"),
        ("file", "was changed by hand, which is not kept: mine_coarse_pairs.tsv removed"),
    ],
)
def test_the_comparison_says_why_it_is_stale(atlases, change, reason):
    if change == "table":
        (atlases / "types.tsv").write_text((atlases / "types.tsv").read_text() + "*\trare\tother\t\n")
    elif change == "level":
        edit(atlases, "compare_at: Organ_type", "compare_at: fine")
    else:
        for path in (atlases / "outputs/atlas/validation/cross_atlas").glob("mine_*_pairs.tsv"):
            path.unlink()
    said = cytopipe("status", "atlas/cross_atlas", at=atlases).out
    assert re.search(rf"^stale +atlas/cross_atlas  .*{re.escape(reason)}", said, re.MULTILINE), said


@pytest.mark.parametrize("names", ["a", "ab"])
def test_a_comparison_of_fewer_than_two_activities_is_recorded_as_nothing(tmp_path, names):
    """One atlas, or two of which no activity was made yet; it is stale as soon as there are two."""
    folder = make_atlas_project(tmp_path, *names).directory
    said = cytopipe("lineage", "atlas/cross_atlas", at=folder)
    assert (said.code, "atlas/cross_atlas was never made" in said.err) == (2, True)
    said = cytopipe("materialize", "atlas/cross_atlas", "--only", "--quiet", at=folder)
    assert (said.code, "1 of 1 done" in said.out) == (0, True), said
    assert not (folder / "outputs/atlas/validation").exists()
    if len(names) == 2:
        for name in names:
            said = cytopipe("materialize", "atlas/activity", "-p", f"{name}.{COMPARED}", "--quiet", at=folder)
            assert said.code == 0, said
        assert cytopipe("status", "atlas/cross_atlas", at=folder).out.startswith("stale")


def test_a_comparison_that_is_refused_has_failed_and_can_be_resumed(atlases):
    """A vocabulary in which no label has a place: the tables that stand are not those of today."""
    vocabulary = (atlases / "types.tsv").read_text()
    (atlases / "types.tsv").write_text("atlas\tpattern\tcoarse\tfine\n*\tnothing\tB\t\n")
    said = cytopipe("materialize", "atlas/cross_atlas", "--quiet", at=atlases)
    assert (said.code, "cytopipe: atlas/cross_atlas: " in said.err) == (1, True), said
    assert re.search(r"^failed +atlas/cross_atlas", cytopipe("status", at=atlases).out, re.MULTILINE)
    assert "  failed      atlas/cross_atlas  " in cytopipe("history", "atlas/cross_atlas", at=atlases).out
    (atlases / "types.tsv").write_text(vocabulary)
    assert "3 of 3 done" in cytopipe("materialize", "atlas", "--quiet", at=atlases).out
    assert cytopipe("status", at=atlases).out.endswith("30 done\n")


def test_the_comparison_has_no_partitions_to_choose(atlases):
    said = cytopipe("materialize", "atlas/cross_atlas", "-p", "a.fine", at=atlases)
    assert (said.code, "Leave out -p." in said.err) == (2, True)
    assert ("cross_atlas", "") not in plan("-p", "a.fine", "--again", at=atlases)
