"""``cytopipe heatmap``: the table of its commands. Listing it imports nothing of NumPy or numba."""

from __future__ import annotations

import click

from cytopipe.commands.lazy import Command, LazyGroup

__all__ = ["COMMANDS", "heatmap"]

_RUN, _LOOK = "cytopipe.commands.heatmap_run", "cytopipe.commands.heatmap_look"

COMMANDS: dict[str, Command] = {
    "run": Command(f"{_RUN}:run", "Cluster cells, and make every checkpoint of a recipe.", "Make"),
    "branch": Command(f"{_RUN}:branch", "Begin a branch at any checkpoint.", "Make"),
    "merge": Command(f"{_RUN}:merge", "Put checkpoints together; the finer one wins.", "Make"),
    "save": Command(f"{_RUN}:save", "Put a checkpoint made by hand in its place.", "Make"),
    "list": Command(f"{_LOOK}:list_", "List the checkpoints of a folder.", "Look"),
    "show": Command(f"{_LOOK}:show", "Draw the graph of the checkpoints.", "Look"),
    "diff": Command("cytopipe.commands.heatmap_files:diff", "What differs between two checkpoints.", "Look"),
    "render": Command("cytopipe.commands.heatmap_files:render", "Draw a heat map: PNG, SVG or PDF.", "Look"),
    "validate": Command(
        "cytopipe.commands.heatmap_files:validate", "Tell everything that is wrong with checkpoints.", "Look"
    ),
    "load": Command(f"{_LOOK}:load", "Tell everything that a checkpoint holds.", "Look"),
    "palette": Command(
        "cytopipe.commands.heatmap_exchange:palette", "Export and import names and colours.", "Exchange"
    ),
    "pack": Command("cytopipe.commands.heatmap_pack:pack", "Keep a history in less space.", "Exchange"),
    "unpack": Command("cytopipe.commands.heatmap_pack:unpack", "Files out of a packed history.", "Exchange"),
    "import": Command(
        "cytopipe.commands.heatmap_exchange:import_", "Import the history of a UELer project.", "Exchange"
    ),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def heatmap() -> None:
    """Cells clustered by FlowSOM, and heat maps of them that are revised, branch and merge.

    Every state is a checkpoint: one .h5ad file that says everything about itself. Checkpoints are called
    FOLDER/main.3 (branch and step), or by their file; in a project also blood.main.3.

    \b
      cytopipe heatmap run cells.csv -o runs/blood            cluster the cells
      cytopipe heatmap branch runs/blood t_cells --from main.1 --steps 6,7,9 --gate "CD3>2"
      cytopipe heatmap merge runs/blood all main.1 t_cells.9
      cytopipe heatmap show runs/blood                        the graph of checkpoints
    """
