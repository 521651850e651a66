"""History decides: what is done is not redone, what changed is stale, what is bad blocks its own."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
from dagster import AssetKey, AssetRecordsFilter
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from cytopipe.defs.artifact import Artifact, Graph
from cytopipe.defs.everything import GRAPH
from cytopipe.defs.history import INPUT_POINTER, History
from cytopipe.defs.ledger import Ledger
from cytopipe.defs.lineage import lineage, walk
from cytopipe.provenance import sha256_file
from cytopipe_tests.defs.example import edit_by_hand, fasta

DONE = ["done"] * 5
STEPS = [f"decompose/{one}" for one in ("initial", "deconflicted", "refined", "final", "report")]


def dagster_says(opened, partition: str) -> list[str]:
    """What the browser calls fresh and stale."""
    resolver = CachingStaleStatusResolver(
        opened.instance, opened.definitions.resolve_asset_graph(), LoadingContextForTest(opened.instance)
    )
    return [resolver.get_status(AssetKey(asset.split("/")), partition).value for asset in STEPS]


def pointers(opened, asset: str, key: str) -> dict[str, int]:
    """The storage ids with which Dagster compares later entries of each input."""
    chosen = AssetRecordsFilter(AssetKey(asset.split("/")), asset_partitions=[key])
    tags = opened.instance.fetch_materializations(chosen, limit=1).records[0].asset_materialization.tags
    return {
        name.removeprefix(INPUT_POINTER): int(value)
        for name, value in tags.items()
        if name.startswith(INPUT_POINTER)
    }


def test_two_data_sets_are_made_in_one_run_and_are_then_done(finished):
    assert finished.look() == []
    assert finished.states("meadow") == finished.states("forest") == DONE
    assert finished.make() == []
    assert dagster_says(finished, "meadow") == ["FRESH"] * 5


def test_a_moved_project_keeps_its_history_and_its_state(finished, finished_folder):
    """The fixture is a moved copy: every path in it is another one than when it was made."""
    assert finished.project.directory != finished_folder
    assert finished.states("meadow") == DONE


def test_every_materialization_tells_path_size_digest_counts_parameters_code_inputs_and_time(finished):
    record = finished.latest("decompose/final", "meadow")
    told = record.metadata
    assert (finished.project.directory / told["path"]).is_dir()
    assert told["sha256"] == record.version
    assert told["n_clusters"] == 3
    assert told["n_records"] == 9
    assert told["size_bytes"] > 1000
    assert told["code_version"] == record.code_version == GRAPH.makers["decompose/final"].code_version
    assert told["duration_s"] > 0
    refined = finished.latest("decompose/refined", "meadow")
    used = {one["asset"]: one for one in told["inputs"]}
    assert used["decompose/refined"] == {
        "asset": "decompose/refined",
        "partition": "meadow",
        "sha256": refined.version,
    }
    assert set(used) == set(record.inputs) == {"decompose/sequences", "decompose/refined"}
    assert refined.metadata["parameters"]["max_lump"] is None
    report = finished.latest("decompose/report", "meadow").metadata
    assert report["picture"].startswith("![") and len(report["picture"]) < 130
    assert report["adjusted_rand_index"] == 1.0


def test_inputs_are_those_of_the_partition_and_not_of_the_last_one(finished):
    """Dagster's own pointer names the newest partition of the asset; ours the one that was read."""
    for key in ("meadow", "forest"):
        record = finished.latest("decompose/deconflicted", key)
        initial = finished.latest("decompose/initial", key)
        file = sha256_file(finished.project.directory / f"{key}.fasta")
        assert record.inputs["decompose/sequences"] == file
        assert record.inputs["decompose/initial"] == initial.version
        assert all(one["partition"] == key for one in record.metadata["inputs"])
        assert pointers(finished, "decompose/deconflicted", key)["decompose/initial"] == initial.storage_id


def test_the_lineage_of_a_result_goes_back_to_its_file_and_knows_what_changed_since(finished):
    root = lineage(finished.ledger, "decompose/final", "meadow")
    nodes = [node for _, node, _ in walk(root)]
    made = ["final", "refined", "deconflicted", "initial"]
    declared = ["sequences", "parameters", "thresholds", "targets"]
    assert {node.asset.split("/")[1] for node in nodes} == {*made, *declared}
    assert [one.asset for one in root.inputs] == ["decompose/sequences", "decompose/refined"]
    assert [node.asset.split("/")[1] for node in nodes if node.inputs] == made
    assert {node.now for node in nodes} == {"same"}
    (finished.project.directory / "meadow.fasta").write_text(fasta("meadow", (5, 3)))
    finished.look()
    root = lineage(finished.ledger, "decompose/final", "meadow")
    assert {node.asset: node.now for _, node, _ in walk(root)}["decompose/sequences"] == "changed"


def test_a_changed_input_makes_its_own_data_set_stale_and_no_other(finished):
    (finished.project.directory / "meadow.fasta").write_text(fasta("meadow", (4, 3, 2, 2)))
    assert finished.look() == ["decompose/sequences [meadow]", "decompose/truth [meadow]"]  # one file
    judged = finished.judged()
    assert judged["decompose/initial", "meadow"].state == "stale"
    assert "decompose/sequences changed" in judged["decompose/initial", "meadow"].reasons[0]
    assert judged["decompose/final", "meadow"].reasons[1:] == ("decompose/refined is stale",)
    assert finished.states("forest") == DONE
    assert dagster_says(finished, "meadow")[0] == "STALE"
    assert dagster_says(finished, "forest") == ["FRESH"] * 5
    assert [one.outcome for one in finished.make()] == ["success"]
    assert finished.states("meadow") == DONE
    assert finished.latest("decompose/final", "meadow").metadata["n_clusters"] == 4


def test_a_changed_parameter_makes_stale_exactly_what_it_decides(finished):
    """Refinement thresholds leave the initial clusters alone; max_lump does not."""
    file = finished.project.file
    file.write_text(file.read_text().replace("  forest:\n", "    refine: [0.01]\n  forest:\n"))
    finished.again().look()
    assert finished.states("meadow") == ["done", "done", "stale", "stale", "stale"]
    assert dagster_says(finished, "meadow")[:3] == ["FRESH", "FRESH", "STALE"]
    file.write_text(file.read_text().replace("    refine: [0.01]\n", "    max_lump: 3 %\n"))
    finished.again().look()
    assert finished.states("meadow") == ["stale"] * 5
    finished.make()
    assert finished.states("meadow") == finished.states("forest") == DONE
    record = finished.latest("decompose/refined", "meadow")
    assert record.metadata["parameters"]["max_lump"] == 0.03


def test_a_new_code_version_makes_everything_stale(finished):
    members = [
        dataclasses.replace(one, version="next") if isinstance(one, Artifact) else one
        for one in GRAPH.members
    ]
    ledger = Ledger(finished.project, Graph(*members), History(finished.instance))
    ledger.refresh()
    judged = list(ledger.statuses(STEPS))
    assert {one.state for one in judged} == {"stale"}
    assert f"code version {GRAPH.makers[STEPS[0]].code_version} -> next" in judged[0].reasons


def test_a_hand_edit_is_a_new_version_and_makes_downstream_stale(finished):
    """The edited files are the truth: history takes them up, and the next stage is made from them."""
    folder = finished.project.data_set("decompose", "meadow").folder
    before = finished.latest("decompose/final", "meadow")
    edit_by_hand(folder, "refined")
    assert finished.look() == ["decompose/refined [meadow]"]
    edited = finished.latest("decompose/refined", "meadow")
    assert edited.metadata["how"].startswith("edited by hand: ")
    assert "refined.cluster_0099.fasta added" in edited.metadata["how"]
    assert edited.run_id == ""
    assert finished.states("meadow") == ["done", "done", "done", "stale", "stale"]
    assert dagster_says(finished, "meadow") == ["FRESH", "FRESH", "FRESH", "STALE", "FRESH"]
    finished.make()
    assert finished.states("meadow") == DONE
    after = finished.latest("decompose/final", "meadow")
    assert after.metadata["n_clusters"] == before.metadata["n_clusters"] + 1
    assert finished.states("forest") == DONE


def test_a_deleted_result_is_stale_although_history_has_it(finished):
    folder = finished.project.data_set("decompose", "meadow").folder
    shutil.rmtree(folder)
    assert set(finished.states("meadow")) == {"stale"}
    assert "gone" in finished.judged()["decompose/final", "meadow"].reasons[0]
    finished.make()
    assert finished.states("meadow") == DONE


def test_files_alone_prove_nothing(begin):
    """A folder that merely looks finished, without state and manifests, is not done."""
    opened = begin("meadow")
    folder = opened.project.data_set("decompose", "meadow").folder
    folder.mkdir(parents=True)
    (folder / "cluster_001.fasta").write_text(">a\nACGT\n")
    opened.look()
    assert opened.states("meadow") == ["missing"] * 5


def test_work_done_by_the_plain_command_is_taken_up_and_not_done_again(begin):
    """A directory of `cytopipe decompose` is a partition: history learns of it, and nothing is redone."""
    from cytopipe.decompose import Decomposition

    opened = begin("meadow")
    data = opened.project.data_set("decompose", "meadow")
    decomposition = Decomposition.create(data.folder, data.resolve(data.entry.input), data.entry.parameters)
    decomposition.advance("final", thresholds=[data.entry.parameters.lump])
    written = {path: path.stat().st_mtime_ns for path in data.folder.glob("*.fasta")}
    noticed = opened.look()
    assert [one for one in noticed if one.split()[0] in STEPS] == [f"{asset} [meadow]" for asset in STEPS]
    assert opened.states("meadow") == [*DONE[:4], "stale"]  # the command was not told the known species
    assert "decompose/truth changed" in opened.judged()["decompose/report", "meadow"].reasons[0]
    assert [one.outcome for one in opened.make()] == ["success"]
    assert opened.states("meadow") == DONE
    assert opened.make() == []
    assert opened.run(*STEPS, keys=("meadow",)).outcome == "success"
    assert {path: path.stat().st_mtime_ns for path in data.folder.glob("*.fasta")} == written
    assert opened.latest("decompose/final", "meadow").metadata["how"] == "up to date, not made again"


def test_outside_work_with_other_parameters_is_taken_up_as_stale(begin):
    """It is told by its own state from what it was made, not believed to be what the project file says."""
    from cytopipe.decompose import Decomposition, Parameters

    opened = begin("meadow")
    data = opened.project.data_set("decompose", "meadow")
    other = Parameters(neighbours="kmer", max_lump=0.04)
    Decomposition.create(data.folder, data.resolve(data.entry.input), other).advance("initial")
    opened.look()
    judged = opened.judged()["decompose/initial", "meadow"]
    assert judged.state == "stale" and "decompose/parameters changed" in judged.reasons[0]
    assert dagster_says(opened, "meadow")[0] == "STALE"


def test_a_bad_data_set_blocks_only_its_own_descendants(begin):
    """One run over three data sets: two are made to the end, the third fails where it must, and says why."""
    opened = begin("meadow", "broken", "forest")
    (opened.project.directory / "broken.fasta").write_text(">a\nACGT\n>a\nAC1T\n")
    (outcome,) = opened.make()
    assert outcome.outcome == "failure"
    assert len(outcome.errors) == 2 and all("broken" in one for one in outcome.errors)
    assert opened.states("meadow") == opened.states("forest") == DONE
    judged = opened.judged()
    assert judged["decompose/initial", "broken"].state == "failed"
    assert "broken.fasta:" in judged["decompose/initial", "broken"].reasons[0]
    assert judged["decompose/deconflicted", "broken"].reasons == ("decompose/initial is failed",)
    assert judged["decompose/final", "broken"].state == "missing"
    (opened.project.directory / "broken.fasta").write_text(fasta("broken"))
    assert [one.outcome for one in opened.make()] == ["success"]
    assert opened.states("broken") == DONE


def test_a_broken_entry_fails_alone_and_its_finding_is_the_reason(begin):
    opened = begin("meadow", entries="  gone:\n    input: gone.fasta\n")
    assert opened.make()[0].outcome == "success"
    assert opened.states("meadow") == DONE
    assert opened.judged()["decompose/initial", "gone"].state == "broken"
    assert "no such file" in opened.judged()["decompose/initial", "gone"].reasons[0]


@pytest.mark.parametrize("damage", ["truncate", "garble"])
def test_damage_is_no_edit_and_is_never_taken_up(finished, damage):
    folder = finished.project.data_set("decompose", "meadow").folder
    file = max(folder.glob("cluster_*.fasta"), key=lambda path: path.stat().st_size)
    content = file.read_bytes()
    file.write_bytes(content[:-100] + (b"" if damage == "truncate" else b"\x00\xff" * 50))
    finished.look()
    assert finished.latest("decompose/final", "meadow").metadata["how"] == "made"
    judged = finished.judged()["decompose/final", "meadow"]
    assert judged.state == "stale"
    assert file.name in judged.reasons[0]
