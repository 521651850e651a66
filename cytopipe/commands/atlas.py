"""``cytopipe atlas``: the table of its commands. Listing it imports nothing of NumPy or numba."""

from __future__ import annotations

import click

from cytopipe.commands.lazy import Command, LazyGroup

__all__ = ["COMMANDS", "atlas"]

COMMANDS: dict[str, Command] = {
    "list": Command(
        "cytopipe.commands.atlas_aggregate:list_atlases", "Atlases, their levels, sample columns and sizes."
    ),
    "aggregate": Command(
        "cytopipe.commands.atlas_aggregate:aggregate_file", "Aggregate the levels of any h5ad or zarr."
    ),
    "run": Command(
        "cytopipe.commands.atlas_aggregate:run", "Aggregate the levels of an atlas of the registry."
    ),
    "verify": Command(
        "cytopipe.commands.atlas_aggregate:verify", "List every output with its shape or its error."
    ),
    "qc": Command("cytopipe.commands.atlas_aggregate:qc", "Table and picture of the groups' sizes."),
    "submit": Command("cytopipe.commands.atlas_submit:submit", "One SLURM job per atlas."),
    "signatures": Command(
        "cytopipe.commands.atlas_results:signatures", "Known signatures, and where their tables were found."
    ),
    "activity": Command(
        "cytopipe.commands.atlas_results:activity", "Infer cytokine activity of every pseudobulk file."
    ),
    "validate": Command(
        "cytopipe.commands.atlas_results:validate", "Activity against expression, and a quality score."
    ),
    "compare": Command("cytopipe.commands.atlas_results:compare", "What several atlases agree on."),
    "serve": Command(
        "cytopipe.commands.atlas_results:serve", "Serve results over HTTP, read-only, on loopback."
    ),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def atlas() -> None:
    """Pseudobulk of large single-cell atlases, cytokine activity, and validation across atlases."""
