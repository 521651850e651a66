"""Evaluate every case of a folder of golden cases and print a verdict per case.

    python -m cytopipe_tests.parity GOLDEN [--only DOMAIN] [--json FILE]

The folder holds one folder per domain. A case whose input is not at hand is named as not evaluated. Exit
status: 0 when no case fails, 1 when one fails, 2 when the folder cannot be used.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cytopipe_tests.parity import Case, Outcome, Verdict, fails

DOMAINS = {
    "atlas": "cytopipe_tests.parity.atlas",
    "decompose": "cytopipe_tests.parity.decompose",
    "heatmap": "cytopipe_tests.parity.heatmap",
    "export": "cytopipe_tests.parity.export",
    "screen": "cytopipe_tests.parity.screen",
}


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m cytopipe_tests.parity", description=__doc__.split("\n")[0]
    )
    parser.add_argument("golden", type=Path, help="folder with one folder of cases per domain")
    parser.add_argument("--only", choices=sorted(DOMAINS), help="evaluate this domain alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there too")
    options = parser.parse_args(arguments)
    if not options.golden.is_dir():
        print(f"{options.golden}: no such folder; expected a folder of golden cases", file=sys.stderr)
        return 2

    counts: Counter[Outcome] = Counter()
    rows = []
    for case in cases(options.golden, only=options.only):
        verdict = evaluate(case)
        counts[verdict.outcome] += 1
        rows.append({"domain": case.domain, "case": case.name, **vars(verdict)})
        print(f"{verdict.outcome:<18}  {case.domain}/{case.name}", end="")
        print(f": {verdict.detail}" if verdict.detail else "", flush=True)
    if not rows:
        print(f"{options.golden}: holds no golden case of any domain", file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n" + ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome))
    return 1 if counts[Outcome.FAILS] else 0


def cases(golden: Path, *, only: str | None = None) -> Iterator[Case]:
    """Every case of the folder `golden`, domain by domain."""
    for domain, module in DOMAINS.items():
        folder = golden / domain
        if not folder.is_dir() or only not in (None, domain):
            continue
        for case in importlib.import_module(module).cases(folder):
            yield replace(case, domain=domain)


def evaluate(case: Case) -> Verdict:
    """The verdict on one case; an error inside it is a failure that names the error."""
    try:
        return case.evaluate()
    except Exception as error:  # whatever it is, the other cases are still to be judged
        return fails(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
