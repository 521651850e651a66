"""Stopped, killed and repeated passes: nothing lost, nothing done twice, the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cytopipe.atlas import Settings
from cytopipe.commands.atlas_profiles import aggregate
from cytopipe.errors import Interrupted
from cytopipe_tests.atlas.atlases import FORMS, LEVELS, bytes_of, small_cells, write

SETTINGS = Settings(n_bootstrap=4)
OPTIONS = {"atlas": "a", "sample": "sample", "settings": SETTINGS, "use_gpu": False}


@pytest.fixture(scope="module")
def cells():
    return small_cells()


@pytest.fixture(scope="module")
def whole(cells, tmp_path_factory) -> dict[str, bytes]:
    """What an undisturbed run writes."""
    folder = tmp_path_factory.mktemp("whole")
    aggregate(write(cells, folder / "input.h5ad"), LEVELS, folder / "out", **OPTIONS)
    return bytes_of(folder / "out")


@pytest.mark.parametrize("form", FORMS)
def test_a_pass_stopped_after_every_batch_ends_with_the_same_bytes(cells, whole, tmp_path, form):
    """Each call does two batches and is stopped, until one finishes; each begins where the last ended."""
    path = write(cells, tmp_path / "input.h5ad", form)
    resumed = []
    for _ in range(100):
        asked = iter([False, True])
        try:
            done = aggregate(
                path,
                LEVELS,
                tmp_path / "out",
                batch_size=12 if form == "csc" else 60,
                stop=lambda asked=asked: next(asked, True),
                **OPTIONS,
            )
        except Interrupted as interruption:
            resumed.append(str(interruption))
        else:
            break
    assert len(resumed) >= 3
    assert done.resumed_at > 0
    assert bytes_of(tmp_path / "out") == whole
    assert not list((tmp_path / "out/.scratch").rglob("*"))


def test_a_pass_killed_at_any_moment_ends_with_the_same_bytes(cells, whole, tmp_path):
    """SIGKILL, six times, wherever the process is; what stands between is whole or absent."""
    write(cells, tmp_path / "input.h5ad")
    script = textwrap.dedent(f"""
        import time
        from cytopipe_tests.atlas.test_pseudobulk_resume import OPTIONS, LEVELS, aggregate
        print("ready", flush=True)
        aggregate({str(tmp_path / "input.h5ad")!r}, LEVELS, {str(tmp_path / "out")!r}, batch_size=20,
                  checkpoint_every_s=0, progress=lambda done, total: time.sleep(0.01), **OPTIONS)
    """)
    ended = []
    for trial in range(6):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        process.stdout.readline()
        try:
            process.wait(0.15 + 0.08 * trial)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        ended.append(process.wait())
        assert whole.items() >= bytes_of(tmp_path / "out").items()
        if ended[-1] == 0:
            break
    assert -signal.SIGKILL in ended
    aggregate(tmp_path / "input.h5ad", LEVELS, tmp_path / "out", **OPTIONS)
    assert bytes_of(tmp_path / "out") == whole


def test_files_that_stand_are_not_made_again(cells, tmp_path):
    """The second run reads no cell; it says that nothing was made."""
    path = write(cells, tmp_path / "input.h5ad")
    first = aggregate(path, LEVELS, tmp_path / "out", **OPTIONS)
    second = aggregate(
        path, LEVELS, tmp_path / "out", progress=lambda done, total: pytest.fail("read"), **OPTIONS
    )
    assert [level.made for level in (*first.levels, *second.levels)] == [True] * 3 + [False] * 3
    assert [level.sha256 for level in second.levels] == [level.sha256 for level in first.levels]


@pytest.mark.parametrize("victim", ["a_pseudobulk_fine.h5ad", "a_pseudobulk_fine_resampled.h5ad"])
@pytest.mark.parametrize("harm", ["removed", "flipped", "sidecar removed"])
def test_a_level_with_any_file_missing_or_damaged_is_made_again_and_only_that_one(
    cells, whole, tmp_path, victim, harm
):
    """What is kept is decided by the manifests of both files, not by one of them being there."""
    path = write(cells, tmp_path / "input.h5ad")
    aggregate(path, LEVELS, tmp_path / "out", **OPTIONS)
    target = tmp_path / "out" / victim
    if harm == "removed":
        target.unlink()
    elif harm == "flipped":
        content = bytearray(target.read_bytes())
        content[len(content) // 2] ^= 1
        target.write_bytes(content)
    else:
        target.with_name(f".{victim}.manifest.json").unlink()
    again = aggregate(path, LEVELS, tmp_path / "out", **OPTIONS)
    assert [level.made for level in again.levels] == [True, False, False]
    assert bytes_of(tmp_path / "out") == whole


@pytest.mark.parametrize("change", ["seed", "min_cells", "input", "sample"])
def test_other_parameters_or_other_cells_are_not_taken_for_the_same(cells, tmp_path, change):
    """A changed seed, filter, sample column or input makes the files anew."""
    path = write(cells, tmp_path / "input.h5ad")
    aggregate(path, LEVELS, tmp_path / "out", **OPTIONS)
    options = dict(OPTIONS)
    if change == "input":
        other = cells.copy()
        other.X[0, 0] += 1
        path = write(other, path)
    elif change == "sample":
        options["sample"] = "donor"
        options["settings"] = SETTINGS.replace(min_samples=2)
    else:
        options["settings"] = SETTINGS.replace(**{change: 11})
    again = aggregate(path, LEVELS, tmp_path / "out", **options)
    assert all(level.made for level in again.levels)


def test_a_checkpoint_of_other_parameters_is_not_continued(cells, whole, tmp_path):
    """Stopped with one seed of cell weights, started with another: from the first cell, the right bytes."""
    path = write(cells, tmp_path / "input.h5ad")
    other = SETTINGS.replace(bootstrap="cells")
    with pytest.raises(Interrupted):
        aggregate(path, LEVELS, tmp_path / "out", stop=lambda: True, batch_size=50,
                  **(OPTIONS | {"settings": other}))  # fmt: skip
    done = aggregate(path, LEVELS, tmp_path / "out", **OPTIONS)
    assert done.resumed_at == 0
    assert bytes_of(tmp_path / "out") == whole


def test_a_damaged_checkpoint_counts_as_none(cells, whole, tmp_path: Path):
    """Half a checkpoint is never continued."""
    path = write(cells, tmp_path / "input.h5ad")
    with pytest.raises(Interrupted):
        aggregate(path, LEVELS, tmp_path / "out", stop=lambda: True, batch_size=50, **OPTIONS)
    (saved,) = (tmp_path / "out/.scratch").glob("*/pass")
    saved.write_bytes(saved.read_bytes()[:-100])
    assert aggregate(path, LEVELS, tmp_path / "out", **OPTIONS).resumed_at == 0
    assert bytes_of(tmp_path / "out") == whole


def test_a_pass_killed_while_its_levels_are_written_reads_no_cell_again(cells, whole, tmp_path, monkeypatch):
    """Two of three levels stand; the checkpoint is of all three, and serves the third."""
    from cytopipe.commands import atlas_profiles
    from cytopipe.storage.archive import Archive

    path, put, written = write(cells, tmp_path / "input.h5ad"), Archive.put, []

    def dying(archive, place, *rest, **how):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(place)
        return put(archive, place, *rest, **how)

    with monkeypatch.context() as patched:
        patched.setattr(atlas_profiles.Archive, "put", dying)
        with pytest.raises(KeyboardInterrupt):
            aggregate(path, LEVELS, tmp_path / "out", checkpoint_every_s=0, threads=1, **OPTIONS)
    read = []
    done = aggregate(path, LEVELS, tmp_path / "out", progress=lambda *cells: read.append(cells), **OPTIONS)
    assert [level.made for level in done.levels].count(False) == 1
    assert done.resumed_at == 400 and not read
    assert bytes_of(tmp_path / "out") == whole
