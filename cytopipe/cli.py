"""``cytopipe``: one command, with a group per domain, that answers before anything heavy is imported.

`COMMANDS` is the whole table; a command's module is imported when that command runs. Errors from
`cytopipe.errors` become one line each on standard error and an exit code, and so does what the operating
system or the memory refuses; anything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from cytopipe import __version__
from cytopipe.commands.lazy import Command, LazyGroup
from cytopipe.commands.paths import PATH
from cytopipe.errors import CytopipeError, Finding, Interrupted
from cytopipe.faults import in_words
from cytopipe.project.domains import DOMAINS

__all__ = ["COMMANDS", "Options", "cytopipe", "main"]

COMMANDS: dict[str, Command] = {
    name: Command(f"cytopipe.commands.{target}", text, heading)
    for heading, rows in {
        "Project": (
            ("init", "project:init", "Write a commented cytopipe.yaml."),
            ("check", "project:check", "Report every problem of the project file."),
            ("schema", "project:schema", "Print the JSON Schema for editors."),
            ("demo", "demo:demo", "Make an example project and run it."),
        ),
        "Work": (
            ("materialize", "materialize:materialize", "Make what is missing or stale."),
            ("resume", "materialize:resume", "Go on with interrupted and failed work."),
        ),
        "History": (
            ("status", "history:status", "What is done, stale, missing or failed, and why."),
            ("history", "history:history", "Every event of an asset or a data set."),
            ("lineage", "lineage:lineage", "From what an artifact was made, back to the inputs."),
        ),
        "Maintenance": (
            ("verify", "maintenance:verify", "Compare every artifact with its manifest."),
            ("sweep", "maintenance:sweep", "Remove dead drafts and versions past their age."),
            ("reap", "maintenance:reap", "End runs that a dead process left as started."),
            ("ui", "ui:ui", "Open the project in a browser of this machine."),
        ),
    }.items()
    for name, target, text in rows
} | {name: Command(domain.commands, domain.help, "Domains") for name, domain in DOMAINS.items()}

EXIT_CODES = """\
\b
Exit codes: 0 done; 1 bug or failed work; 2 something you wrote, chose or passed;
3 bytes on disk; 4 an optional program is missing; 5 the engine; 130 interrupted.
"""


@dataclass(frozen=True)
class Options:
    """What was said before the command's name; domain groups find it as ``context.obj``."""

    project: Path | None = None
    debug: bool = False


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--project", type=PATH, help="Project directory or file [default: here or above].")
@click.option("--debug", is_flag=True, help="Show the traceback of every error.")
@click.version_option(__version__, prog_name="cytopipe")
@click.pass_context
def cytopipe(context: click.Context, project: Path | None, debug: bool) -> None:
    """Every artifact of a cytometry, single-cell, imaging or barcode lab as a traceable asset.

    A project is a directory with a cytopipe.yaml; `cytopipe init` writes one.
    """
    context.obj = Options(project, debug)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the code that the outcome has."""
    # A command imports some hundred thousand objects that stay. Python's own 700 has them searched for cycles
    # again and again, which takes a tenth of a short command.
    gc.set_threshold(50_000, 10, 10)
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given[: _first_command(given)] or bool(os.environ.get("CYTOPIPE_DEBUG"))
    try:
        result = cytopipe.main(args=given, prog_name="cytopipe", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # The reader (`| head`) has gone; nothing more can be said, and Python's own flush would fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (click.Abort, KeyboardInterrupt):
        if debug:
            raise
        click.echo("cytopipe: interrupted", err=True)
        return Interrupted.exit_code
    except (CytopipeError, OSError, MemoryError) as error:
        told = error if isinstance(error, CytopipeError) else in_words(error, "the command")
        if debug or told is None:
            raise
        _report(told)
        return told.exit_code


def _first_command(given: list[str]) -> int:
    return next((number for number, word in enumerate(given) if word in COMMANDS), len(given))


def _report(error: CytopipeError) -> None:
    findings: tuple[Finding, ...] = error.findings
    if len(findings) > 1:
        click.echo(f"cytopipe: {len(findings)} problems", err=True)
    for finding in findings:
        click.echo(f"  {finding}" if len(findings) > 1 else f"cytopipe: {finding}", err=True)


if __name__ == "__main__":
    main()
