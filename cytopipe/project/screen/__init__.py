"""Registration of `screen`: optical pooled screens, from images of a microscope to barcodes of cells."""

from cytopipe.project.domain import Domain

__all__ = ["DOMAIN"]

_GRIDS = ("sbs_tiles", "phenotype_tiles")

DOMAIN = Domain(
    name="screen",
    help="Read barcodes and features of cells from optical pooled screens.",
    package=__name__,
    entry=f"{__name__}.entry:Screen",
    commands="cytopipe.commands.screen:screen",
    graph="cytopipe.defs.screen:SCREEN",
    parameters=(
        f"{__name__}.entry:Sequencing",
        f"{__name__}.entry:Phenotype",
        f"{__name__}.exports:AggregateExport",
        *(
            f"cytopipe.screen.parameters:{name}Settings"
            for name in (
                "Illumination",
                "CycleAlignment",
                "Filter",
                "Segmentation",
                "Library",
                "Read",
                "ReadModel",
                "CellCall",
                "PhenotypeAlignment",
                "PhenotypeSegmentation",
                "Feature",
                "Stitching",
                "Merge",
                "Quality",
                "Montage",
            )
        ),
    ),
    sets=("screens", "screen_plates", "screen_wells", *_GRIDS),
    grids=_GRIDS,
)
