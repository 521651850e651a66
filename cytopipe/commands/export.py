"""``cytopipe export``: the table of its commands. Listing it imports nothing of NumPy or numba."""

from __future__ import annotations

import click

from cytopipe.commands.lazy import Command, LazyGroup

__all__ = ["COMMANDS", "export"]

_RUN, _ROIS = "cytopipe.commands.export_run", "cytopipe.commands.export_rois"

COMMANDS: dict[str, Command] = {
    "run": Command(f"{_RUN}:run", "Make the pictures of a job.", "Make"),
    "preview": Command(f"{_RUN}:preview", "Make one of its pictures.", "Make"),
    "gallery": Command(f"{_RUN}:gallery", "All its pictures as a PDF or an HTML page.", "Make"),
    "images": Command(f"{_RUN}:images", "What a folder of images holds: fields, channels, masks.", "Look"),
    "rois": Command(f"{_ROIS}:rois", "List, import and export regions of interest.", "Look"),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def export() -> None:
    """Pictures of fields of view, of single cells and of regions of interest, by the thousand.

    A job is a YAML file; its paths are relative to it. Every picture says how it was made, and has a scale
    bar that is right.

    \b
      source: data                    # images and masks
      output: pictures
      mode: cells                     # fov | cells | rois
      pixel_size_um: 0.39
      marker_sets:
        immune:
          DNA: {color: blue, high: 900}
          CD3: {color: red, low: 5, high: 400}
      overlays:
        - {mask: whole_cell, color: white}
      cells: {table: cells.csv, where: "phenotype == 'T cell'", size_px: 64}

    \b
      cytopipe export images data          names of fields, channels and masks
      cytopipe export run job.yaml
    """
