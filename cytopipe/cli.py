"""``cytopipe``: one command, with a group per domain, that answers before anything heavy is imported.

`COMMANDS` is the whole table: a domain adds its group there by one line. A command's module is imported
when that command runs. Errors from `cytopipe.errors` become one line each on standard error and an exit
code; anything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click

from cytopipe import __version__
from cytopipe.errors import CytopipeError, Interrupted
from cytopipe.faults import in_words

__all__ = ["COMMANDS", "Command", "Options", "cytopipe", "main"]


class Command(NamedTuple):
    """A line of the table: where the command lives, the heading it stands under, what it does."""

    target: str
    heading: str
    help: str


COMMANDS: dict[str, Command] = {
    "init": Command("cytopipe.commands.project:init", "Project", "Write a commented cytopipe.yaml."),
    "check": Command(
        "cytopipe.commands.project:check", "Project", "Report every problem of the project file."
    ),
    "schema": Command("cytopipe.commands.project:schema", "Project", "Print the JSON Schema for editors."),
    "demo": Command("cytopipe.commands.demo:demo", "Project", "Make an example project and run it."),
    "materialize": Command("cytopipe.commands.work:materialize", "Work", "Make what is missing or stale."),
    "resume": Command("cytopipe.commands.work:resume", "Work", "Go on with interrupted and failed work."),
    "status": Command(
        "cytopipe.commands.books:status", "Books", "What is done, stale, missing or failed, and why."
    ),
    "history": Command("cytopipe.commands.books:history", "Books", "Every event of an asset or a data set."),
    "lineage": Command(
        "cytopipe.commands.lineage:lineage", "Books", "From what an artifact was made, back to the inputs."
    ),
    "verify": Command("cytopipe.commands.care:verify", "Care", "Compare every artifact with its manifest."),
    "sweep": Command(
        "cytopipe.commands.care:sweep", "Care", "Remove dead drafts and versions past their age."
    ),
    "reap": Command("cytopipe.commands.care:reap", "Care", "End runs that a dead process left as started."),
    "ui": Command("cytopipe.commands.ui:ui", "Care", "Open the web interface on loopback, behind a fence."),
    "decompose": Command(
        "cytopipe.decompose.cli:decompose", "Domains", "Split DNA barcodes into species-like clusters."
    ),
    "atlas": Command(
        "cytopipe.atlas.cli:atlas", "Domains", "Pool single-cell atlases, infer activity, compare atlases."
    ),
}

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


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        from importlib import import_module

        module, _, attribute = COMMANDS[name].target.partition(":")
        return getattr(import_module(module), attribute)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"No such command '{name}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for name, command in COMMANDS.items():
            headings.setdefault(command.heading, []).append((name, command.help))
        for heading, rows in headings.items():
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=14)


@click.group(
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--project", type=click.Path(path_type=Path), help="Project directory or file [default: here or above]."
)
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
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given[: _first_command(given)] or bool(os.environ.get("CYTOPIPE_DEBUG"))
    try:
        result = cytopipe.main(args=given, prog_name="cytopipe", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except CytopipeError as error:
        if debug:
            raise
        _report(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        if debug:
            raise
        click.echo("cytopipe: interrupted", err=True)
        return Interrupted.exit_code
    except BrokenPipeError:
        # The reader (`| head`) has gone; nothing more can be said, and Python's own flush would fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError) as error:
        told = None if debug else in_words(error, "the command")
        if told is None:
            raise
        _report(told)
        return told.exit_code


def _first_command(given: list[str]) -> int:
    return next((number for number, word in enumerate(given) if word in COMMANDS), len(given))


def _report(error: CytopipeError) -> None:
    findings = error.findings
    if len(findings) > 1:
        click.echo(f"cytopipe: {len(findings)} problems", err=True)
    for finding in findings:
        click.echo(f"  {finding}" if len(findings) > 1 else f"cytopipe: {finding}", err=True)


if __name__ == "__main__":
    main()
