"""The gate of a screen: what waits for a person waits and says how to go on; the rest flows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from cytopipe.defs.selection import choose, held, plan_runs
from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.screen.lab import edit, lab, written

GATE = "    missing_tiles: refuse\n"
HELD = "    missing_tiles: refuse\n    stop_after: sbs_qc\n"
APPROVAL, NUCLEI = "screen/qc/approval", "screen/phenotype/nuclei"
PHENOTYPE = """\
    phenotype:
      images: phenotype/P-{plate}_W-{well}_T-{tile}__image.tiff
      channels: [DAPI, TUBULIN, GH2AX, PHALLOIDIN]
      pixel_size_um: 0.65
      positions: phenotype_metadata.tsv
      segmentation: {threshold_dapi: 2500}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """Two plates of one well, held after the sequencing."""
    given = {"wells": ("A1",), "tile_grid": (1, 1), "tile_size": 96, "cycles": 3}
    project = written(tmp_path_factory.mktemp("gate") / "project", phenotype=True, **given)
    for path in [*project.glob("*/P-1_*.tiff")]:
        shutil.copy(path, path.with_name(path.name.replace("P-1_", "P-2_")))
    file = project / "cytopipe.yaml"
    file.write_text(file.read_text().replace(GATE, HELD) + PHENOTYPE)
    return project


@pytest.fixture
def plates(template: Path, tmp_path: Path) -> Iterator[Lab]:
    """The two plates, of which nothing is made."""
    (tmp_path / "history").mkdir()
    project = shutil.copytree(template, tmp_path / "project")
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        yield lab(project, instance)


def states(one: Lab, asset: str) -> dict[str, set[str]]:
    """The states of a plate's partitions."""
    found: dict[str, set[str]] = {}
    for key, state in one.states(asset).items():
        found.setdefault(key.partition("-")[0], set()).add(state)
    return found


def test_expensive_stages_are_held_and_say_what_to_look_at_and_how_to_approve(plates: Lab) -> None:
    for asset in (APPROVAL, NUCLEI, "screen/phenotype/features", "screen/merge/cells"):
        assert states(plates, asset) == {"s.1": {"held"}, "s.2": {"held"}}, asset
        (reason,) = plates.reasons(asset, next(iter(plates.states(asset))))
        for words in ("screen/qc/plate [s.1]", "screen/qc/approval [s.1-A1] alone", "add 1, 1-A1 or all"):
            assert words in reason
    for asset in ("sbs/images", "phenotype/aligned", "qc/phenotype_planes", "qc/reads"):
        assert states(plates, f"screen/{asset}") == {"s.1": {"missing"}, "s.2": {"missing"}}, asset
    ledger = plates.ledger()
    planned = {asset for run in plan_runs(ledger, choose(ledger)) for asset in run.assets}
    assert "screen/qc/plate" in planned and not planned & {APPROVAL, NUCLEI, "screen/phenotype/features"}
    assert {one.asset for one in held(ledger)} >= {APPROVAL, NUCLEI}


def test_a_plate_approved_in_the_project_file_goes_on_and_the_other_waits(plates: Lab) -> None:
    edit(plates, (HELD, f"{HELD}    approved: [1]\n"))
    assert states(plates, APPROVAL) == {"s.1": {"missing"}, "s.2": {"held"}}
    assert states(plates, NUCLEI) == {"s.1": {"missing"}, "s.2": {"held"}}
    assert not plates.make(APPROVAL, "screen/phenotype/ic_fields", keys=["s.1-A1", "s.2-A1"]).success
    assert states(plates, APPROVAL) == {"s.1": {"done"}, "s.2": {"held"}}
    tiles = list(plates.states(NUCLEI))
    plates.make("screen/phenotype/images", keys=tiles)
    plates.make("screen/phenotype/ic_fields", keys=["s.1-A1", "s.2-A1"])
    of_tiles = ["screen/phenotype/corrected", "screen/phenotype/aligned", NUCLEI]
    assert not plates.make(*of_tiles, keys=tiles).success
    assert states(plates, NUCLEI) == {"s.1": {"done"}, "s.2": {"held"}}  # held, not failed
    edit(plates, ("approved: [1]", "approved: [2-A1]"))
    assert states(plates, NUCLEI) == {"s.1": {"held"}, "s.2": {"missing"}}
    edit(plates, ("    stop_after: sbs_qc\n    approved: [2-A1]\n", ""))
    assert states(plates, APPROVAL) == {"s.1": {"stale"}, "s.2": {"missing"}}
    assert plates.make(APPROVAL, keys=["s.1-A1", "s.2-A1"]).success
    assert states(plates, NUCLEI) == {"s.1": {"done"}, "s.2": {"missing"}}  # approved again: nothing is stale


def test_a_person_approves_by_materializing_the_approval_alone(plates: Lab) -> None:
    plates.make(APPROVAL, "screen/phenotype/ic_fields", keys=["s.2-A1"])
    assert states(plates, APPROVAL) == {"s.1": {"held"}, "s.2": {"held"}}  # among others, it is no approval
    ledger = plates.ledger()
    (asked,) = plan_runs(ledger, choose(ledger, [APPROVAL], ["s.2"]))
    assert (asked.assets, asked.keys) == ((APPROVAL,), ("s.2-A1",))
    assert plates.make(APPROVAL, keys=["s.2-A1"]).success
    assert states(plates, APPROVAL) == {"s.1": {"held"}, "s.2": {"done"}}
    assert states(plates, NUCLEI) == {"s.1": {"held"}, "s.2": {"missing"}}
    ledger = plates.ledger()
    place = plates.project.output / ledger.places.place(APPROVAL, "s.2-A1").path
    place.unlink()
    assert states(plates, NUCLEI) == {"s.1": {"held"}, "s.2": {"held"}}  # withdrawn


def test_without_a_gate_everything_flows(plates: Lab) -> None:
    edit(plates, (HELD, GATE))
    assert held(plates.ledger()) == []
    assert states(plates, NUCLEI) == {"s.1": {"missing"}, "s.2": {"missing"}}


def test_an_approval_of_a_plate_that_does_not_exist_is_told(plates: Lab) -> None:
    edit(plates, (HELD, f"{HELD}    approved: [3]\n"))
    (finding,) = plates.project.findings
    assert "no such plate or well" in str(finding) and "1-A1" in str(finding)
