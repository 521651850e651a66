"""``cytopipe screen``: the table of its commands. Listing it imports nothing of NumPy or numba."""

from __future__ import annotations

import click

from cytopipe.commands.lazy import Command, LazyGroup

__all__ = ["COMMANDS", "screen"]

COMMANDS: dict[str, Command] = {
    "synthetic": Command(
        "cytopipe.commands.screen_synthetic:synthetic",
        "Write a small screen with the truth, to try things on.",
    ),
    "export": Command("cytopipe.commands.screen_images:export", "Write a TIFF as an OME-Zarr image."),
    "view": Command("cytopipe.commands.screen_images:view", "Look at an image in the browser."),
    "tree": Command(
        "cytopipe.commands.screen_tree:tree",
        "Say what a Brieflow output folder holds and lacks.",
    ),
    "export-tree": Command(
        "cytopipe.commands.screen_tree:export_tree",
        "Write the images of a Brieflow output folder as OME-Zarr.",
    ),
    "cleanup": Command(
        "cytopipe.commands.screen_cleanup:cleanup",
        "Remove images that were needed only on the way.",
    ),
    "stages": Command(
        "cytopipe.commands.screen_synthetic:stages",
        "List every stage, the asset that it makes, and its files.",
    ),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def screen() -> None:
    """Optical pooled screens: barcodes and features of cells that were imaged twice.

    The project file names the images; everything else is made from it:

    \b
      cytopipe screen synthetic trial              a small screen, and a project around it
      cytopipe --project trial check               every problem of the file and of the images
      cytopipe --project trial materialize screen  all stages of all tiles, wells and plates
      cytopipe --project trial status screen       what is done, stale, missing or failed, and why
      cytopipe --project trial lineage 'screen/sbs/reads:trial.1-A1|0'
    """
