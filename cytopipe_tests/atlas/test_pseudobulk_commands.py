"""The registry and the command line: what a user declares and types, and what comes back."""

from __future__ import annotations

import json
import subprocess
import sys

import anndata as ad
import pytest
from click.testing import CliRunner

from cytopipe.atlas import Level, load_registry
from cytopipe.commands.atlas import COMMANDS, atlas
from cytopipe.commands.atlas_profiles import aggregate_all_levels
from cytopipe.errors import DamagedError, ParameterError, ProjectError
from cytopipe_tests.atlas.atlases import bytes_of, small_cells, write

FILES = [f"a_pseudobulk_{level}{kind}.h5ad" for level in ("coarse", "fine") for kind in ("", "_resampled")]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(small_cells(150, 20), tmp_path_factory.mktemp("input") / "a.h5ad")


@pytest.fixture
def project(tmp_path, path, monkeypatch):
    """A project with one atlas, and the working directory inside it."""
    entry = (
        f"atlas:\n  a:\n    path: {path}\n    levels: {{coarse: coarse, fine: fine}}\n    sample: sample\n"
    )
    (tmp_path / "cytopipe.yaml").write_text(
        entry + "    n_bootstrap: 3\n    seed: 4\n  cima:\n    path: elsewhere.h5ad\n"
    )
    (tmp_path / "elsewhere.h5ad").write_bytes(b"not looked at")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: object):
    """Run ``cytopipe atlas ...``; errors surface as raised."""
    return CliRunner().invoke(atlas, [str(one) for one in arguments], catch_exceptions=False)


def test_the_six_atlases_are_known_with_their_levels():
    """Names, levels, joined columns, samples and sizes as published."""
    registry = load_registry()
    assert {name: [level.name for level in entry.levels] for name, entry in registry.items()} == {
        "cima": ["L1", "L2", "L3", "L4"],
        "inflammation_main": ["L1", "L2"],
        "inflammation_val": ["L1", "L2"],
        "inflammation_ext": ["L1", "L2"],
        "scatlas_normal": ["organ_celltype", "celltype", "organ"],
        "scatlas_cancer": ["organ_celltype", "celltype", "organ"],
    }
    assert registry["scatlas_cancer"].level("ORGAN_celltype") == Level(
        "organ_celltype", ("tissue", "cellType1")
    )
    assert sum(2 * len(entry.levels) for entry in registry.values()) == 32
    assert (registry["cima"].n_cells, registry["cima"].n_genes) == (6_500_000, 36_326)


def test_an_entry_overrides_the_fields_it_gives_and_keeps_the_rest():
    """A project gives a path and a parameter of a packaged atlas, and adds one of its own."""
    mine = {"levels": {"x": ["tissue", "type"]}, "sample": "donor", "min_cells": 25}
    registry = load_registry({"cima": {"path": "cima.h5ad", "n_bootstrap": 7}, "mine": mine})
    assert registry["cima"].path == "cima.h5ad"
    assert len(registry["cima"].levels) == 4
    assert registry["cima"].settings.n_bootstrap == 7
    assert registry["mine"].levels == (Level("x", ("tissue", "type")),)
    assert registry["mine"].settings.min_cells == 25


def test_all_faults_of_all_entries_come_at_once():
    """Unsafe names, levels that would overwrite each other, unknown fields, wrong types."""
    with pytest.raises(ParameterError) as error:
        load_registry(
            {
                "../x": {"levels": {"L1": "a"}},
                "b": {"levels": {"L1": "a", "l1": "b", "x/y": "c", "z": ""}, "sampel": "s"},
                "c": {"levels": {"L1": "a"}, "n_cells": "many", "bootstrap": "genes", "min_cells": 0},
                "d": {},
                "e": 3,
            }
        )
    text = str(error.value)
    assert len(error.value.findings) == 10
    for part in (
        "'../x' cannot stand",
        "same files",
        "'x/y' cannot",
        "no obs column",
        "'sampel'",
        "atlas c, n_cells: is not usable; expected a whole number from 0; found 'many'",
    ):
        assert part in text
    assert "atlas c, bootstrap: is not usable; expected samples | cells | parity" in text
    assert "atlas d: declares no levels" in text


@pytest.mark.parametrize("text", ["", "L1", "=x", "L1=", "L1=a+", "../L1=a", "L 1=a", "L1=a++b"])
def test_a_level_that_cannot_be_read_is_told(text):
    """NAME=column or NAME=column+column, and a name that is safe in a file name."""
    with pytest.raises(ParameterError, match="level"):
        Level.parse(text)


def test_an_atlas_of_the_registry_is_aggregated_where_the_results_belong(path, tmp_path):
    """The source's signature; files under {atlas}/pseudobulk/."""
    entry = {"levels": {"coarse": "coarse", "fine": "fine"}, "sample": "sample", "path": str(path)}
    done = aggregate_all_levels("a", tmp_path, 2, 40, False, True, registry=load_registry({"a": entry}))
    assert sorted(bytes_of(tmp_path / "a/pseudobulk")) == sorted(FILES)
    assert [level.n_groups for level in done.levels] == [3, 6]
    with pytest.raises(ParameterError, match="no path is declared"):
        aggregate_all_levels("cima", tmp_path)
    with pytest.raises(ParameterError, match=r"no atlas is called 'nope'.*cima"):
        aggregate_all_levels("nope", tmp_path)


def test_help_and_the_table_of_commands_need_nothing_heavy():
    """The group answers without NumPy, numba or HDF5."""
    code = "import sys; from cytopipe.commands.atlas import atlas; atlas(['--help'], standalone_mode=False);"
    code += "print([name for name in ('numpy', 'numba', 'h5py', 'pandas', 'dagster') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    for name in COMMANDS:
        assert name in done.stdout


def test_every_command_of_the_table_has_help():
    """Every line of the table leads somewhere."""
    for name in COMMANDS:
        assert "Usage" in call(name, "--help").output


def test_any_file_is_aggregated_from_the_command_line(path, tmp_path):
    """Levels by name, files where asked, the outcome as JSON; the second time nothing is made."""
    arguments = ("aggregate", path, "--level", "coarse=coarse", "--level", "fine=fine", "--sample", "sample",
                 "-o", tmp_path, "--n-bootstrap", 2, "-q", "--json")  # fmt: skip
    first, second = (json.loads(call(*arguments).stdout) for _ in range(2))
    assert sorted(bytes_of(tmp_path)) == sorted(FILES)
    assert [first["levels"]["fine"]["made"], second["levels"]["fine"]["made"]] == [True, False]
    assert first["levels"]["fine"]["sha256"] == second["levels"]["fine"]["sha256"]
    assert first["projected_bytes"] > 0


def test_progress_tells_rate_and_memory_before_the_first_cell(path, tmp_path):
    """The projection comes first, then cells, rate and time to go."""
    done = call(
        "aggregate", path, "--level", "fine=fine", "-o", tmp_path, "--n-bootstrap", 2, "--batch-size", 10
    )
    assert done.stderr.index("projected memory") < done.stderr.index("cells: 150 of 150")
    assert "fine  6 groups" in done.stdout


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_level_that_holds_less_than_was_meant_is_told_at_the_end(tmp_path):
    """No group large enough; cells without a count pass without a word of NumPy's."""
    cells = small_cells(60, 20)
    cells.X[:20] = 0
    path = write(cells, tmp_path / "a.h5ad")
    asked = ("aggregate", path, "--level", "coarse=coarse", "--sample", "sample", "-o", tmp_path / "out")
    assert "Its files hold no group" not in call(*asked, "--min-cells", 1).output
    assert "warning: level coarse: none of its" in call(*asked, "--min-cells", 1000).output


def test_without_samples_cells_are_resampled(path, tmp_path):
    """No --sample: the bootstrap over cells, said in the file."""
    call("aggregate", path, "--level", "fine=fine", "-o", tmp_path, "--n-bootstrap", 2, "-q")
    assert ad.read_h5ad(tmp_path / "a_pseudobulk_fine_resampled.h5ad").uns["bootstrap"] == "cells"


def test_a_projects_entry_decides_and_the_command_line_overrides(project):
    """n_bootstrap 3 and seed 4 from the file; --seed from the line; results in the project's output."""
    call("run", "--atlas", "a", "-q")
    folder = project / "outputs/atlas/a/pseudobulk"
    assert sorted(bytes_of(folder)) == sorted(FILES)
    made = ad.read_h5ad(folder / FILES[1]).uns
    assert (made["n_bootstrap"], made["seed"]) == (3, 4)
    call("run", "--atlas", "a", "--levels", "coarse", "--seed", 5, "-q")
    made = ad.read_h5ad(folder / FILES[1]).uns
    assert (made["n_bootstrap"], made["seed"]) == (3, 5)


def test_the_registry_is_listed_without_naming_an_atlas(project):
    """Packaged and own atlases, with levels, samples and paths."""
    for done in (call("list"), call("run", "--list-atlases")):
        assert "cima  (6.5M cells x 36,326 genes)" in done.output
        assert "elsewhere.h5ad" in done.output
        assert "a  (size unknown)" in done.output
        assert "organ_celltype=tissue+cellType1" in done.output
    with pytest.raises(ParameterError, match="--atlas cima"):
        call("run")


def test_a_broken_entry_is_told_when_it_is_asked_for_and_leaves_the_others_usable(project):
    """Two faults of one entry at once, with their lines; its neighbour runs."""
    with (project / "cytopipe.yaml").open("a") as stream:
        stream.write("  bad:\n    path: gone.h5ad\n    levels: {x: y}\n    sampel: s\n")
    with pytest.raises(ProjectError) as error:
        call("run", "--atlas", "bad")
    assert len(error.value.findings) >= 2
    assert "cytopipe.yaml:" in str(error.value)
    call("run", "--atlas", "a", "--levels", "coarse", "-q")


def test_verify_lists_every_output_with_its_shape_or_its_error(project):
    """Whole, missing and damaged files, one line each; damage is an error of exit code 3."""
    call("run", "--atlas", "a", "-q")
    root = project / "outputs/atlas"
    assert call("verify", root, "--atlas", "a").output.splitlines()[-1] == "4 whole, 0 missing or damaged"
    folder = root / "a/pseudobulk"
    (folder / FILES[0]).unlink()
    content = bytearray((folder / FILES[1]).read_bytes())
    content[100] ^= 4
    (folder / FILES[1]).write_bytes(content)
    runner = CliRunner().invoke(atlas, ["verify", str(root), "--atlas", "a"])
    lines = runner.output.splitlines()
    assert isinstance(runner.exception, DamagedError)
    assert lines[-1] == "2 whole, 2 missing or damaged"
    assert lines[0].endswith(f"{FILES[0]}  missing")
    assert "6 x 20" in lines[2]


def test_qc_gives_a_table_and_a_picture_of_every_group(path, tmp_path):
    """Kept groups and those left out; TSV and PNG through the store."""
    call(
        "aggregate",
        path,
        "--level",
        "fine=fine",
        "--sample",
        "sample",
        "-o",
        tmp_path,
        "--n-bootstrap",
        0,
        "-q",
    )
    done = call(
        "qc",
        tmp_path / "a_pseudobulk_fine.h5ad",
        "--figure",
        tmp_path / "f.png",
        "--table",
        tmp_path / "t.tsv",
    )
    assert "rare" in done.output
    table = [line.split("\t") for line in (tmp_path / "t.tsv").read_text().splitlines()]
    row = dict(zip(table[0], table[1], strict=True))
    cells = small_cells(150, 20)
    chosen = cells.X[(cells.obs["fine"] == row["cell_type"]).to_numpy()]
    assert int(row["n_cells"]) == len(chosen)
    assert int(row["total_counts"]) == chosen.sum()
    assert float(row["proportion_expressing"]) == pytest.approx((chosen > 0).mean())
    assert {line[0]: line[1] for line in table[1:]}["rare"] == "false"
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
