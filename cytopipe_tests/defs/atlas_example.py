"""A small project with atlases: seeded cells, a signature table of its own, a vocabulary of cell types."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from dagster import AssetKey, DagsterInstance
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from cytopipe.defs.atlas import ATLAS
from cytopipe.project import Project, load_project
from cytopipe_tests.atlas.atlases import small_cells, write
from cytopipe_tests.graph.examples.lab import Lab

N_GENES = 160
TARGETS = ("G20", "G21")  # named like their own genes, so that expression can be compared

ENTRY = """\
    path: {name}.h5ad
    levels: {{fine: fine, Organ_type: tissue+coarse}}
    sample: sample
    n_bootstrap: 4
    use_gpu: false
    signatures: {{mine: mine.tsv}}
    activity: {{n_permutations: 20}}
    cell_types: types.tsv
    compare_at: Organ_type
"""

VOCABULARY = "atlas\tpattern\tcoarse\tfine\n*\tb\tB\t\n*\tt\tT\t\n*\tnk\tNK\t\n"


def make_atlas_project(folder: Path, *names: str, entry: str = ENTRY, extra: str = "") -> Project:
    """A project with an atlas per name, each of other cells; `extra` goes below the last entry."""
    folder.mkdir(parents=True, exist_ok=True)
    write_signature(folder / "mine.tsv")
    (folder / "types.tsv").write_text(VOCABULARY)
    lines = "output: outputs\nengine: serial\natlas:\n"
    for number, name in enumerate(names):
        write_cells(folder / f"{name}.h5ad", seed=number)
        lines += f"  {name}:\n{entry.format(name=name)}"
    (folder / "cytopipe.yaml").write_text(lines + extra)
    return load_project(folder)


def write_cells(path: Path, seed: int = 0, n_cells: int = 400) -> Path:
    """Cells with counts, missing labels, and a group too small to be kept."""
    return write(small_cells(n_cells, N_GENES, seed), path)


def write_signature(path: Path, seed: int = 11) -> Path:
    """Effects of two targets on every gene."""
    weights = np.random.default_rng(seed).normal(size=(N_GENES, len(TARGETS)))
    rows = [f"G{gene}\t" + "\t".join(map(repr, row)) for gene, row in enumerate(weights.tolist())]
    path.write_text("\t".join(TARGETS) + "\n" + "\n".join(rows) + "\n")
    return path


LEVELS = ("fine", "Organ_type")
KEYS = [f"{atlas}.{level}" for atlas in "ab" for level in LEVELS]
PARTS = [f"{key}.mine" for key in KEYS]
OF_LEVELS = ("atlas/resampled", "atlas/sample_profiles", "atlas/pseudobulk", "atlas/quality")
OF_PARTS = ("atlas/activity", "atlas/activity_resampled", "atlas/validation")
PROFILES_ONLY = ENTRY.replace("    signatures: {{mine: mine.tsv}}\n", "")


@dataclass
class Passes:
    """The passes over cells that were run, and from where they went on."""

    levels: list[list[str]] = field(default_factory=list)
    resumed_at: list[int] = field(default_factory=list)


def open_lab(folder: Path) -> Lab:
    (folder / "history").mkdir(exist_ok=True)
    return Lab(folder / "project", ATLAS, load_project, DagsterInstance.local_temp(str(folder / "history")))


def states_of(lab: Lab) -> set[str]:
    return {state for counts in lab.ledger().counts().values() for state in counts}


def state(lab: Lab, asset: str, key: str) -> str:
    return lab.ledger().status(f"atlas/{asset}", key).state


def results(lab: Lab, atlas: str = "a") -> Path:
    return lab.project.output / "atlas" / atlas / "pseudobulk"


def change(lab: Lab, old: str, new: str) -> None:
    file = lab.project.file
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def dagster_says(lab: Lab, asset: str, key: str = "") -> str:
    """What the browser calls fresh and stale."""
    resolver = CachingStaleStatusResolver(
        lab.instance, lab.definitions().resolve_asset_graph(), LoadingContextForTest(lab.instance)
    )
    return resolver.get_status(AssetKey(["atlas", asset]), key or None).value
