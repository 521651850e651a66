"""Registration of `heatmap`: cells clustered by FlowSOM, and the heat maps that people revise, as
checkpoints.
"""

from cytopipe.heatmap.routes import PARENTS_OF_STEP
from cytopipe.project.domain import Domain

__all__ = ["DOMAIN"]

DOMAIN = Domain(
    name="heatmap",
    help="Cluster cells by FlowSOM; branch, revise, diff and merge the heat maps.",
    package=__name__,
    entry=f"{__name__}.entry:CellData",
    commands="cytopipe.commands.heatmap:heatmap",
    graph="cytopipe.defs.heatmap:HEATMAP",
    parameters=(
        *(
            f"cytopipe.heatmap.parameters:{name}Settings"
            for name in ("Reading", "Transform", "FlowSOM", "Heatmap")
        ),
        "cytopipe.heatmap.branches:Branch",
        *(
            f"cytopipe.heatmap.choices:{name}"
            for name in ("Revision", "MixedChoice", "SubsetChoice", "Gate", "Finalization", "MergeChoice")
        ),
    ),
    sets=(
        "heatmap",
        "heatmap_branches",
        *(f"heatmap_step_{number:02d}" for number in PARENTS_OF_STEP),
        "heatmap_merged",
        "heatmap_finals",
    ),
)
