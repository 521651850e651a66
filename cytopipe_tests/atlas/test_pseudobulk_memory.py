"""The memory that is stated before a pass is held, and does not grow with the cells."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from cytopipe.atlas import SyntheticAtlas, write_synthetic_atlas

PROGRAM = textwrap.dedent("""
    import json, sys
    from pathlib import Path
    from cytopipe.atlas import Level, Settings
    from cytopipe.commands.atlas_profiles import aggregate
    levels = [Level(f"L{n}", (f"cell_type_l{n}",)) for n in range(1, 5)]
    settings = Settings(n_bootstrap=20, bootstrap=sys.argv[3], sample_profiles=sys.argv[3] == "samples")
    plans = []
    aggregate(sys.argv[1], levels, sys.argv[2], sample="sample", settings=settings, announce=plans.append,
              threads=2, use_gpu=False)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps({"peak": peak, "projected": plans[0].projected_bytes, "parts": dict(plans[0].parts)}))
""")


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("bootstrap", ["samples", "cells"])
def test_the_projection_is_held_and_four_times_the_cells_take_no_more(tmp_path, bootstrap):
    """3,000 and 12,000 cells: below the projection, and equal within 40 MB but for what labels take."""
    found = []
    for n_cells in (3_000, 12_000):
        atlas = SyntheticAtlas(n_cells=n_cells, n_genes=3_000, n_samples=6, counts_per_cell=800)
        path = write_synthetic_atlas(tmp_path / f"{n_cells}.h5ad", atlas)
        command = [sys.executable, "-c", PROGRAM, str(path), str(tmp_path / f"out{n_cells}"), bootstrap]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    for one in found:
        assert one["peak"] <= one["projected"] * 1.05, one
    units = found[1]["parts"]["counts"] - found[0]["parts"]["counts"]  # more cells meet more label tuples
    assert found[1]["peak"] - found[0]["peak"] < 40e6 + units, found
