"""Registration of `atlas`: atlases of single cells, their levels, and the signatures inferred there."""

from cytopipe.project.domain import Domain

__all__ = ["DOMAIN"]

DOMAIN = Domain(
    name="atlas",
    help="Pool single-cell atlases, infer activity, compare atlases.",
    package=__name__,
    entry=f"{__name__}.entry:Atlas",
    commands="cytopipe.commands.atlas:atlas",
    graph="cytopipe.defs.atlas:ATLAS",
    parameters=("cytopipe.atlas.settings:Settings", "cytopipe.atlas.settings:ActivitySettings"),
    sets=("atlases", "atlas", "atlas_signatures"),
)
