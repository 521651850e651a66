"""No golden case fails, and the runner says so, also of folders that are damaged or not golden at all."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from cytopipe_tests.parity import Outcome
from cytopipe_tests.parity.__main__ import DOMAINS, cases, evaluate, main

BUILT = [domain for domain, module in DOMAINS.items() if module]


@pytest.mark.parametrize("domain", BUILT)
def test_no_golden_case_fails(golden, domain):
    verdicts = {case.name: evaluate(case) for case in cases(golden, only=domain)}
    failed = {name: v.detail for name, v in verdicts.items() if v.outcome is Outcome.FAILS}
    assert not failed
    assert sum(v.outcome is Outcome.AGREES for v in verdicts.values()) > len(verdicts) / 2


def test_a_wrong_distance_makes_its_case_fail_and_the_exit_status_1(golden, tmp_path, capsys):
    """The runner is no rubber stamp: one distance moved by 1e-6 is found."""
    folder = tmp_path / "decompose"
    folder.mkdir()
    name = "dist_russula_diverse_50.ai029.npz"
    with np.load(golden / "decompose" / name) as archive:
        arrays = dict(archive)
    arrays["D"][3, 5] += 1e-6
    np.savez(folder / name, **arrays)
    shutil.copy(golden / "decompose" / "core_old.json", folder)
    assert main([str(tmp_path), "--json", str(tmp_path / "verdicts.json")]) == 1
    assert "a distance is off by 1.00e-06" in capsys.readouterr().out
    outcomes = {row["case"]: row["outcome"] for row in json.loads((tmp_path / "verdicts.json").read_text())}
    assert outcomes[name] == "fails"
    assert [outcome for case, outcome in outcomes.items() if "collybia" in case] == ["fails"] * 4  # no matrix


def test_a_folder_without_cases_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert main([str(tmp_path / "absent")]) == 2
    assert "holds no golden case" in capsys.readouterr().err


def test_an_atlas_without_samples_is_compared_and_its_resamples_are_not_evaluated(golden, tmp_path):
    """The reference resamples nothing then; a golden file without a sample column is no reason to refuse."""
    import anndata

    from cytopipe_tests.parity import atlas

    cells = anndata.read_h5ad(golden / "atlas/input.h5ad")
    del cells.obs["sample"]
    cells.write_h5ad(tmp_path / "input.h5ad")
    manifest = json.loads((golden / "atlas/manifest.json").read_text())
    case = manifest["g1_default"] | {"levels": {"L1": "cell_type_l1"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"g1_default": case}))
    with np.load(golden / "atlas/g1_default.npz") as arrays:
        kept = {
            name: arrays[name] for name in arrays if "_resampled/" not in name and not _pickled(arrays, name)
        }
    np.savez(tmp_path / "g1_default.npz", **kept)
    verdicts = [case.evaluate() for case in atlas.cases(tmp_path)]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.AGREES, Outcome.UNEVALUATED]


def _pickled(arrays, name: str) -> bool:
    try:
        arrays[name]
    except ValueError:
        return True
    return False
