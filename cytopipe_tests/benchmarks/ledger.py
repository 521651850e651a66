"""The ledger: what it costs to ask what is fresh, as a project grows.

A chain of five assets over a grid of tiles, all of it done (`cytopipe_tests.benchmarks.ledger_projects`).
For each size, in CPU seconds of a process that has imported what it needs: the first reading of a history
(once in the life of a project), a refresh in which nothing is new (what a sensor tick, a status and the
start of a run pay), a refresh after one raw image changed, and the counts of states. Peak memory is that of
a process that does only this.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from dagster import DagsterInstance

from cytopipe.defs.history import History
from cytopipe.defs.ledger import Ledger
from cytopipe_tests.benchmarks.ledger_projects import GRAPH, RAW, finish, project_of

SIZES = (1_000, 10_000, 100_000)
COLUMNS = ("first reading", "nothing new", "one changed", "counts", "peak MB", "ledger MB", "history MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measure(Path(options.measure[0]), int(options.measure[1]))))
        return
    print(f"| tiles x 5 assets | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "home").mkdir()
            with DagsterInstance.local_temp(f"{folder}/home") as instance:
                finish(project_of(Path(folder), size), instance)
            command = [
                sys.executable,
                "-m",
                "cytopipe_tests.benchmarks.ledger",
                "--measure",
                folder,
                str(size),
            ]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout)
        print(f"| {size:,} | {' | '.join(str(found[name]) for name in COLUMNS)} |", flush=True)


def _measure(folder: Path, size: int) -> dict[str, float]:
    found = {}
    with DagsterInstance.local_temp(str(folder / "home")) as instance:
        began = _cpu_s()
        Ledger(project_of(folder, size), GRAPH, History(instance)).refresh()
        found["first reading"] = round(_cpu_s() - began, 2)
        for name, change in (("nothing new", False), ("one changed", True)):
            began = _cpu_s()
            project = project_of(folder, size)
            if change:
                key = next(iter(project.data_sets["scale_tiles"]))
                next(iter(RAW.files(project.data_sets["scale_tiles"][key]))).write_text("changed")
            ledger = Ledger(project, GRAPH, History(instance))
            ledger.refresh()
            found[name] = round(_cpu_s() - began, 3)
        began = _cpu_s()
        ledger.counts()
        found["counts"] = round(_cpu_s() - began, 3)
    found["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found["ledger MB"] = round((folder / ".cytopipe" / "ledger.sqlite").stat().st_size / 1e6)
    history = (folder / "home").rglob("*.db")
    found["history MB"] = round(sum(one.stat().st_size for one in history) / 1e6)
    return found


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
