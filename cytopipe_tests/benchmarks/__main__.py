"""Run every benchmark and write what they print to ``docs/benchmarks.md``.

    python -m cytopipe_tests.benchmarks [NAME ...]

Each benchmark is a module with a command of its own that measures cytopipe and its peers side by side in one
run. A section of the page is its story (the module's docstring), its command and its output. With names,
only those sections are measured anew; the others stay as they are. `-` after a name passes the rest of the
arguments on: ``python -m cytopipe_tests.benchmarks atlas - --cells 50000``.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from cytopipe.errors import UserError

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "benchmarks.md"
BENCHMARKS = {
    "decompose": "DNA barcodes: quality, time and memory beside vsearch",
    "decompose_coalescent": "DNA barcodes of other markers: simulated coalescents beside vsearch",
    "decompose_neighbours": "Neighbour search: recall of the embedded k-mer index",
    "ledger": "The ledger: what is fresh, as a project grows",
    "atlas": "Pseudobulk: time and memory beside scanpy, decoupler and the h5py floor",
    "ome_zarr": "OME-Zarr: writing pyramids beside the numcodecs floor and other writers",
    "screen_reads": "Optical screens: cells with the right barcode, by preset and method",
    "heatmap_flowsom": "FlowSOM: time, memory and agreement beside the Python package",
    "heatmap_checkpoints": "Heat map checkpoints: saving, loading, listing, sharing, drawing",
    "export_pictures": "Export: pictures, files and galleries beside NumPy and matplotlib",
    "atlas_activity": "Activity: exact moments and permutations",
    "screen_stages": "Screens: alignment, filters and illumination beside SciPy and scikit-image",
    "screen_features": "Screens: measurements of cells beside one object after the other",
    "screen_scale": "Screens: 10,000 tiles through every asset, beside the science",
    "screen_geometry": "Screens: where planes, tiles and cells are put, against the truth",
}
INTRODUCTION = """\
# Benchmarks

Peers are measured side by side in the same run, on the same input; compare rows of one table, not tables of
two machines. CPU seconds are user and system time of all processes and threads. `make bench` measures
everything anew and rewrites this page.
"""


def main(arguments: list[str]) -> int:
    """Measure, and rewrite the page; returns the exit status."""
    names, _, rest = _split(arguments)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise UserError(f"no benchmark {', '.join(unknown)}", expected=", ".join(BENCHMARKS))
    sections = _standing_sections()
    for name in names or BENCHMARKS:
        command = [sys.executable, "-m", f"cytopipe_tests.benchmarks.{name}", *rest]
        print(f"$ python {' '.join(command[1:])}", flush=True)
        outcome = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(outcome.stdout)
        if outcome.returncode:
            return outcome.returncode
        sections[name] = _section(name, " ".join(command[1:]), outcome.stdout)
        page = [INTRODUCTION, *(sections[one] for one in BENCHMARKS if one in sections)]
        PAGE.write_text("\n".join(page))
    return 0


def _split(arguments: list[str]) -> tuple[list[str], str, list[str]]:
    at = arguments.index("-") if "-" in arguments else len(arguments)
    return arguments[:at], "-", arguments[at + 1 :]


def _standing_sections() -> dict[str, str]:
    """The sections of the page as it is, by the benchmark that its marker names."""
    text = PAGE.read_text() if PAGE.exists() else ""
    parts = re.split(r"^(?=<!-- benchmark: \w+ -->$)", text, flags=re.M)
    return {part.split()[2]: part.rstrip("\n") + "\n" for part in parts[1:]}


def _section(name: str, command: str, output: str) -> str:
    docstring = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
    story = "\n\n".join(part for part in docstring.split("\n\n") if "python -m" not in part)
    table = output.strip() if output.lstrip().startswith("|") else f"```text\n{output.rstrip()}\n```"
    return (
        f"<!-- benchmark: {name} -->\n## {BENCHMARKS[name]}\n\n{story}\n\n"
        f"`python {command}` on {_machine()}:\n\n{table}\n"
    )


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    when = datetime.now(UTC).date().isoformat()
    return (
        f"{cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {when}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
