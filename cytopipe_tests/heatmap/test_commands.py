"""``cytopipe heatmap`` in a folder of checkpoints, without a project."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from cytopipe.heatmap.artifact import load_heatmap_state, save_heatmap_state
from cytopipe.heatmap.choices import Revision
from cytopipe.heatmap.revision import revised
from cytopipe.heatmap.state import new_id, now
from cytopipe_tests.cli.conftest import cytopipe
from cytopipe_tests.conftest import REPOSITORY
from cytopipe_tests.heatmap.blood import BRANCHES, MARKERS, write_csv

GOLDEN = REPOSITORY.parent / "shared" / "golden" / "heatmap"
MAP = ("--x-dim", "5", "--y-dim", "5", "--n-metaclusters", "6")
RECIPE = {
    "markers": list(MARKERS),
    "flowsom": {"x_dim": 5, "y_dim": 5, "n_metaclusters": 6},
    "branches": BRANCHES,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole example was made; nobody writes in it."""
    at = tmp_path_factory.mktemp("zellen ä")
    write_csv(at / "cells ü.csv")
    (at / "recipe.yaml").write_text(json.dumps(RECIPE))
    said = cytopipe("heatmap", "run", "cells ü.csv", "--recipe", "recipe.yaml", "-o", "runs/blood", at=at)
    assert said.code == 0, said.err
    assert "11 made" in said.out
    return at


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it to write in, elsewhere."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_recipe_is_made_whole_and_then_there_is_nothing_to_do(folder: Path) -> None:
    again = cytopipe("heatmap", "run", "-o", "runs/blood", at=folder)
    assert again.code == 0
    assert "11 kept" in again.out
    plan = cytopipe("heatmap", "run", "-o", "runs/blood", "-n", at=folder)
    assert plan.out.count("done") == 11


def test_checkpoints_of_a_folder_are_those_of_the_functions(made: Path) -> None:
    from cytopipe.heatmap.making import make_all
    from cytopipe_tests.heatmap.blood import branches, prepared, workflow

    expected = {
        str(node.at): state for node, state in make_all(workflow(), branches(), prepared(), data_set="blood")
    }
    found = load_heatmap_state(made / "runs/blood/all/merged.h5ad")
    assert np.array_equal(found.cell_label, expected["all"].cell_label)
    assert found.cluster_ids == expected["all"].cluster_ids


def test_a_change_of_one_branch_makes_again_what_hangs_on_it_and_nothing_else(folder: Path) -> None:
    recipe = json.loads(json.dumps(RECIPE))
    recipe["branches"]["t_cells"]["revise"] = {"rename": {"0": "helper"}}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    again = cytopipe("heatmap", "run", "--recipe", "recipe.yaml", "-o", "runs/blood", at=folder)
    assert again.code == 0, again.err
    told = [line.split(":")[0] for line in again.err.splitlines() if "metacluster" in line]
    assert told == ["t_cells.8", "t_cells.9", "all"]
    assert "8 kept" in again.out


def test_show_writes_a_page_that_holds_every_checkpoint(made: Path) -> None:
    shown = cytopipe("heatmap", "show", "runs/blood", "--page", "Verlauf ä.html", at=made).out.splitlines()
    page = (made / "Verlauf ä.html").read_text(encoding="utf-8")
    assert shown[-1].strip() == str(made / "Verlauf ä.html") or shown[-1].strip() == "Verlauf ä.html"
    data = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert len(json.loads(data)["nodes"]) == len(shown) - 1


def test_show_draws_branches_below_where_they_begin(made: Path) -> None:
    shown = cytopipe("heatmap", "show", "runs/blood", at=made).out.splitlines()
    names = [re.split(r"(?<=\w)  ", line)[0] for line in shown]
    assert names == [
        "main.1", "main.2", "main.3", "├─ mixed.10", "│  mixed.11", "├─ t_cells.6", "│  t_cells.7",
        "│  t_cells.8", "│  t_cells.9", "main.5", "all",
    ]  # fmt: skip
    assert "merged of main.5, t_cells.9, mixed.11" in shown[-1]


def test_a_checkpoint_that_was_made_again_is_not_told_as_deleted(folder: Path) -> None:
    place = folder / "runs/blood/main/step_02_revise_metaclusters.h5ad"
    before = load_heatmap_state(place)
    (folder / "recipe.yaml").write_text(
        json.dumps({**RECIPE, "branches": {"main": {"steps": [1, 2], "revise": {"rename": {"0": "B"}}}}})
    )
    recipe = yaml.safe_load((folder / "runs/blood/recipe.yaml").read_text())
    state = revised(load_heatmap_state(place.with_name("step_01_initial_clustering.h5ad")), Revision())
    by_hand = before.replace(**state).replace(id=new_id(), created_at=now())
    save_heatmap_state(by_hand, folder / "mine.h5ad")
    saved = cytopipe("heatmap", "save", "mine.h5ad", "runs/blood", "main.2", at=folder)
    assert saved.code == 0, saved.err
    shown = cytopipe("heatmap", "show", "runs/blood", at=folder).out
    assert "deleted" not in shown
    (line,) = [line for line in shown.splitlines() if "made again since" in line]
    assert "main.2 before" in line
    rows = json.loads(cytopipe("heatmap", "list", "runs/blood", "--json", at=folder).out)
    assert [one["checkpoint"] for one in rows if one["is_replaced"]] == [before.id]
    place.unlink()  # now it is gone, and its child remembers the former one
    assert "deleted" in cytopipe("heatmap", "show", "runs/blood", at=folder).out
    assert recipe["branches"]["main"]["steps"] == [1, 2, 3, 5]


def test_list_tells_every_checkpoint_as_a_table_and_as_json(made: Path) -> None:
    told = cytopipe("heatmap", "list", "runs/blood", at=made).out.splitlines()
    assert len(told) == 12
    rows = json.loads(cytopipe("heatmap", "list", "runs/blood", "--json", at=made).out)
    assert {one["name"] for one in rows} == {
        "main.1", "main.2", "main.3", "main.5", "t_cells.6", "t_cells.7", "t_cells.8", "t_cells.9",
        "mixed.10", "mixed.11", "all",
    }  # fmt: skip
    known = {one["checkpoint"] for one in rows}
    assert all(set(one["parents"]) <= known for one in rows)


def test_load_tells_settings_choices_and_metaclusters(made: Path) -> None:
    said = cytopipe("heatmap", "load", "runs/blood/main.3", "--clusters", at=made)
    assert said.code == 0
    assert "identify_mixed" in said.out
    assert "mixed" in said.out
    assert said.out.count("cluster_") >= 15
    document = json.loads(cytopipe("heatmap", "load", "runs/blood/main.3", "--json", at=made).out)
    assert document["checkpoint"]["step_id"] == "identify_mixed"


def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(made: Path) -> None:
    said = cytopipe("heatmap", "load", "runs/blood/mian.3", at=made)
    assert said.code == 2
    assert "no checkpoint 'mian.3'" in said.err
    assert "Did you mean 'main.3'?" in said.err
    assert "Traceback" not in said.err


def test_a_branch_begins_at_any_checkpoint_be_it_a_later_step(folder: Path) -> None:
    """An asset graph takes earlier steps alone; a folder has no such graph."""
    said = cytopipe(
        "heatmap", "branch", "runs/blood", "cd4", "--from", "t_cells.9", "--steps", "6,9",
        "--gate", "CD4>2", "--where", "sample in ['a']", at=folder,
    )  # fmt: skip
    assert said.code == 0, said.err
    child = load_heatmap_state(folder / "runs/blood/cd4/step_06_subset_lineage.h5ad")
    parent = load_heatmap_state(folder / "runs/blood/t_cells/step_09_lineage_finalize.h5ad")
    assert child.parents == (parent.id,)
    assert set(np.flatnonzero(child.cell_cluster >= 0)) < set(np.flatnonzero(parent.cell_cluster >= 0))
    merged = cytopipe("heatmap", "merge", "runs/blood", "both", "main.5", "cd4.9", at=folder)
    assert merged.code == 0, merged.err


def test_a_branch_that_cannot_be_made_leaves_the_folder_as_it_was(folder: Path) -> None:
    before = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.h5ad"))
    recipe = (folder / "runs/blood/recipe.yaml").read_bytes()
    said = cytopipe(
        "heatmap", "branch", "runs/blood", "rare", "--from", "main.3", "--steps", "6,7",
        "--where", "CD14 > 2 and sample in ['a']", "--x-dim", "40", "--y-dim", "40", at=folder,
    )  # fmt: skip
    assert said.code == 2
    assert "the subset has fewer cells than the map has nodes" in said.err
    assert "x_dim: 3" in said.err
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.h5ad")) == before
    assert (folder / "runs/blood/recipe.yaml").read_bytes() == recipe


def test_a_merge_of_shared_cells_is_refused_with_the_counts(folder: Path) -> None:
    said = cytopipe("heatmap", "merge", "runs/blood", "twice", "main.5", "main.3", at=folder)
    assert said.code == 2
    assert "share 1,500 cells" in said.err
    assert "twice" not in (folder / "runs/blood/recipe.yaml").read_text()


def test_one_branch_that_fails_fails_alone(folder: Path) -> None:
    recipe = json.loads(json.dumps(RECIPE))
    recipe["branches"]["t_cells"]["subset"] = {"gates": {"CD3": {"above": 99}}}
    recipe["branches"]["mixed"]["flowsom"] = {"x_dim": 2, "y_dim": 2, "n_metaclusters": 2}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    said = cytopipe("heatmap", "run", "--recipe", "recipe.yaml", "-o", "runs/blood", at=folder)
    assert said.code == 2
    assert "t_cells.6: subset: no cell belongs to the subset" in said.err
    assert "all: all: t_cells.9 could not be made" in said.err
    assert "2 made" in said.out, said.out  # mixed.10, mixed.11
    assert "5 failed" in said.out


def test_a_checkpoint_saved_by_hand_stays_and_what_follows_is_made_from_it(folder: Path) -> None:
    path = folder / "runs/blood/main/step_02_revise_metaclusters.h5ad"
    state = load_heatmap_state(path)
    by_hand = state.replace(
        **revised(state, Revision(rename={"0": "by hand"})),
        id=new_id(),
        created_at=now(),
        parents=state.parents,
    )
    save_heatmap_state(by_hand, folder / "mine.h5ad")
    said = cytopipe("heatmap", "save", "mine.h5ad", "runs/blood", "main.2", at=folder)
    assert said.code == 0, said.err
    again = cytopipe("heatmap", "run", "-o", "runs/blood", at=folder)
    assert again.code == 0, again.err
    assert "1 by hand" in again.out
    assert load_heatmap_state(path).id == by_hand.id
    assert "by hand" in load_heatmap_state(folder / "runs/blood/main/step_05_finalize.h5ad").names.values()


def test_a_checkpoint_of_other_cells_cannot_be_saved(folder: Path) -> None:
    write_csv(folder / "others.csv", seed=4)
    cytopipe("heatmap", "run", "others.csv", *MAP, "-o", "runs/others", at=folder)
    there = "runs/others/main/step_01_initial_clustering.h5ad"
    said = cytopipe("heatmap", "save", there, "runs/blood", "main.1", at=folder)
    assert said.code == 2
    assert "is about other cells" in said.err


def test_diff_tells_the_subset_the_channels_and_the_cells_of_a_lineage(made: Path) -> None:
    said = cytopipe("heatmap", "diff", "runs/blood/main.3", "runs/blood/t_cells.6", at=made)
    assert said.code == 1
    assert "the cells of B are a part of those of A" in said.out
    assert "CD3" in said.out
    same = cytopipe("heatmap", "diff", "runs/blood/main.3", "runs/blood/main.3", at=made)
    assert same.code == 0
    assert "nothing differs" in same.out


def test_diff_is_told_as_json_and_drawn(made: Path, tmp_path: Path) -> None:
    picture = tmp_path / "diff.png"
    said = cytopipe(
        "heatmap",
        "diff",
        "runs/blood/main.3",
        "runs/blood/t_cells.7",
        "--json",
        "--picture",
        str(picture),
        at=made,
    )
    assert json.loads(said.out)["relation"] == "subset"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_render_draws_a_picture_of_each_kind(made: Path, tmp_path: Path) -> None:
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        said = cytopipe("heatmap", "render", "runs/blood/all", "-o", str(tmp_path / f"all.{kind}"), at=made)
        assert said.code == 0, said.err
        assert (tmp_path / f"all.{kind}").read_bytes().startswith(start)
    refused = cytopipe("heatmap", "render", "runs/blood/all", "-o", str(tmp_path / "all.bmp"), at=made)
    assert refused.code == 2
    assert ".png, .svg or .pdf" in refused.err


def test_validate_tells_what_is_wrong_with_each_file(folder: Path) -> None:
    whole = "runs/blood/main/step_01_initial_clustering.h5ad"
    (folder / "cut.h5ad").write_bytes((folder / whole).read_bytes()[:5000])
    said = cytopipe("heatmap", "validate", whole, "cut.h5ad", at=folder)
    assert said.code == 2
    assert f"{whole}: whole" in said.out
    assert "cut.h5ad: 1 findings" in said.out
    assert cytopipe("heatmap", "validate", whole, at=folder).code == 0


def test_a_palette_is_exported_and_imported_into_a_child(made: Path, tmp_path: Path) -> None:
    theme, coloured = str(tmp_path / "colours.json"), str(tmp_path / "coloured.h5ad")
    assert cytopipe("heatmap", "palette", "export", "runs/blood/main.3", theme, at=made).code == 0
    document = json.loads(Path(theme).read_text())
    document["metaclusters"][0]["colour"] = "#123456"
    Path(theme).write_text(json.dumps(document))
    said = cytopipe(
        "heatmap", "palette", "import", theme, "runs/blood/main.3", "-o", coloured, "--by", "number", at=made
    )
    assert said.code == 0, said.err
    before = load_heatmap_state(made / "runs/blood/main/step_03_identify_mixed.h5ad")
    after = load_heatmap_state(coloured)
    assert after.colours[document["metaclusters"][0]["metacluster"]] == "#123456"
    assert after.parents == (before.id,)


def test_a_history_of_ueler_is_imported_with_what_was_lost(tmp_path: Path) -> None:
    folder = GOLDEN / "ueler_project"
    if not folder.is_dir():
        pytest.skip("the golden project of UELer is not beside this checkout")
    said = cytopipe("heatmap", "import", str(folder), "-o", "imported", at=tmp_path)
    assert said.code == 0, said.err
    assert "3 checkpoints imported" in said.out
    assert "lost: " in said.out
    shown = cytopipe("heatmap", "show", "imported", at=tmp_path)
    assert len(shown.out.splitlines()) == 3


def test_everything_that_is_wrong_with_a_recipe_is_told_at_once_with_lines(tmp_path: Path) -> None:
    write_csv(tmp_path / "cells.csv")
    (tmp_path / "recipe.yaml").write_text(
        "flowsom:\n  x_dim: 0\nbranches:\n  main: {steps: [1, 2, 5]}\n"
        "  t: {from: mian.2, steps: [6]}\n  u: {from: main.2, steps: [4]}\n"
    )
    said = cytopipe("heatmap", "run", "cells.csv", "--recipe", "recipe.yaml", "-o", "out", at=tmp_path)
    assert said.code == 2
    assert "3 problems" in said.err
    assert "recipe.yaml:5: branches.t.from: there is no branch 'mian'" in said.err
    assert "recipe.yaml:6: branches.u.steps" in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "at least 10 x 10 = 100 cells; found 60"),
        (("--markers", "CD3,CD99"), "there is no marker 'CD99'"),
        (("-n",), "found 60"),
    ],
)
def test_cells_that_cannot_be_clustered_leave_nothing_behind(tmp_path: Path, arguments, words) -> None:
    write_csv(tmp_path / "cells.csv", n_cells=60)
    said = cytopipe("heatmap", "run", "cells.csv", "-o", "runs/out", *arguments, at=tmp_path)
    assert said.code == 2
    assert words in said.err
    assert [one.name for one in tmp_path.iterdir()] == ["cells.csv"]


def test_dropped_cells_are_counted_and_the_choice_stands_in_the_recipe(tmp_path: Path) -> None:
    lines = write_csv(tmp_path / "cells.csv").read_text().splitlines()
    lines[7] = lines[7].replace(lines[7].split(",")[0], "NA", 1)
    (tmp_path / "cells.csv").write_text("\n".join(lines) + "\n")
    said = cytopipe("heatmap", "run", "cells.csv", "-o", "out", "--missing", "drop", *MAP, at=tmp_path)
    assert said.code == 0, said.err
    assert "dropped 1 cell in which a marker has no value" in said.err
    assert "1,499 cells" in said.err
    assert yaml.safe_load((tmp_path / "out/recipe.yaml").read_text())["missing"] == "drop"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "-o", "out"), "no cells were named"),
        (("run", "absent.csv", "-o", "out"), "absent.csv"),
        (("show", "absent"), "is no folder of checkpoints"),
        (("load", "absent.h5ad"), "no such file"),
        (("branch", "absent", "x", "--from", "main.1", "--steps", "6"), "is no folder of checkpoints"),
        (("diff", "a.h5ad", "b.h5ad"), "no such file"),
        (("lode", "x"), "Did you mean 'load'?"),
    ],
)
def test_what_is_not_there_is_told_without_a_traceback(tmp_path: Path, arguments, words) -> None:
    said = cytopipe("heatmap", *arguments, at=tmp_path)
    assert said.code == 2
    assert words in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "branch",
        "merge",
        "save",
        "list",
        "show",
        "load",
        "diff",
        "render",
        "validate",
        "import",
        "pack",
        "unpack",
    ],
)
def test_every_command_has_help_with_examples(tmp_path: Path, command: str) -> None:
    said = cytopipe("heatmap", command, "--help", at=tmp_path)
    assert said.code == 0
    assert "Examples:" in said.out
    assert f"cytopipe heatmap {command}" in said.out


def test_columns_that_are_read_are_chosen_and_kept_in_the_recipe(tmp_path: Path) -> None:
    write_csv(tmp_path / "cells.csv")
    cytopipe("heatmap", "run", "cells.csv", "-o", "some", "--columns", "CD8,CD3", at=tmp_path)
    assert yaml.safe_load((tmp_path / "some" / "recipe.yaml").read_text())["columns"] == ["CD8", "CD3"]
    again = cytopipe("heatmap", "run", "cells.csv", "-o", "some", at=tmp_path)
    assert "2 markers: CD8, CD3" in again.out + again.err
    assert "1 kept" in again.out


def test_in_a_project_a_branch_is_declared_shown_and_answered_by_hand(tmp_path: Path) -> None:
    """Without Dagster until a checkpoint is saved: the ledger takes that up."""
    write_csv(tmp_path / "blood.csv")
    (tmp_path / "branches.yaml").write_text("main:\n  steps: [1, 2]\n")
    (tmp_path / "cytopipe.yaml").write_text(
        "engine: serial\nheatmap:\n  blood:\n    cells: blood.csv\n    branches: branches.yaml\n"
        f"    markers: [{', '.join(MARKERS)}]\n    flowsom: {{x_dim: 5, y_dim: 5, n_metaclusters: 6}}\n"
    )
    made = cytopipe("materialize", "heatmap", "-q", at=tmp_path)
    assert made.code == 0, made.err
    assert "held" in made.out
    assert "main.1" in cytopipe("heatmap", "show", "blood", at=tmp_path).out
    declared = cytopipe(
        "heatmap",
        "branch",
        "blood",
        "b",
        "--from",
        "main.2",
        "--steps",
        "6,9",
        "--gate",
        "CD19>2",
        at=tmp_path,
    )
    assert declared.code == 0, declared.err
    assert "cytopipe materialize heatmap -p blood.b" in declared.out
    first = load_heatmap_state(tmp_path / "outputs/heatmap/blood/main/step_01_initial_clustering.h5ad")
    by_hand = first.replace(id=new_id(), parents=(first.id,), ancestors=first.history_below())
    save_heatmap_state(by_hand.replace(step_id="revise_metaclusters"), tmp_path / "mine.h5ad")
    saved = cytopipe("heatmap", "save", "mine.h5ad", "blood", "main.2", at=tmp_path)
    assert saved.code == 0, saved.err
    assert (
        "done        heatmap/step_02_revise_metaclusters [blood.main]"
        in cytopipe("status", "heatmap", at=tmp_path).out
    )
    assert cytopipe("materialize", "heatmap", "-q", at=tmp_path).code == 0
    assert cytopipe("heatmap", "diff", "blood.main.2", "blood.b.6", at=tmp_path).code == 1


def test_a_packed_history_is_smaller_and_comes_back_byte_for_byte(made: Path, tmp_path: Path) -> None:
    files = {one.relative_to(made / "runs/blood"): one for one in (made / "runs/blood").glob("*/*.h5ad")}
    packed = tmp_path / "gepackt ü"
    said = cytopipe("heatmap", "pack", "runs/blood", str(packed), at=made)
    assert said.code == 0, said.err
    assert said.out.startswith("11 checkpoints: ")
    assert sum(one.stat().st_size for one in packed.rglob("*.gz")) < sum(
        one.stat().st_size for one in files.values()
    )
    said = cytopipe("heatmap", "unpack", str(packed), "again", at=tmp_path)
    assert said.code == 0, said.err
    for name, file in files.items():
        assert (tmp_path / "again" / name).read_bytes() == file.read_bytes(), name
    refused = cytopipe("heatmap", "unpack", str(packed), "again", at=tmp_path)
    assert refused.code == 2
    assert "is there already" in refused.err


def test_a_packed_history_whose_names_lead_out_is_refused(made: Path, tmp_path: Path) -> None:
    assert cytopipe("heatmap", "pack", "runs/blood", str(tmp_path / "packed"), at=made).code == 0
    file = tmp_path / "packed" / "names.json"
    file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), "../../outside.h5ad")))
    refused = cytopipe("heatmap", "unpack", "packed", "inner/again", at=tmp_path)
    assert refused.code == 2
    assert not list(tmp_path.rglob("outside.h5ad"))
