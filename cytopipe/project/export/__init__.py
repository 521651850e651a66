"""Registration of `export`: pictures of fields of view, single cells and regions of interest, by job."""

from cytopipe.project.domain import Domain

__all__ = ["DOMAIN"]

DOMAIN = Domain(
    name="export",
    help="Export pictures of fields of view, single cells and regions, with scale bars.",
    package=__name__,
    entry=f"{__name__}.entry:ExportJob",
    commands="cytopipe.commands.export:export",
    graph="cytopipe.defs.export:EXPORT",
    parameters=tuple(
        f"cytopipe.export.parameters:{name}"
        for name in (
            "JobSettings",
            "ChannelSetting",
            "OverlaySetting",
            "CellSettings",
            "RoiSettings",
            "GallerySettings",
        )
    ),
    sets=("export", "export_fovs", "export_cells", "export_rois"),
)
