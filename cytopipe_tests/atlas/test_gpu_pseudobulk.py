"""CPU and GPU, the same pass: equal counts, everything else to 1e-5. Skips, saying why, without a device.

Run as a script it also prints how long each takes::

    python -m cytopipe_tests.atlas.test_gpu_pseudobulk [N_CELLS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from cytopipe.atlas import Level, Settings, SyntheticAtlas, write_synthetic_atlas
from cytopipe.atlas.device import usable_gpu
from cytopipe.commands.atlas_profiles import aggregate

LEVELS = [Level(f"L{number}", (f"cell_type_l{number}",)) for number in range(1, 5)]
NO_GPU = "" if usable_gpu(0) else "no GPU: CuPy is not installed, or sees no device"


def both(folder: Path, atlas: SyntheticAtlas, settings: Settings, form: str = "csr"):
    """Aggregate on CPU and GPU; yields each pair of files, and the seconds each took."""
    path = write_synthetic_atlas(folder / "atlas.h5ad", atlas, form=form)
    seconds, devices = {}, {}
    for name, use_gpu in (("cpu", False), ("gpu", True)):
        started = time.perf_counter()
        done = aggregate(
            path,
            LEVELS,
            folder / name,
            sample="sample",
            settings=settings,
            use_gpu=use_gpu,
            skip_existing=False,
        )
        seconds[name], devices[name] = time.perf_counter() - started, done.device
    assert devices == {"cpu": "cpu", "gpu": "gpu"}
    files = sorted(path.name for path in (folder / "cpu").glob("*.h5ad"))
    return [[ad.read_h5ad(folder / name / file) for name in ("cpu", "gpu")] for file in files], seconds


def compare(cpu: ad.AnnData, gpu: ad.AnnData) -> None:
    """Counts equal; profiles, z-scores, errors and statistics to 1e-5."""
    assert cpu.obs.equals(gpu.obs)
    np.testing.assert_allclose(gpu.X, cpu.X, 1e-5, 1e-5)
    for name, layer in cpu.layers.items():
        if layer.dtype.kind == "i":
            assert np.array_equal(gpu.layers[name], layer), name
        else:
            np.testing.assert_allclose(gpu.layers[name], layer, 1e-5, 1e-5, err_msg=name)
    for name in ("gene_mean", "gene_std") if "atlas_stats" in cpu.uns else ():
        np.testing.assert_allclose(gpu.uns["atlas_stats"][name], cpu.uns["atlas_stats"][name], 1e-5, 1e-8)


@pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU)
@pytest.mark.parametrize("form", ["csr", "dense"])
@pytest.mark.parametrize("bootstrap", ["samples", "cells", "parity"])
def test_the_gpu_gives_what_the_cpu_gives(tmp_path, bootstrap, form):
    """Every file of four levels, each bootstrap, sparse and dense."""
    settings = Settings(n_bootstrap=20, bootstrap=bootstrap)
    pairs, _ = both(tmp_path, SyntheticAtlas(n_cells=6000, n_genes=500, counts_per_cell=300), settings, form)
    assert len(pairs) == 8
    for cpu, gpu in pairs:
        compare(cpu, gpu)


@pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU)
def test_a_bad_value_is_found_on_the_gpu_too(tmp_path, monkeypatch):
    """The same error, with the name of the cell."""
    import h5py

    from cytopipe.atlas import cells
    from cytopipe.errors import InputError

    path = write_synthetic_atlas(tmp_path / "atlas.h5ad", SyntheticAtlas(n_cells=500, n_genes=50))
    with h5py.File(path, "r+") as file:
        file["X/data"][1000] = 0.5
    monkeypatch.setattr(cells, "_sample_values", lambda matrix, path: np.ones(3))
    with pytest.raises(InputError, match=r"cell \d+ \(cell\d+\) holds a value that is no count"):
        aggregate(path, LEVELS, tmp_path / "out", sample="sample")


def main() -> int:
    """Compare and time on a larger atlas; exit status 1 without a device."""
    if NO_GPU:
        print(NO_GPU)
        return 1
    n_cells = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for n_bootstrap in (0, 100):
        with tempfile.TemporaryDirectory() as folder:
            atlas = SyntheticAtlas(n_cells=n_cells, n_genes=20_000)
            pairs, seconds = both(Path(folder), atlas, Settings(n_bootstrap=n_bootstrap))
            for cpu, gpu in pairs:
                compare(cpu, gpu)
        times = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
        print(f"{n_cells:,} cells, {n_bootstrap} resamples: {times}; all files agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
