"""The atlas domain as a graph of values: one pass for all levels, equal bytes, states that Dagster shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import h5py
import numpy as np

from cytopipe.atlas import inference, pseudobulk, validation_tables
from cytopipe.commands.atlas_files import compare_atlases, infer_activities, validate_atlas
from cytopipe.commands.atlas_profiles import aggregate
from cytopipe.defs.atlas import ATLAS, VERSION
from cytopipe.defs.event import MADE
from cytopipe.defs.history import History
from cytopipe.defs.progress import listen
from cytopipe.storage import files
from cytopipe_tests.atlas.atlases import bytes_of
from cytopipe_tests.defs.atlas_example import (
    ENTRY,
    KEYS,
    LEVELS,
    OF_LEVELS,
    OF_PARTS,
    PROFILES_ONLY,
    change,
    dagster_says,
    results,
    state,
    states_of,
    write_cells,
    write_signature,
)


def contents(root: Path) -> dict[str, bytes]:
    """Every file of results by its path, manifests and pictures of the browser left out."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }


def test_the_version_of_the_assets_is_that_of_the_domain():
    """It is written twice, since importing the domain would cost every process seconds."""
    versions = {pseudobulk.CODE_VERSION, inference.CODE_VERSION, validation_tables.CODE_VERSION}
    assert versions == {VERSION} == {step.version for step in ATLAS.artifacts}


def test_one_pass_serves_all_levels_of_an_atlas_and_all_that_is_made_of_them(begin_atlases, passes):
    """One run, two atlases: each file of cells is streamed once; every level has its own materialization."""
    lab = begin_atlases("a", "b", entry=ENTRY + "    sample_profiles: true\n")
    assert lab.make(*OF_LEVELS, keys=KEYS).success
    assert passes.levels == [list(LEVELS)] * 2
    for asset in OF_LEVELS:
        assert set(lab.states(asset).values()) == {"done"}, asset
    assert len(list(results(lab).glob("*.h5ad"))) == 6
    assert lab.make(*OF_LEVELS, keys=KEYS).success
    assert len(passes.levels) == 2


def test_a_run_and_the_plain_commands_give_equal_bytes(atlases, tmp_path):
    project, root = atlases.project, tmp_path / "results"
    table, types = project.directory / "mine.tsv", project.directory / "types.tsv"
    from cytopipe.atlas.harmonise import read_harmonisation
    from cytopipe.atlas.signatures import load_signature

    signature, harmonisation = load_signature("mine", table), read_harmonisation(types)
    for atlas in "ab":
        entry = project.data_set("atlas", f"{atlas}.fine").entry
        aggregate(
            project.directory / f"{atlas}.h5ad", [entry.level_named(name) for name in LEVELS],
            root / atlas / "pseudobulk", atlas=atlas, sample="sample", settings=entry.settings, use_gpu=False,
        )  # fmt: skip
        infer_activities(root, atlas, None, ("mine",), entry.activity, source=table)
        for level in LEVELS:
            validate_atlas(
                root, atlas, level, signature, harmonisation=harmonisation, settings=entry.activity
            )
    compare_atlases(root, dict.fromkeys("ab", "Organ_type"), "mine", harmonisation=harmonisation)
    plain, run = contents(root), contents(project.output / "atlas")
    of_graph = ("_groups.tsv", "overview.tsv")
    assert {name: data for name, data in run.items() if not name.endswith(of_graph)} == plain
    assert len(plain) > 40


def test_files_of_the_plain_commands_are_taken_up_and_not_made_again(begin_atlases, passes):
    lab = begin_atlases("a")
    data = lab.project.data_set("atlas", "a.fine")
    entry = data.entry
    aggregate(
        data.resolve(entry.path), [entry.level_named(name) for name in LEVELS], results(lab),
        atlas="a", sample=entry.sample, settings=entry.settings, use_gpu=False,
    )  # fmt: skip
    infer_activities(data.folder, "a", None, ("mine",), entry.activity, source=data.resolve("mine.tsv"))
    written = {path: path.stat().st_mtime_ns for path in data.folder.rglob("*.h5ad")}
    assert len(written) == 8 and len(passes.levels) == 1
    lab.ledger()
    assert "atlas/pseudobulk [a.fine] made outside Dagster, taken up as it is" in lab.changes
    for asset, key in (("pseudobulk", "a.fine"), ("resampled", "a.Organ_type"), ("activity", "a.fine.mine")):
        assert state(lab, asset, key) == "done"
    lab.make_all()
    assert states_of(lab) == {"done"}
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(passes.levels) == 1


def test_the_plain_functions_leave_what_a_run_made(atlases, passes):
    data = atlases.project.data_set("atlas", "a.fine")
    entry = data.entry
    done = aggregate(
        data.resolve(entry.path), [entry.level_named(name) for name in LEVELS], results(atlases),
        atlas="a", sample=entry.sample, settings=entry.settings, use_gpu=False,
    )  # fmt: skip
    assert done.device == "none" and passes.levels == []
    told: list[str] = []
    infer_activities(
        data.folder, "a", ["fine"], ("mine",), entry.activity, source=data.resolve("mine.tsv"),
        report=told.append,
    )  # fmt: skip
    assert [line.split(": ")[1] for line in told] == ["unchanged"] * 2


def test_outside_work_with_another_recipe_is_taken_up_as_stale(begin_atlases):
    lab = begin_atlases("a", entry=PROFILES_ONLY)
    data = lab.project.data_set("atlas", "a.fine")
    settings = data.entry.settings.replace(min_cells=5)
    aggregate(data.resolve("a.h5ad"), [data.entry.level], results(lab), atlas="a", sample="sample",
              settings=settings, use_gpu=False)  # fmt: skip
    status = lab.ledger().status("atlas/pseudobulk", "a.fine")
    assert status.state == "stale" and "atlas/recipe changed" in status.reasons[0]


def test_no_artifact_is_digested_twice_by_the_run_that_makes_it(begin_atlases, monkeypatch):
    digested: list[str] = []
    digest = files.digest_file

    def counting(path):
        digested.append(Path(path).name)
        return digest(path)

    monkeypatch.setattr(files, "digest_file", counting)
    lab = begin_atlases("a")
    lab.make_all()
    assert states_of(lab) == {"done"}
    of_artifacts = [name for name in digested if name.endswith(".h5ad")]
    assert sorted(of_artifacts) == sorted({*of_artifacts}) and len(of_artifacts) == 8


def test_each_change_makes_stale_exactly_what_it_decides_and_dagster_agrees(atlases):
    """Levels -> level x signature -> all atlases: the browser's marks are the ledger's."""

    def stale(key: str = "a.fine") -> set[str]:
        ledger = atlases.ledger()
        return {
            asset.removeprefix("atlas/")
            for assets, of in ((OF_LEVELS, key), (OF_PARTS, f"{key}.mine"), (("atlas/cross_atlas",), ""))
            for asset in assets
            if ledger.status(asset, of).state == "stale"
        }

    of_parts = {"activity", "activity_resampled", "validation", "cross_atlas"}
    assert stale() == set() and dagster_says(atlases, "activity", "a.fine.mine") == "FRESH"
    write_signature(atlases.project.directory / "mine.tsv", seed=3)
    assert stale() == of_parts and stale("b.fine") == of_parts
    assert dagster_says(atlases, "activity", "a.fine.mine") == "STALE"
    assert dagster_says(atlases, "pseudobulk", "a.fine") == "FRESH"
    write_signature(atlases.project.directory / "mine.tsv")
    assert stale() == set()
    types = atlases.project.directory / "types.tsv"
    types.write_text(types.read_text() + "*\trare\tother\t\n")
    assert stale() == {"validation", "cross_atlas"}
    assert dagster_says(atlases, "validation", "a.fine.mine") == "STALE"
    assert dagster_says(atlases, "validation", "b.Organ_type.mine") == "STALE"
    assert dagster_says(atlases, "activity", "a.fine.mine") == "FRESH"
    change(atlases, "n_permutations: 20", "n_permutations: 30")
    assert stale() == of_parts - {"activity_resampled"}
    reasons = atlases.reasons("atlas/activity", "a.fine.mine")
    assert reasons == ("atlas/inference changed: n_permutations: 20 -> 30",)
    change(atlases, "n_bootstrap: 4", "n_bootstrap: 3")
    assert stale() == {*(asset.removeprefix("atlas/") for asset in OF_LEVELS), *of_parts}
    assert atlases.reasons("atlas/resampled", "a.fine") == ("atlas/recipe changed: n_bootstrap: 4 -> 3",)


def test_a_level_made_anew_makes_its_own_signatures_stale_and_no_others(atlases, passes):
    """Cells of one atlas change: the edge from levels to level x signature, asked of Dagster itself."""
    write_cells(atlases.project.directory / "a.h5ad", seed=9)
    for level in LEVELS:
        assert state(atlases, "pseudobulk", f"a.{level}") == "stale"
        assert state(atlases, "pseudobulk", f"b.{level}") == "done"
    assert dagster_says(atlases, "pseudobulk", "a.fine") == "STALE"
    assert dagster_says(atlases, "pseudobulk", "b.fine") == "FRESH"
    assert atlases.make(*OF_LEVELS, keys=KEYS[:2]).success
    assert passes.levels == [list(LEVELS)]
    assert state(atlases, "pseudobulk", "a.fine") == "done"
    assert "atlas/pseudobulk changed" in atlases.reasons("atlas/activity", "a.fine.mine")[0]
    assert state(atlases, "activity", "b.fine.mine") == "done"
    assert dagster_says(atlases, "activity", "a.fine.mine") == "STALE"
    assert dagster_says(atlases, "activity", "b.fine.mine") == "FRESH"
    assert atlases.make(*OF_PARTS, keys=["a.Organ_type.mine"]).success
    assert state(atlases, "activity", "a.Organ_type.mine") == "done"
    assert state(atlases, "cross_atlas", "") == "stale"
    assert dagster_says(atlases, "cross_atlas") == "STALE"


def test_the_comparison_is_made_from_the_levels_that_stand_for_their_atlases(atlases):
    events = History(atlases.instance).events("atlas/cross_atlas")
    told = next(one for one in events if one.kind == MADE).metadata
    assert told["n_atlases"] == 2 and told["picture"].startswith("![")
    assert {(one["asset"], one["partition"]) for one in told["inputs"]} == {
        *(
            (f"atlas/{asset}", f"{atlas}.Organ_type.mine")
            for asset in ("activity", "validation")
            for atlas in "ab"
        ),
        *(("atlas/cell_types", atlas) for atlas in "ab"),
    }
    change(atlases, "compare_at: Organ_type", "compare_at: fine")
    assert state(atlases, "cross_atlas", "") == "stale"


def test_every_materialization_tells_what_people_ask_for(atlases):
    history = History(atlases.instance)

    def told(asset: str, key: str) -> dict:
        return next(one.metadata for one in history.events(f"atlas/{asset}", key) if one.kind == MADE)

    profiles = told("pseudobulk", "a.fine")
    assert (atlases.project.directory / profiles["path"]).is_file()
    assert (profiles["n_groups"], profiles["n_left_out"], profiles["n_genes"]) == (6, 1, 160)
    assert profiles["n_cells"] > 300 and profiles["n_counts"] > 10_000
    assert profiles["parameters"]["level"] == "fine=fine"
    assert told("quality", "a.fine")["picture"].startswith("![")
    activity = told("activity", "a.fine.mine")
    assert activity["picture"].startswith("![") and (activity["n_groups"], activity["n_targets"]) == (6, 2)
    assert activity["parameters"]["signature"] == "mine"
    assert activity["overlap"] == "160 of 160 genes of the signature (100%)"
    assert 0 <= told("validation", "a.fine.mine")["quality"] <= 1


def test_places_and_artifacts_are_one_bijection(atlases):
    from pathlib import PurePosixPath

    places = atlases.ledger().places
    for path, asset, key in (
        ("a/pseudobulk/a_pseudobulk_organ_type.h5ad", "pseudobulk", "a.Organ_type"),
        ("b/pseudobulk/b_pseudobulk_fine_resampled.h5ad", "resampled", "b.fine"),
        ("a/activity/a_mine_fine.h5ad", "activity", "a.fine.mine"),
        ("validation/b/b_mine_organ_type_quality.json", "validation", "b.Organ_type.mine"),
        ("validation/cross_atlas/mine_coarse_pairs.tsv", "cross_atlas", ""),
    ):
        assert places.artifact(PurePosixPath("atlas") / path) == (f"atlas/{asset}", key)


# ------------------------------------------------------------------------------------------- faults


def test_a_level_whose_column_is_absent_fails_alone(begin_atlases, passes):
    lab = begin_atlases("a", entry=PROFILES_ONLY.replace("fine: fine,", "fine: fine, lost: no_such_column,"))
    assert not lab.make(*OF_LEVELS, keys=["a.fine", "a.lost", "a.Organ_type"]).success
    assert passes.levels == [list(LEVELS)]
    ledger = lab.ledger()
    for key in ("a.fine", "a.Organ_type"):
        assert {ledger.status(asset, key).state for asset in OF_LEVELS} == {"done"}
    status = ledger.status("atlas/pseudobulk", "a.lost")
    assert status.state == "failed" and "no_such_column" in status.reasons[0]


def test_normalised_values_are_refused_for_their_atlas_alone(begin_atlases):
    lab = begin_atlases("a", "b", entry=PROFILES_ONLY)
    with h5py.File(lab.project.directory / "a.h5ad", "r+") as file:
        file["X/data"][...] = np.log1p(file["X/data"][...])
    assert not lab.make(*OF_LEVELS, keys=KEYS).success
    assert "does not hold counts" in lab.reasons("atlas/pseudobulk", "a.fine")[0]
    assert state(lab, "pseudobulk", "b.fine") == "done"


def test_a_signature_that_is_not_here_fails_activity_with_advice_and_nothing_before_it(
    begin_atlases, monkeypatch
):
    monkeypatch.delenv("CYTOPIPE_SIGNATURES", raising=False)
    lab = begin_atlases("a", entry=ENTRY.replace("{{mine: mine.tsv}}", "[lincytosig]"))
    lab.make_all()
    assert state(lab, "pseudobulk", "a.fine") == "done"
    assert state(lab, "activity", "a.fine.lincytosig") == "failed"
    assert state(lab, "validation", "a.fine.lincytosig") == "missing"
    assert "CellType__Cytokine" in lab.reasons("atlas/activity", "a.fine.lincytosig")[0]


def test_what_is_not_asked_for_is_recorded_as_nothing_and_is_done(begin_atlases):
    lab = begin_atlases("a", entry=ENTRY.replace("n_bootstrap: 4", "n_bootstrap: 0"))
    lab.make_all()
    assert states_of(lab) == {"done"}
    history = History(lab.instance)
    for asset, key, words in (
        ("resampled", "a.fine", "no resamples are asked for"),
        ("sample_profiles", "a.fine", "no sample profiles are asked for"),
        ("activity_resampled", "a.fine.mine", "no resamples are asked for"),
        ("cross_atlas", "", "fewer than two atlases have an activity of the same signature"),
    ):
        assert history.events(f"atlas/{asset}", key)[0].metadata["nothing"] == words
    assert len(list(results(lab).glob("*.h5ad"))) == 2


def test_a_blocking_check_that_fails_leaves_the_version_before_in_place(atlases, monkeypatch):
    """One count is lost while the sums are written; only the recount from the cells can tell."""
    from cytopipe.storage.formats import h5ad_blocks

    before = bytes_of(results(atlases))
    change(atlases, "n_bootstrap: 4", "n_bootstrap: 3")
    write = h5ad_blocks.write_blocks

    def losing(draft, value, threads):
        write(draft, value, threads)
        if draft.name == "a_pseudobulk_fine.h5ad":
            with h5py.File(draft, "r+") as file:
                smallest = int(np.argmin(file["obs/n_cells"][...]))
                file["layers/counts"][smallest, 3] += 1
                file["obs/total_counts"][smallest] += 1

    with monkeypatch.context() as patched:
        patched.setattr(h5ad_blocks, "write_blocks", losing)
        assert not atlases.make(*OF_LEVELS, keys=KEYS[:2]).success
    status = atlases.ledger().status("atlas/pseudobulk", "a.fine")
    assert status.state == "failed" and "counts_conserved" in status.reasons[0]
    assert "recounted" in status.reasons[0]
    assert state(atlases, "pseudobulk", "a.Organ_type") == "done"
    name = "a_pseudobulk_fine.h5ad"
    assert (results(atlases) / name).read_bytes() == before[name]


def test_damage_is_never_taken_up(atlases):
    path = results(atlases) / "a_pseudobulk_fine.h5ad"
    path.write_bytes(path.read_bytes()[:-50])
    status = atlases.ledger().status("atlas/pseudobulk", "a.fine")
    assert status.state == "stale" and "not whole on disk" in status.reasons[0]
    assert atlases.make(*OF_LEVELS, keys=KEYS[:2]).success
    assert state(atlases, "pseudobulk", "a.fine") == "done"


# ------------------------------------------------------------------------------------------- resume


class _StopAt:
    """Sends SIGINT to this process when the pass has come so far, as Ctrl-C would."""

    def __init__(self, share: float) -> None:
        self.share, self.sent = share, False

    def begin(self, asset: str, key: str) -> None: ...

    def partition(self, asset: str, key: str, number: int, total: int) -> None: ...

    def say(self, message: str) -> None: ...

    def progress(self, asset: str, key: str, what: str, done: int, total: int) -> None:
        if not self.sent and what == "cells" and done >= self.share * total:
            self.sent = True
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stopped_pass_is_canceled_with_a_checkpoint_and_the_next_run_goes_on_from_it(
    begin_atlases, passes, atlases
):
    """Ctrl-C in the middle of the cells; the bytes are those of a pass that nobody stopped."""
    lab = begin_atlases("a", entry=ENTRY + "    batch_size: 50\n")
    with listen(_StopAt(0.5)):
        assert not lab.make(*OF_LEVELS, keys=KEYS[:2]).success
    assert passes.resumed_at == []
    ledger = lab.ledger()
    for asset in OF_LEVELS[:3]:
        assert ledger.status(asset, "a.fine").state == "interrupted"
    assert "of 400" in ledger.status("atlas/pseudobulk", "a.fine").reasons[0]
    assert not list(results(lab).glob("*.h5ad"))
    assert lab.make(*OF_LEVELS, keys=KEYS[:2]).success
    assert 200 <= passes.resumed_at[0] < 400 and len(passes.levels) == 2
    assert state(lab, "pseudobulk", "a.fine") == "done"
    assert bytes_of(results(lab)) == bytes_of(results(atlases))
    assert not list((lab.project.output / ".scratch").rglob("pass"))
