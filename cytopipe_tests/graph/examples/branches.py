"""A small branching analysis: checkpoints of three steps, with a person's choice and a merge between them.

step_1 -> step_2 (a person) -> step_3 (of one parent, or the merge of two)

The keys of a step are the checkpoints that exist, in the manner of clusterings that are revised by hand.
"""

from collections.abc import Mapping
from pathlib import Path

from cytopipe.defs.artifact import Graph, Partitions, Source, artifact
from cytopipe.project import DataSet, Project
from cytopipe.project.entry import Entry
from cytopipe.project.settings import Settings
from cytopipe.provenance import sha256_file
from cytopipe.storage.archive import Handle
from cytopipe_tests.graph.examples.formats import JSON


class Branch(Entry):
    """A checkpoint, by those that it was made from."""

    parents: tuple[str, ...] = ()


STEP_1, STEP_2, STEP_3 = (Partitions(name=f"step_{number}", title="checkpoint") for number in (1, 2, 3))

CELLS = Source(
    asset="branches/cells",
    by=STEP_1,
    description="Cells of a sample.",
    load=lambda branch: _file(branch).read_text().split(),
    files=lambda branch: [_file(branch)],
    digest=lambda project, branch: sha256_file(_file(branch)),
)


def _file(branch: DataSet) -> Path:
    return branch.base / f"{branch.key}.txt"


def _parents(branch: DataSet) -> tuple[str, ...]:
    return branch.entry.parents


@artifact("branches/step_1", JSON, by=STEP_1)
def step_1(branch: DataSet, cells: list) -> list:
    """The cells of a sample, sorted."""
    return sorted(cells)


@artifact("branches/step_2", JSON, by=STEP_2, chosen={"step_1": _parents}, made_by="a person")
def step_2(branch: DataSet, step_1: Mapping[str, Handle]) -> list:
    """A subset that a person chose; a replay takes them all."""
    return [cell for one in step_1.values() for cell in one.load()]


@artifact("branches/step_3", JSON, by=STEP_3, chosen={"step_2": _parents})
def step_3(branch: DataSet, step_2: Mapping[str, Handle]) -> list:
    """The union of its parents' cells."""
    return sorted({cell for one in step_2.values() for cell in one.load()})


GRAPH = Graph(CELLS, step_1, step_2, step_3)

CHECKPOINTS = {
    "step_1": {"a": (), "b": ()},
    "step_2": {"a-t": ("a",), "a-b": ("a",), "b-t": ("b",)},
    "step_3": {"t": ("a-t", "b-t"), "b": ("a-b",)},
}


def branches_project(directory: Path, **more: dict[str, tuple[str, ...]]) -> Project:
    """A project with these checkpoints, and with `more` of a step; cells are written where absent."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in CHECKPOINTS["step_1"]:
        if not (directory / f"{name}.txt").exists():
            (directory / f"{name}.txt").write_text(f"{name}2 {name}1")
    file = directory / "cytopipe.yaml"
    file.write_text(f"# {more}\n")
    return Project(
        file=file,
        settings=Settings(output="out"),
        data_sets={
            step: {
                key: DataSet(
                    domain=step,
                    key=key,
                    entry=Branch(parents=parents),
                    folder=directory / "out",
                    base=directory,
                )
                for key, parents in (keys | more.get(step, {})).items()
            }
            for step, keys in CHECKPOINTS.items()
        },
    )
