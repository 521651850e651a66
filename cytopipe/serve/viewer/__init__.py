"""A viewer of images in the browser: OME-Zarr images, plates and TIFFs, rendered here tile by tile.

`pyramid` opens an image and its levels, `tiles` turns a piece of a level into a PNG picture, `app` answers
the browser, ``viewer.js`` draws. Nothing is loaded from elsewhere, so it works with no network.
"""

from cytopipe.serve.viewer.app import PREFIX, Viewer

__all__ = ["PREFIX", "Viewer"]
