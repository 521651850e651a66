"""export: pictures of fields of view, of single cells and of regions of interest.

Pixels, masks and styles go in, a picture comes out: `render_fov_to_array`, `render_crop_to_array` and
`render_roi_to_array` keep no state and touch no file. `scale_bar`, `encode` and `pdf_gallery` make of
pictures what can be printed. The same input gives the same bytes.
"""

from __future__ import annotations

from cytopipe.on_demand import names_on_demand

# Names are resolved on first use: numba, Pillow and reportlab take longer to import than `--help` may take.
_DOOR = {
    # what is drawn
    "Annotation": "styles",
    "CellColours": "styles",
    "ChannelStyle": "styles",
    "MarkerSet": "styles",
    "MaskStyle": "styles",
    "colour_of": "styles",
    "thickness_at": "styles",
    # pictures
    "ArrayField": "render.pictures",
    "Field": "render.pictures",
    "render_crop_to_array": "render.pictures",
    "render_fov_to_array": "render.pictures",
    "render_roi_to_array": "render.pictures",
    # where they come from
    "FovInfo": "sources.source",
    "ImageSource": "sources.source",
    "open_source": "sources.opening",
    # files of others
    "Roi": "rois",
    "format_marker_sets": "markers",
    "format_rois": "rois",
    "read_marker_sets": "markers",
    "read_rois": "rois",
    # what is made of pictures
    "GalleryItem": "gallery",
    "contact_sheet": "gallery",
    "draw_scale_bar": "scale_bars",
    "encode": "encoding",
    "encode_ome_tiff": "encoding",
    "pdf_gallery": "gallery",
    "scale_bar": "scale_bars",
}

__all__ = list(_DOOR)
__getattr__, __dir__ = names_on_demand(__name__, _DOOR)
