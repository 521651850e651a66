"""Samples, each one file with a number, of which a measure is made and checked: one check blocks, one warns.

raw -> measure
"""

from pathlib import Path

from cytopipe.defs.artifact import Check, CheckResult, Graph, Partitions, Source, artifact
from cytopipe.project import DataSet, Project
from cytopipe.project.entry import Entry
from cytopipe.project.settings import Settings
from cytopipe.provenance import sha256_file
from cytopipe_tests.graph.examples.formats import JSON


class Sample(Entry):
    """A file with one number."""

    file: str


SAMPLES = Partitions(name="samples", title="sample")

RAW = Source(
    asset="example/raw",
    by=SAMPLES,
    description="The number of a sample.",
    load=lambda sample: int(_file(sample).read_text()),
    files=lambda sample: [_file(sample)],
    digest=lambda project, sample: sha256_file(_file(sample)) if _file(sample).is_file() else None,
)


def _file(sample: DataSet) -> Path:
    return sample.base / sample.entry.file


def _not_negative(value: int) -> CheckResult:
    return CheckResult(() if value >= 0 else (f"the measure is {value}",))


def _in_range(value: int) -> CheckResult:
    return CheckResult(() if value <= 100 else (f"{value} is above 100",))


NOT_NEGATIVE = Check(
    name="not_negative", description="The measure is not negative.", evaluate=_not_negative, blocking=True
)
IN_RANGE = Check(
    name="in_range", description="The measure is at most 100.", evaluate=_in_range, blocking=False
)


@artifact("example/measure", JSON, by=SAMPLES, checks=(NOT_NEGATIVE, IN_RANGE))
def measure(sample: DataSet, raw: int) -> int:
    """The number itself."""
    return raw


GRAPH = Graph(RAW, measure)


def measures_project(directory: Path, names: tuple[str, ...] = ("a", "b", "c")) -> Project:
    """A project of a few samples; each holds 10 where its file is absent."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "cytopipe.yaml"
    file.touch()
    samples = {}
    for name in names:
        if not (directory / f"{name}.txt").exists():
            (directory / f"{name}.txt").write_text("10")
        samples[name] = DataSet(
            domain="samples",
            key=name,
            entry=Sample(file=f"{name}.txt"),
            folder=directory / "out",
            base=directory,
        )
    return Project(file=file, settings=Settings(output="out"), data_sets={"samples": samples})
