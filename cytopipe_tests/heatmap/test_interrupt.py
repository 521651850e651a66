"""Ctrl-C in ``cytopipe heatmap run``: one line, what is finished stays, and the next run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cytopipe.heatmap.artifact import load_heatmap_state
from cytopipe_tests.cli.conftest import cytopipe
from cytopipe_tests.heatmap.blood import write_csv

RECIPE = {
    "flowsom": {"x_dim": 8, "y_dim": 8, "n_metaclusters": 6},
    "branches": {
        "main": {"steps": [1, 2, 5], "revise": {}},
        # Long enough to be interrupted: it goes over the cells a thousand times.
        "slow": {"from": "main.2", "steps": [6, 7, 9], "subset": {"gates": {"CD3": {"above": 0}}},
                 "flowsom": {"rlen": 1000}},
    },
}  # fmt: skip


@pytest.mark.timeout(300)
def test_ctrl_c_says_one_line_keeps_what_is_finished_and_the_next_run_goes_on(tmp_path: Path) -> None:
    write_csv(tmp_path / "cells.csv", n_cells=20_000)
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))
    command = [
        "-m",
        "cytopipe.cli",
        "heatmap",
        "run",
        "cells.csv",
        "--recipe",
        "recipe.yaml",
        "-o",
        "out",
        "-q",
    ]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    first = tmp_path / "out/main/step_01_initial_clustering.h5ad"
    subset = tmp_path / "out/slow/step_06_subset_lineage.h5ad"
    deadline = time.monotonic() + 240
    while not subset.is_file():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert out == ""
    assert said.count("\n") == 1
    assert "interrupted; checkpoints that were finished are kept" in said
    assert f"cytopipe heatmap run -o {tmp_path / 'out'}" in said
    kept = first.read_bytes()
    assert not (tmp_path / "out/slow/step_07_lineage_recluster.h5ad").exists()
    left = [one.name for one in (tmp_path / "out").rglob("*") if one.is_file() and "draft" in one.name]
    assert left == []

    recipe = json.loads(json.dumps(RECIPE))
    recipe["branches"]["slow"]["flowsom"]["rlen"] = 2
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    again = cytopipe("heatmap", "run", "--recipe", "recipe.yaml", "-o", "out", at=tmp_path)
    assert again.code == 0, again.err
    told = [line.split(":")[0] for line in again.err.splitlines() if "metacluster" in line]
    assert set(told) <= {"main.5", "slow.7", "slow.9"} and "slow.7" in told
    assert first.read_bytes() == kept
    whole = load_heatmap_state(tmp_path / "out/slow/step_09_lineage_finalize.h5ad")
    assert np.count_nonzero(whole.cell_cluster >= 0) > 10_000
