"""``cytopipe atlas``: the verbs of the room, each imported when it is called.

`COMMANDS` is the whole table. Listing it imports nothing of NumPy or numba, so help is immediate.
"""

from __future__ import annotations

from importlib import import_module

import click

__all__ = ["COMMANDS", "atlas"]

COMMANDS: dict[str, tuple[str, str]] = {
    "list": (
        "cytopipe.atlas.cli_pseudobulk:list_atlases",
        "Atlases, their levels, sample columns and sizes.",
    ),
    "aggregate": (
        "cytopipe.atlas.cli_pseudobulk:aggregate_file",
        "Aggregate the levels of any h5ad or zarr.",
    ),
    "run": ("cytopipe.atlas.cli_pseudobulk:run", "Aggregate the levels of an atlas of the registry."),
    "verify": ("cytopipe.atlas.cli_pseudobulk:verify", "List every output with its shape or its error."),
    "qc": ("cytopipe.atlas.cli_pseudobulk:qc", "Table and picture of the groups' sizes."),
    "submit": ("cytopipe.atlas.cli_submit:submit", "One SLURM job per atlas."),
    "signatures": (
        "cytopipe.atlas.cli_results:signatures",
        "Known signatures, and where their tables were found.",
    ),
    "activity": ("cytopipe.atlas.cli_results:activity", "Infer cytokine activity of every pseudobulk file."),
    "validate": ("cytopipe.atlas.cli_results:validate", "Activity against expression, and a quality score."),
    "compare": ("cytopipe.atlas.cli_results:compare", "What several atlases agree on."),
    "serve": ("cytopipe.atlas.cli_results:serve", "Serve results over HTTP, read-only, on loopback."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        return getattr(import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_LazyGroup)
def atlas() -> None:
    """Pseudobulk of large single-cell atlases, cytokine activity, and validation across atlases."""
