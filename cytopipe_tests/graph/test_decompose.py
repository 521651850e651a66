"""The decompose domain through the graph: made, edited by hand, stopped, equal to the plain command."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from cytopipe.decompose import Decomposition, Parameters, rollback
from cytopipe.decompose.formats import CLUSTERS, alone_in
from cytopipe.decompose.stages import CODE_VERSION
from cytopipe.defs.decompose import DECOMPOSE
from cytopipe.defs.overview import is_overview
from cytopipe.errors import BusyError
from cytopipe.storage.archive import Archive, Place
from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta
from cytopipe_tests.decompose_run.directory import (
    clusters_in,
    contents,
    move_record,
    state_apart_from_times,
)
from cytopipe_tests.graph.barcode_lab import BarcodeProject
from cytopipe_tests.graph.examples.lab import Lab

STAGES = [f"decompose/{one}" for one in ("initial", "deconflicted", "refined", "final", "report")]


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Lab]:
    """The project in a folder, with its history."""
    (folder / "history").mkdir(exist_ok=True)
    with DagsterInstance.local_temp(str(folder / "history")) as instance:
        yield Lab(folder / "barcodes", DECOMPOSE, BarcodeProject(), instance)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A data set of which nothing is made."""
    with opened(tmp_path) as lab:
        yield lab


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, all of it made; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    with opened(folder) as lab:
        lab.make_all()
    return folder


@pytest.fixture
def made(made_folder: Path, tmp_path: Path) -> Iterator[Lab]:
    """A copy of it, to change."""
    shutil.copytree(made_folder, tmp_path / "copy", symlinks=True)
    with opened(tmp_path / "copy") as made:
        made.ledger()  # copies have other inodes; their bytes are looked at once
        yield made


def folder_of(lab: Lab) -> Path:
    return lab.directory / "out" / "decompose" / "meadow"


def states(lab: Lab) -> dict[str, str]:
    return {one.asset: one.state for one in lab.ledger().statuses(STAGES)}


def plainly(lab: Lab, directory: Path, *, parameters: Parameters | None = None) -> Decomposition:
    """The same input decomposed by the plain command's own verb."""
    fasta = lab.project.data_set("decompose", "meadow").resolve("meadow.fasta")
    found = Decomposition.create(directory, fasta, parameters or Parameters(neighbours="kmer"))
    found.advance("refined", report=False)
    found.advance("final")
    return found


def test_the_code_version_is_that_of_the_domain() -> None:
    assert {one.code_version for one in DECOMPOSE.artifacts if not is_overview(one.asset)} == {CODE_VERSION}


def test_a_data_set_is_made_through_all_its_stages(lab: Lab) -> None:
    lab.make_all()
    assert states(lab) == dict.fromkeys(STAGES, "done")
    made = lab.instance.fetch_materializations(_key("decompose/initial"), limit=1).records[0]
    metadata = made.asset_materialization.metadata
    assert (metadata["n_clusters"].value, metadata["n_records"].value) == (6, 30)
    report = lab.instance.fetch_materializations(_key("decompose/report"), limit=1).records[0]
    assert "picture" in report.asset_materialization.metadata


def test_a_materialization_and_the_plain_command_give_equal_bytes(lab: Lab, tmp_path: Path) -> None:
    lab.make_all()
    plainly(lab, tmp_path / "plain")
    mine, theirs = contents(folder_of(lab)), contents(tmp_path / "plain")
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []
    one, other = state_apart_from_times(folder_of(lab)), state_apart_from_times(tmp_path / "plain")
    for document in (one, other):
        del document["metadata"]["provenance"]  # a run and a command are not the same
    assert one == other


def test_what_a_run_made_is_finished_for_the_plain_command(made: Lab) -> None:
    before = contents(folder_of(made))
    found = Decomposition.open(folder_of(made))
    assert found.advance("final").resumed
    assert contents(folder_of(made)) == before
    assert found.verify() == []


def test_what_the_plain_command_made_is_taken_up(lab: Lab) -> None:
    plainly(lab, folder_of(lab))
    assert states(lab) == dict.fromkeys(STAGES, "done")
    assert all("made outside" in one for one in lab.changes if "first seen" not in one)


def test_what_the_plain_command_made_with_other_parameters_is_stale_in_words(lab: Lab) -> None:
    plainly(lab, folder_of(lab), parameters=Parameters(neighbours="kmer", max_lump=0.03))
    found = states(lab)
    assert found["decompose/initial"] == "stale"
    assert "decompose/parameters changed" in lab.reasons("decompose/initial", "meadow")[0]


def test_other_parameters_make_everything_stale_by_their_values(made: Lab) -> None:
    made.declare.entries["meadow"]["max_lump"] = 0.03
    assert states(made) == dict.fromkeys(STAGES, "stale")
    reason = made.reasons("decompose/deconflicted", "meadow")[0]
    assert reason == "decompose/parameters changed: max_lump: none -> 0.03"
    made.make_all()
    assert states(made) == dict.fromkeys(STAGES, "done")


def test_begun_anew_with_other_parameters_the_bytes_are_those_of_a_fresh_directory(
    made: Lab, tmp_path: Path
) -> None:
    made.declare.entries["meadow"]["max_lump"] = 0.05
    made.make_all()
    plainly(made, tmp_path / "fresh", parameters=Parameters(neighbours="kmer", max_lump=0.05))
    assert contents(folder_of(made)) == contents(tmp_path / "fresh")
    one, other = state_apart_from_times(folder_of(made)), state_apart_from_times(tmp_path / "fresh")
    assert one["status"] == "completed", (
        "the result was not made again, since it was made from the same files"
    )
    assert one["stages"] == other["stages"] and one["parameters"] == other["parameters"]


def test_with_another_limit_a_clustering_goes_on_to_that_limit(lab: Lab) -> None:
    for limit, clusters in ((2, 2), (4, 4), (None, 6)):
        lab.declare.entries["meadow"]["max_clusters"] = limit
        assert lab.make("decompose/initial", keys=["meadow"]).success
        assert len(clusters_in(folder_of(lab), "initial")) == clusters
        assert states(lab)["decompose/initial"] == "done"


def test_targets_and_truth_are_inputs_where_an_entry_names_them(lab: Lab) -> None:
    lab.declare(lab.directory)
    chosen = [one for one in make_barcodes() if one[0].startswith("sp03")][:1]
    write_fasta(lab.directory / "targets.fasta", chosen)
    lines = [f"{header.split()[0]}\t{header[:4]}" for header, _ in make_barcodes()]
    (lab.directory / "truth.tsv").write_text("\n".join(["record\tcluster", *lines]) + "\n")
    lab.make_all()
    lab.declare.entries["meadow"]["truth"] = "truth.tsv"
    assert states(lab) == {**dict.fromkeys(STAGES, "done"), "decompose/report": "stale"}
    lab.make_all()
    report = lab.instance.fetch_materializations(_key("decompose/report"), limit=1).records[0]
    assert report.asset_materialization.metadata["adjusted_rand_index"].value == 1.0
    lab.declare.entries["meadow"]["targets"] = "targets.fasta"
    assert states(lab)["decompose/initial"] == "stale"
    lab.make_all()
    assert states(lab) == dict.fromkeys(STAGES, "done")
    assert len(clusters_in(folder_of(lab), "final")) == 1


def test_other_thresholds_leave_the_stages_before_as_they_are(made: Lab) -> None:
    made.declare.entries["meadow"]["refine"] = [0.01, 0.03]
    found = states(made)
    assert [asset for asset in STAGES if found[asset] == "done"] == STAGES[:2]
    assert "refine: 0.02 -> 0.01, 0.03" in made.reasons("decompose/refined", "meadow")[0]
    made.make_all()
    history = json.loads((folder_of(made) / "state.json").read_text())["stages"]["close_cluster_refinement"]
    assert [one["threshold"] for one in history["refinement_history"]] == [0.01, 0.03]


# ---------------------------------------------------------------------- hand edits


def test_after_a_hand_edit_of_the_result_the_report_tells_the_new_membership(made: Lab) -> None:
    folder = folder_of(made)
    record = clusters_in(folder, "final")["cluster_001.fasta"][0]
    move_record(record, folder / "cluster_001.fasta", folder / "cluster_002.fasta")
    edited = clusters_in(folder, "final")
    assert states(made) == {**dict.fromkeys(STAGES, "done"), "decompose/report": "stale"}
    (told,) = [one for one in made.changes if "edited by hand" in one]
    assert f"cluster_001.fasta edited (-{record}); cluster_002.fasta edited (+{record})" in told
    taken = made.instance.fetch_materializations(_key("decompose/final"), limit=1).records[0]
    assert taken.asset_materialization.metadata["n_clusters"].value == 6
    assert json.loads((folder / "state.json").read_text())["stages"]["finalized"]["edited_by_hand"]
    made.make_all()
    assert states(made) == dict.fromkeys(STAGES, "done")
    assert clusters_in(folder, "final") == edited
    rows = (folder / "report" / "final" / "records.tsv").read_text().splitlines()
    assert any(line.startswith(f"{record}\tcluster_002\t") for line in rows)


def test_a_hand_edit_of_an_early_stage_is_respected_by_all_that_follow(made: Lab) -> None:
    folder = folder_of(made)
    one, two = folder / "initial.cluster_0001.fasta", folder / "initial.cluster_0002.fasta"
    merged = {*clusters_in(folder, "initial")[one.name], *clusters_in(folder, "initial")[two.name]}
    one.write_text(one.read_text() + two.read_text())
    two.unlink()
    found = states(made)
    assert found["decompose/initial"] == "done" and found["decompose/deconflicted"] == "stale"
    made.make_all()
    assert states(made) == dict.fromkeys(STAGES, "done")
    assert any(set(ids) == merged for ids in clusters_in(folder, "final").values())


def test_a_record_that_was_deleted_is_kept_as_deleted(made: Lab) -> None:
    folder = folder_of(made)
    record = clusters_in(folder, "initial")["initial.cluster_0001.fasta"][0]
    move_record(record, folder / "initial.cluster_0001.fasta", folder / "elsewhere.txt")
    made.make_all()
    assert states(made) == dict.fromkeys(STAGES, "done")
    assert record in (folder / "initial.deleted.fasta").read_text()
    assert record in (folder / "deleted.fasta").read_text()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("twice", "is in several files"),
        ("missing", "stage file is missing, with 5 records"),
        ("foreign", "record 'stranger' is not in the input"),
        ("altered", "is not the one in the input"),
    ],
)
def test_an_edit_that_fails_a_check_is_told_and_not_undone(made: Lab, edit: str, said: str) -> None:
    folder = folder_of(made)
    one, two = folder / "cluster_001.fasta", folder / "cluster_002.fasta"
    if edit == "twice":
        two.write_text(two.read_text() + one.read_text().partition("\n>")[0] + "\n")
    elif edit == "missing":
        one.unlink()
    elif edit == "foreign":
        one.write_text(one.read_text() + ">stranger\nACGTACGT\n")
    else:
        header, sequence, rest = one.read_text().split("\n", 2)
        one.write_text(f"{header}\n{'AC' + sequence}\n{rest}")
    before = contents(folder)
    assert states(made)["decompose/final"] == "stale"
    (reason,) = made.reasons("decompose/final", "meadow")
    assert "edited by hand, and the edit cannot be taken up" in reason and said in reason
    result = made.make("decompose/final", "decompose/report", keys=["meadow"])
    assert not result.success
    assert contents(folder) == before


def test_a_stage_that_was_edited_is_not_made_again_over_the_edit(made: Lab) -> None:
    folder = folder_of(made)
    record = clusters_in(folder, "final")["cluster_001.fasta"][0]
    move_record(record, folder / "cluster_001.fasta", folder / "cluster_002.fasta")
    made.make_all()  # takes the edit up
    edited = clusters_in(folder, "final")
    other = clusters_in(folder, "refined")["refined.cluster_0003.fasta"][0]
    move_record(other, folder / "refined.cluster_0003.fasta", folder / "refined.cluster_0004.fasta")
    result = made.make(*STAGES, keys=["meadow"])
    assert not result.success
    (told,) = [one for one in made.reasons("decompose/final", "meadow") if "made again" in one]
    assert "was edited by hand" in told and "move its files away" in told
    assert clusters_in(folder, "final") == edited
    assert states(made)["decompose/refined"] == "done"
    for path in [*folder.glob("cluster_*.fasta"), folder / "unassigned.fasta"]:
        path.rename(folder.parent / path.name)
    made.make_all()
    assert states(made) == dict.fromkeys(STAGES, "done")
    assert clusters_in(folder, "final") != edited


def test_a_report_is_made_again_over_a_change_of_it(made: Lab) -> None:
    table = folder_of(made) / "report" / "final" / "clusters.tsv"
    before = table.read_bytes()
    table.write_bytes(before + b"mine")
    assert states(made)["decompose/report"] == "stale"
    assert (
        "was changed by hand, which is not kept: clusters.tsv edited"
        in made.reasons("decompose/report", "meadow")[0]
    )
    made.make_all()
    assert states(made) == dict.fromkeys(STAGES, "done")
    assert table.read_bytes() == before


def test_what_the_plain_command_rolled_back_is_made_again(made: Lab) -> None:
    before = contents(folder_of(made))
    rollback(folder_of(made), "deconflicted")
    found = states(made)
    assert [asset for asset in STAGES if found[asset] == "done"] == STAGES[:2]
    assert "its files are gone" in made.reasons("decompose/refined", "meadow")
    made.make_all()
    assert states(made) == dict.fromkeys(STAGES, "done")
    assert contents(folder_of(made)) == before


def test_nothing_is_written_where_a_plain_command_is_at_work(made: Lab) -> None:
    """It keeps the state in mind while it works, and would write over what others put there."""
    folder = folder_of(made)
    archive, place = Archive(made.directory / "out"), Place("decompose/meadow", "final")
    record = clusters_in(folder, "final")["cluster_001.fasta"][0]
    with alone_in(folder):
        with pytest.raises(BusyError, match="another process works on this decomposition"):
            archive.put(place, CLUSTERS, archive.get(place, CLUSTERS))
        move_record(record, folder / "cluster_001.fasta", folder / "cluster_002.fasta")
        assert states(made)["decompose/final"] == "stale"
        assert "was edited by hand, and is worked on" in made.reasons("decompose/final", "meadow")[0]
    assert states(made)["decompose/final"] == "done"


# ---------------------------------------------------------------------- stopped, and only once


def _key(asset: str):
    from cytopipe.defs.history import asset_key

    return asset_key(asset)


def _many(directory: Path) -> BarcodeProject:
    directory.mkdir(parents=True)
    write_fasta(directory / "meadow.fasta", make_barcodes(60, 3))
    return BarcodeProject(checkpoint_interval=1)


def _make_initial(directory: Path, home: str) -> None:
    with DagsterInstance.local_temp(home) as instance:
        lab = Lab(directory, DECOMPOSE, BarcodeProject(checkpoint_interval=1), instance)
        lab.make("decompose/initial", keys=["meadow"])


def test_killed_in_the_middle_and_run_again_it_goes_on_and_gives_the_same(lab: Lab, tmp_path: Path) -> None:
    lab.declare = _many(lab.directory)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_make_initial, args=(lab.directory, str(tmp_path / "history")))
    process.start()
    scratch = lab.directory / "out" / ".scratch"
    deadline = time.monotonic() + 300
    while not list(scratch.glob("*/.checkpoints/checkpoint-?.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.join()
    kept = next(scratch.glob("*/.checkpoints/checkpoint-a.json"))
    begun = json.loads(kept.read_text())
    assert 0 < begun["state"]["stages"]["initial_clustering"]["total_iterations"] < 60
    assert not list(folder_of(lab).glob("*.fasta"))
    lab.make_all()
    assert states(lab) == dict.fromkeys(STAGES, "done")
    assert not kept.exists(), "what was kept on the way is removed at the end"
    plainly(lab, tmp_path / "plain")
    assert contents(folder_of(lab)) == contents(tmp_path / "plain")


def test_no_file_of_a_stage_is_digested_twice_by_the_run_that_makes_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[str] = Counter()
    real = hashlib.sha256

    class Counting:
        def __init__(self, data: bytes = b"", **options: object) -> None:
            self._digest = real(data, **options)

        def __getattr__(self, name: str) -> object:
            return getattr(self._digest, name)

        def hexdigest(self) -> str:
            counted[self._digest.hexdigest()] += 1
            return self._digest.hexdigest()

    lab.ledger()
    monkeypatch.setattr(hashlib, "sha256", Counting)
    assert lab.make("decompose/initial", keys=["meadow"]).success
    monkeypatch.undo()
    files = [path for path in folder_of(lab).glob("initial.*.fasta") if path.stat().st_size]
    assert len(files) == 6
    assert {path.name: counted[real(path.read_bytes()).hexdigest()] for path in files} == {
        path.name: 1 for path in files
    }
