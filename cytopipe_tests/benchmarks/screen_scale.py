"""A screen of many tiles through every asset: what is spent beside the science.

    python -m cytopipe_tests.benchmarks.screen_scale [--sizes 100 1000 10000]

A screen is finished in full: both acquisitions, reads by peaks, every image stage exported as OME-Zarr, 37
artifacts for each tile. Images are 96 px wide, so that science is cheap. One well of 25 tiles is made by real
runs; the other wells are grown from it (`screen_scale_projects`): raw images and artifacts are links to real
files, entries of the history are the real ones under other names. A full run of 10,000 tiles would take
hours, so the real run at each size is that after one image of one well was changed: the commands and runs
are those that people use, in a project of that size. Its CPU seconds are parted into functions (the science,
with what it reads) and the rest: formats, checks, pictures, events, ledger, Dagster.

CPU seconds of whole processes, imports included, unless it says "s wall"; the questions of pages are those of
all processes of `cytopipe ui`. Growth is the exponent between the last two sizes of what is spent above the
smallest. On images so small no cell is found in both acquisitions: the three artifacts of the whole screen
cannot be made and count as failed. A history of real runs is larger than the grown one, which has no events
of checks: some 26 kB for each artifact. "Rest per 1,000" holds the start of the command, 3 s, over 252.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from cytopipe_tests.benchmarks.screen_scale_projects import cpu_s, make_donor

SIZES = (100, 1_000, 10_000)
HERE = "cytopipe_tests.benchmarks.screen_scale"
_TILE = "P-1_W-A1_T-3"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="tiles of each acquisition")
    parser.add_argument("--keep", type=Path, help="a folder for the projects; they are used again")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(MEASURES[options.measure[0]](Path(options.measure[1]))))
        return
    with _folder(options.keep) as folder:
        donor = folder / "donor"
        if not donor.exists():
            donor.mkdir()
            make_donor(donor)
        found = {size: _of_size(folder, donor, size) for size in options.sizes}
    _print(found)


@contextmanager
def _folder(keep: Path | None):
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _of_size(folder: Path, donor: Path, size: int) -> dict[str, float]:
    project = folder / f"tiles_{size}"
    if not project.exists():
        spent = _spent([sys.executable, "-c", _GROW, str(donor), str(project), str(size)])
        print(f"grown {size}: {spent['cpu']:.0f} CPU s", file=sys.stderr, flush=True)
    found: dict[str, float] = json.loads((project / "first.json").read_text())
    for what in ("nothing", "tick"):
        found |= _measured(what, project)
    for name, *words in (("status", "status"), ("dry run", "materialize", "--all", "--dry-run")):
        spent = _spent(_cytopipe(project, *words))
        found |= {f"{name}, nothing new": spent["cpu"], f"{name} MB": spent["mb"]}
    found |= _of_ui(project)
    found |= _sizes(project)
    _change(project)
    found |= _measured("nothing", project, "changed")
    found["dry run, one image changed"] = _spent(_cytopipe(project, "materialize", "--all", "--dry-run"))[
        "cpu"
    ]
    found |= _measured("run", project)
    print(f"{size}: {found}", file=sys.stderr, flush=True)
    return found


_GROW = (
    "import sys; from pathlib import Path; from cytopipe_tests.benchmarks.screen_scale_projects import grow; "
    "grow(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))"
)


def _cytopipe(project: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "cytopipe", "--project", str(project), *words]


def _spent(command: list[str]) -> dict[str, float | str]:
    """CPU seconds, peak memory and output of a process."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
        out.seek(0)
        text = out.read().decode()
    cpu = round(used.ru_utime + used.ru_stime, 2)
    return {"cpu": cpu, "mb": used.ru_maxrss // 1024, "out": text}


def _measured(what: str, project: Path, name: str = "") -> dict[str, float]:
    spent = _spent([sys.executable, "-m", HERE, "--measure", what, str(project)])
    found = json.loads(str(spent["out"]).splitlines()[-1])
    return {"refresh, one image changed": found["refresh, nothing new"]} if name else found


def _change(project: Path) -> None:
    """Another raw image of one tile."""
    import tifffile

    path = project / "sbs" / f"{_TILE}_C-2__image.tiff"
    pixels = tifffile.imread(path)
    pixels[1, 40, 40] += 1
    path.unlink()  # the others are links to it
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "CYX"})


def _sizes(project: Path) -> dict[str, float]:
    history = list((project / ".cytopipe").glob("*/history/**/*.db"))
    return {
        "history MB": round(sum(one.stat().st_size for one in history) / 1e6),
        "ledger MB": round((project / ".cytopipe" / "ledger.sqlite").stat().st_size / 1e6),
    }


# ---------------------------------------------------------------------- measured in processes of their own


def _refreshed(project: Path) -> dict[str, float]:
    from cytopipe.defs.everything import GRAPH
    from cytopipe.defs.history import History
    from cytopipe.defs.instance import open_instance
    from cytopipe.defs.ledger import Ledger
    from cytopipe.project import load_project

    began = cpu_s()
    found = load_project(project)
    read = cpu_s() - began
    with open_instance(found) as instance:
        history = History(instance)
        history.newest()
        began = cpu_s()
        ledger = Ledger(found, GRAPH, history)
        ledger.refresh()
        return {"read": read, "refresh": cpu_s() - began}


def _nothing(project: Path) -> dict[str, float]:
    spent = _refreshed(project)
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {
        "project file read": round(spent["read"], 3),
        "refresh, nothing new": round(spent["refresh"], 3),
        "refresh MB": mb,
    }


def _tick(project: Path) -> dict[str, float]:
    """The sensor as the daemon asks it, in a process that asked it before."""
    from dagster import build_sensor_context

    from cytopipe.defs.everything import GRAPH
    from cytopipe.defs.instance import open_instance
    from cytopipe.defs.sensors import sensors_of
    from cytopipe.project import load_project

    changes = next(one for one in sensors_of(GRAPH) if one.name == "changes")
    with open_instance(load_project(project)) as instance:
        spent = []
        for _ in range(3):
            began = cpu_s()
            with build_sensor_context(instance=instance) as context:
                list(changes(context))
            spent.append(cpu_s() - began)
    return {"sensor tick, nothing new": round(min(spent[1:]), 3)}


def _run(project: Path) -> dict[str, float]:
    """`cytopipe materialize` of the well whose image was changed; time in functions apart."""
    import contextlib
    import functools
    import io

    from cytopipe.cli import run
    from cytopipe.defs.everything import GRAPH

    inside = [0.0]

    def timed(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            began = cpu_s()
            try:
                return function(*args, **kwargs)
            finally:
                inside[0] += cpu_s() - began

        return call

    for step in GRAPH.artifacts:
        object.__setattr__(step, "function", timed(step.function))
    began = cpu_s()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        run(["--project", str(project), "materialize", "-p", "s.1-A1", "-q"])
    total = cpu_s() - began
    done, runs = re.search(r"([\d,]+) of [\d,]+ done in ([\d,]+) runs?", said.getvalue()).groups()
    made = int(done.replace(",", ""))
    return {
        "real run: artifacts": made,
        "real run: runs": int(runs),
        "real run: functions": round(inside[0], 1),
        "real run: rest": round(total - inside[0], 1),
        "rest per 1,000 artifacts": round((total - inside[0]) / made * 1000, 1),
    }


MEASURES = {"nothing": _nothing, "tick": _tick, "run": _run}


# ---------------------------------------------------------------------- the web UI


_NODES = (
    "{assetNodes{id assetKey{path} groupName isPartitioned isExecutable kinds description jobNames "
    "dependencyKeys{path} dependedByKeys{path}}}"
)
_LIVE = (
    "query($keys:[AssetKeyInput!]){assetNodes(assetKeys:$keys){id assetKey{path} "
    "assetMaterializations(limit:1){timestamp runId partition} assetObservations(limit:1){timestamp} "
    "partitionStats{numMaterialized numMaterializing numPartitions numFailed} "
    "assetChecksOrError{... on AssetChecks{checks{name}}}} "
    "assetsLatestInfo(assetKeys:$all){assetKey{path} unstartedRunIds inProgressRunIds}}"
)
_PARTITIONS = (
    "query($key:AssetKeyInput!){assetNodeOrError(assetKey:$key){... on AssetNode{id "
    "partitionKeysByDimension{name partitionKeys} assetPartitionStatuses{... on MultiPartitionStatuses{"
    "primaryDimensionName ranges{primaryDimStartKey primaryDimEndKey secondaryDim{... on "
    "DefaultPartitionStatuses{materializedPartitions failedPartitions}}}}}}}}"
)
_EVENTS = (
    "query($key:AssetKeyInput!){assetOrError(assetKey:$key){... on Asset{id assetMaterializations(limit:50)"
    "{timestamp partition runId metadataEntries{label} tags{key value}}}}}"
)
_ONE = (
    "query($key:AssetKeyInput!){assetNodeOrError(assetKey:$key){... on AssetNode{id "
    'staleStatus(partition:"s.1-A1|3") assetMaterializations(partitions:["s.1-A1|3"],limit:1)'
    "{timestamp metadataEntries{label}}}}}"
)


def _of_ui(project: Path) -> dict[str, float]:
    """Start of `cytopipe ui`, and how long the questions of its pages take, asked once before (s wall)."""
    import httpx
    import psutil

    from cytopipe.serve.listener import free_port

    port = free_port(None)
    began = time.monotonic()
    process = subprocess.Popen(
        _cytopipe(project, "ui", "--read-only", "--port", str(port)), stdout=subprocess.PIPE, text=True
    )
    try:
        for line in process.stdout:
            if line.startswith("open"):
                break
        found = {"ui: start (s wall)": round(time.monotonic() - began, 1)}
        everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:

            def ask(query: str, **variables: object) -> dict:
                answer = client.post("/graphql", json={"query": query, "variables": variables}).json()
                if "errors" in answer:
                    raise RuntimeError(answer["errors"])
                return answer["data"]

            keys = [{"path": one["assetKey"]["path"]} for one in ask(_NODES)["assetNodes"]]
            tile = {"path": ["screen", "sbs", "aligned"]}
            live = _LIVE.replace("query($keys", "query($all:[AssetKeyInput!]!,$keys")
            for name, question in (
                ("asset graph", lambda: ask(_NODES)),
                ("states of all assets", lambda: ask(live, keys=keys, all=keys)),
                ("partitions of an asset", lambda: ask(_PARTITIONS, key=tile)),
                ("events of an asset", lambda: ask(_EVENTS, key=tile)),
                ("page of a partition", lambda: ask(_ONE, key=tile)),
                ("start page", lambda: client.get("/start")),
            ):
                question()
                before, began = _cpu_of(everyone), time.monotonic()
                question()
                found[f"ui: {name}"] = round(_cpu_of(everyone) - before, 2)
                found[f"ui: {name} (s wall)"] = round(time.monotonic() - began, 2)
        found["ui MB"] = sum(one.memory_info().rss for one in everyone) // 2**20
        return found
    finally:
        process.terminate()
        process.wait(60)


def _cpu_of(processes: list) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in processes)


# ---------------------------------------------------------------------- the table


def _print(found: dict[int, dict[str, float]]) -> None:
    sizes = list(found)
    print(f"| | {' | '.join(f'{size:,} tiles' for size in sizes)} | growth |")
    print("|---" * (len(sizes) + 2) + "|")
    for name in found[sizes[0]]:
        values = [found[size][name] for size in sizes]
        print(f"| {name} | {' | '.join(f'{value:,}' for value in values)} | {_growth(sizes, values)} |")


def _growth(sizes: list[int], values: list[float]) -> str:
    """The exponent between the last two sizes, above what the smallest size costs."""
    if len(sizes) < 3 or values[-1] <= values[0]:
        return ""
    before, after = values[-2] - values[0], values[-1] - values[0]
    if before <= 0 or after <= 0:
        return ""
    return f"{math.log(after / before) / math.log((sizes[-1] - sizes[0]) / (sizes[-2] - sizes[0])):.2f}"


if __name__ == "__main__":
    main()
