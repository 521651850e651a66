"""``cytopipe decompose``: a command line over `Decomposition`, and nothing more.

``cytopipe decompose INPUT.fasta -o DIR`` begins or continues, ``--resume DIR`` continues; the other verbs
look at a directory, compare it, extend it, go back in it or put it right. Everything here is parsing,
telling and exit codes; heavy modules are imported when a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import difflib
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from cytopipe.commands.lazy import refuse_unknown
from cytopipe.commands.options import FRACTION, LIMIT, AllFaultsCommand, parameter_options, said
from cytopipe.commands.paths import PATH
from cytopipe.decompose.layout import DEFAULT_DIRECTORY
from cytopipe.decompose.parameters import Parameters

__all__ = ["decompose"]

_DIR = click.argument("directory", type=PATH)
_QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress, no remarks: errors only.")
_ENGINE = click.option(
    "--engine",
    default="local",
    show_default=True,
    metavar="SPEC",
    help="serial, local[:N] or dask[:ADDRESS].",
)
_ACCEPT = click.option(
    "--accept-missing", is_flag=True, help="Take records whose files are gone as deleted on purpose."
)

EXAMPLES = """\
\b
Examples:
  cytopipe decompose its.fasta -o russula            # cluster, resolve conflicts, refine
  cytopipe decompose its.fasta -o russula --finalize # and number by size: cluster_001.fasta ...
  cytopipe decompose its.fasta -o russula --max-clusters 100
  cytopipe decompose --resume russula --max-clusters 200
  cytopipe decompose --resume russula --resolve-conflicts --refine-close-clusters 0.015
  cytopipe decompose --resume russula --finalize --cleanup
  cytopipe decompose its.fasta -o amanita --targets amanita.fasta
  cytopipe decompose add russula new.fasta
  cytopipe decompose compare russula truth.tsv
  cytopipe decompose export russula --format uc --format spart
"""


class _DefaultGroup(click.Group):
    """A group whose first argument may also be an input: then it is the verb `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            self._refuse_mistyped(args[0], ctx)
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def _refuse_mistyped(self, word: str, ctx: click.Context) -> None:
        """Refuse a word that looks like a command and names no file: ``rolback`` is no FASTA file."""
        plain = word.isidentifier() and not Path(word).exists()
        if plain and difflib.get_close_matches(word, self.commands, n=1):
            refuse_unknown(word, self.commands, ctx)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "INPUT.fasta [-o DIR] [OPTIONS]")
        formatter.write_usage(ctx.command_path, "--resume DIR [OPTIONS]")
        formatter.write_usage(ctx.command_path, "COMMAND DIR ...")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        run = self.commands["run"]
        click.Command.format_options(run, click.Context(run, info_name="run", parent=ctx), formatter)
        self.format_commands(ctx, formatter)


@click.group(
    cls=_DefaultGroup,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def decompose() -> None:
    """Split DNA barcodes into species-like clusters, in stages that can be looked at, edited and resumed.

    The clusters are FASTA files in a flat directory, and the files are the truth: merge two, delete or
    move records, split or rename files, and the next stage goes on from what you left. A run saves itself
    every few iterations; stopped or killed at any point, --resume continues it to the same result.
    """


@decompose.command(name="run", hidden=True, cls=AllFaultsCommand)
@click.argument("fasta", metavar="INPUT.fasta", type=PATH, required=False)
@click.option("-o", "--output", type=PATH, help=f"Directory of the result [default: {DEFAULT_DIRECTORY}].")
@click.option("--resume", type=PATH, metavar="DIR", help="Continue the decomposition in DIR; needs no input.")
@click.option(
    "--max-clusters", type=LIMIT, metavar="N", help="Stop when N clusters exist in all (0: no limit)."
)
@click.option(
    "--max-sequences", type=LIMIT, metavar="N", help="Stop when N records are clustered in all (0: no limit)."
)
@click.option("--targets", type=PATH, metavar="FASTA", help="Grow clusters from these sequences only.")
@click.option("--distances", type=PATH, metavar="FILE", help="Distances from a square table (.tsv, .npz).")
@click.option("--resolve-conflicts", is_flag=True, help="Make overlapping clusters disjoint.")
@click.option(
    "--refine-close-clusters",
    "refine",
    type=FRACTION,
    multiple=True,
    metavar="FRACTION",
    help="Look again at clusters whose medoids are within this distance; may be repeated, and chained later.",
)
@click.option("--finalize", is_flag=True, help="Number the newest stage by size and complete the run.")
@click.option("--cleanup", is_flag=True, help="With --finalize: remove the stage files and .blast/.")
@click.option(
    "--checkpoint-interval",
    type=click.IntRange(min=1),
    metavar="N",
    help="Iterations between checkpoints [default: 5].",
)
@click.option("--force-input-change", is_flag=True, help="Continue although the input has changed.")
@click.option(
    "--keep-blast-db/--no-keep-blast-db", default=None, help="Keep the search database [default: keep]."
)
@parameter_options(Parameters)
@_ACCEPT
@click.option("--truth", type=PATH, metavar="FILE", help="Known clusters the report is compared with.")
@click.option("--no-report", is_flag=True, help="Write no tables and figures.")
@_ENGINE
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done and what it needs; do nothing.")
@_QUIET
def run_command(**given: Any) -> int:
    """Begin or continue a decomposition."""
    from cytopipe.commands.decompose_run import Session

    return Session(given, _command_line()).run()


@decompose.command()
@_DIR
def status(directory: Path) -> None:
    """Where a decomposition stands, what was edited by hand, and what can be gone back to."""
    from cytopipe.commands.decompose_run import describe

    for line in describe(directory):
        click.echo(line)


@decompose.command()
@_DIR
def edits(directory: Path) -> None:
    """What was edited by hand since it was written, as a diff of records, and what follows from it."""
    from cytopipe.commands.decompose_run import describe_edits

    for line in describe_edits(directory):
        click.echo(line)


@decompose.command()
@_DIR
@click.argument("fasta", metavar="NEW.fasta", type=PATH)
@_ACCEPT
@_ENGINE
@_QUIET
def add(directory: Path, fasta: Path, accept_missing: bool, engine: str, quiet: bool) -> None:
    """Put new sequences into the clusters of DIR; nothing that is there moves, no id changes."""
    from cytopipe.commands.progress import open_display
    from cytopipe.decompose.directory.adding import add_sequences
    from cytopipe.engine import open_engine

    with open_engine(engine) as opened, open_display(quiet=quiet) as progress:
        added = add_sequences(
            directory,
            fasta,
            engine=opened,
            progress=progress.step,
            command=_command_line(),
            accept_missing=accept_missing,
        )
    for what, files in (("joined", added.joined), ("founded", added.founded)):
        for record, file in sorted(files.items()):
            click.echo(f"{record}\t{what}\t{file}")
    for record in added.waiting:
        click.echo(f"{record}\tunassigned\t")
    for record in added.known:
        click.echo(f"{record}\tknown\t")


@decompose.command()
@click.argument("partition", type=PATH)
@click.argument("reference", type=PATH)
@click.option("--field", default="name", show_default=True, help="Header field that names the cluster.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(partition: Path, reference: Path, field: str, as_json: bool) -> None:
    """How well PARTITION agrees with REFERENCE: ARI, homogeneity, completeness.

    Either may be a decomposition, a folder of FASTA files, a FASTA file with name="..." in its headers, a
    table of record and cluster, a .uc or a .spart file.
    """
    import json

    from cytopipe.decompose.compare import compare_partitions, read_assignment

    row = compare_partitions(
        read_assignment(partition, field=field), read_assignment(reference, field=field)
    ).as_row()
    if as_json:
        click.echo(json.dumps(row, indent=2))
        return
    for name, value in row.items():
        click.echo(f"{name}\t{value:.6f}" if isinstance(value, float) else f"{name}\t{value}")


@decompose.command()
@_DIR
@click.option(
    "--format",
    "formats",
    type=click.Choice(["tsv", "uc", "spart"]),
    multiple=True,
    required=True,
    help="May be repeated.",
)
@click.option("-o", "--output", type=PATH, help="Folder to write to [default: DIR/exports].")
def export(directory: Path, formats: tuple[str, ...], output: Path | None) -> None:
    """Write the newest clusters as .uc, SPART or a plain table."""
    from cytopipe.decompose.directory.export import export_newest

    for path in export_newest(directory, formats, output):
        click.echo(str(path))


@decompose.command()
@_DIR
@click.option(
    "--to",
    metavar="STAGE|POINT",
    help="initial, deconflicted, refined, or a point such as 0002-deconflicted.",
)
@click.option("--list", "listing", is_flag=True, help="Show what can be gone back to.")
def rollback(directory: Path, to: str | None, listing: bool) -> None:
    """Make an earlier stage the newest again; what is left behind is kept as a point."""
    from cytopipe.commands.decompose_run import describe_points, summary
    from cytopipe.decompose.directory.repair import rollback as go_back
    from cytopipe.errors import ParameterError

    if listing:
        for line in describe_points(directory):
            click.echo(line)
    elif to is None:
        raise ParameterError("nothing was chosen to go back to", next="Name it with --to, or see --list.")
    else:
        click.echo(summary(go_back(directory, to, command=_command_line())))


@decompose.command()
@_DIR
def restore(directory: Path) -> None:
    """Write the newest stage and the state again as the last checkpoint held them.

    Files that differ from it are moved into DIR/set_aside, not deleted.
    """
    from cytopipe.commands.decompose_run import set_aside_in, summary
    from cytopipe.commands.words import counted
    from cytopipe.decompose.directory.repair import restore as put_back

    before = set(set_aside_in(directory))
    found = put_back(directory, command=_command_line())
    aside = [path for path in set_aside_in(directory) if path not in before]
    click.echo(f"restored as the checkpoint of {found.state.metadata.last_checkpoint} held it")
    for path in aside:
        click.echo(f"set aside: {path}")
    click.echo(f"{counted(len(aside), 'file')} set aside" if aside else "nothing had to be set aside")
    click.echo(summary(found))


@decompose.command()
@_DIR
@click.option(
    "--input",
    "fasta",
    type=PATH,
    required=True,
    metavar="INPUT.fasta",
    help="The sequences it was made from.",
)
@parameter_options(Parameters)
@_ACCEPT
def rebuild(directory: Path, fasta: Path, accept_missing: bool, **given: Any) -> None:
    """Write a new state for a directory of FASTA files whose state.json is lost."""
    from cytopipe.commands.decompose_run import summary
    from cytopipe.decompose.directory.repair import rebuild as build_again

    parameters = Parameters(**said(Parameters, given))
    click.echo(
        summary(
            build_again(directory, fasta, parameters, accept_missing=accept_missing, command=_command_line())
        )
    )


@decompose.command()
@_DIR
def verify(directory: Path) -> int:
    """Compare every file with what was published; exit 3 if anything differs."""
    from cytopipe.commands.words import counted, published_in
    from cytopipe.decompose.directory.decomposition import Decomposition
    from cytopipe.errors import BusyError, StorageError

    found = Decomposition.inspect(directory)
    if process := found.folder.worker():
        raise BusyError(
            "files change while they are compared",
            where=str(directory),
            found=f"process {process} at work",
            next="Wait for it to finish.",
        )
    differences = found.verify()
    for difference in differences:
        click.echo(str(difference))
    looked, size = published_in(directory)
    click.echo(
        f"{counted(len(differences), 'difference')} in {counted(looked, 'published file')} ({size:,} bytes)"
        if differences
        else f"{counted(looked, 'published file')} as published ({size:,} bytes), in {directory}"
    )
    return StorageError.exit_code if differences else 0


@decompose.command()
def schema() -> None:
    """Print the JSON Schema of state.json."""
    import json

    from cytopipe.decompose.state import state_schema

    click.echo(json.dumps(state_schema(), indent=2))


def _command_line() -> str:
    return shlex.join(["cytopipe", *sys.argv[1:]])
