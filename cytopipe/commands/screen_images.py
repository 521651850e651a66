"""``cytopipe screen export | view``: one image as OME-Zarr, and a look at any image in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from cytopipe.commands.options import LENGTH_UM, PORT, parameter_options, said
from cytopipe.commands.paths import PATH, absolute, paste
from cytopipe.screen.parameters import OmeZarrSettings

__all__ = ["export", "view"]


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe screen export P-1_W-A1_T-2__aligned.tiff aligned.ome.zarr --pixel-size-um 0.65\n"
    "  cytopipe screen export image.tiff image.ome.zarr --channel DAPI --channel GFP\n"
    "  cytopipe screen export image.tiff image.ome.zarr --labels nuclei=nuclei.tiff --ngff-version 0.4"
)
@click.argument("image", type=PATH, metavar="IN.tiff")
@click.argument("output", type=PATH, metavar="OUT.ome.zarr")
@click.option(
    "--pixel-size-um",
    type=LENGTH_UM,
    metavar="SIZE",
    help="Height and width of a pixel, micrometres [default: the TIFF's, or 1].",
)
@click.option(
    "--channel", "channels", multiple=True, help="Name of a channel; once for each [default: the TIFF's]."
)
@click.option(
    "--labels", multiple=True, metavar="NAME=FILE", help="Label image to lay below it: nuclei=nuclei.tiff."
)
@click.option(
    "--is-labels", is_flag=True, help="IN.tiff itself holds object numbers, which are never averaged."
)
@parameter_options(OmeZarrSettings)
def export(image: Path, output: Path, pixel_size_um, channels, labels, is_labels, **chosen) -> None:
    """Write a TIFF as an OME-Zarr image that viewers open at any zoom.

    The file may be larger than memory. An older version at OUT.ome.zarr is replaced when the
    new one is whole.
    """
    from cytopipe.errors import ParameterError
    from cytopipe.screen.omezarr import export_tiff_to_omezarr
    from cytopipe.storage.formats.ome_zarr import OME_ZARR
    from cytopipe.storage.formats.tiff import read_tiff

    settings = OmeZarrSettings(**said(OmeZarrSettings, chosen))
    below = {}
    for one in labels:
        name, equals, path = one.partition("=")
        if not (name and equals and path):
            raise ParameterError("names no label image", where="--labels", expected="NAME=FILE", found=one)
        below[name] = absolute(Path(path))
    size = (pixel_size_um, pixel_size_um) if pixel_size_um else read_tiff(image).pixel_size_um or (1.0, 1.0)
    made = export_tiff_to_omezarr(
        image,
        output,
        pixel_size=size,
        channel_labels=channels or None,
        label_metadata=below,
        is_labels=is_labels or None,
        **settings.model_dump(),
    )
    told = OME_ZARR.describe(made)
    click.echo(", ".join(f"{name} {value}" for name, value in told.items()))
    click.echo(f"look at it: cytopipe screen view {paste(made)}")


@click.command(
    epilog="\b\nExamples:\n  cytopipe screen view aligned.ome.zarr\n"
    "  cytopipe screen view plate.ome.zarr --port 8800"
)
@click.argument("image", type=PATH)
@click.option(
    "--napari/--browser", default=None, help="Which viewer [default: napari where it is installed]."
)
@click.option(
    "--port",
    type=PORT,
    metavar="N",
    help="Of the page in the browser [default: 3000 or the next free one].",
)
def view(image: Path, napari: bool | None, port: int | None) -> None:
    """Open an OME-Zarr image, a plate or a TIFF in napari, or in a browser on this machine."""
    from importlib.util import find_spec

    from cytopipe.errors import InputError, MissingToolError
    from cytopipe.serve.viewer.pyramid import fields_of, open_pyramid

    if not image.exists():
        raise InputError("no such image", where=str(image), expected="an .ome.zarr folder or a TIFF")
    if not fields_of(image):
        open_pyramid(image)  # says what is wrong with it here, not on a page that somebody has to open
    installed = find_spec("napari") is not None and find_spec("napari_ome_zarr") is not None
    if napari and not installed:
        raise MissingToolError(
            "napari is not installed", next="pip install 'napari[all]' napari-ome-zarr, or use --browser."
        )
    if napari or (napari is None and installed):
        _view_in_napari(image)
    else:
        _view_in_browser(image, port)


def _view_in_napari(image: Path) -> None:
    import napari

    viewer = napari.Viewer()
    viewer.open(str(image), plugin="napari-ome-zarr" if image.is_dir() else None)
    napari.run()


def _view_in_browser(image: Path, port: int | None) -> None:
    from urllib.parse import quote

    from cytopipe.serve.fence import Fence, hosts_of
    from cytopipe.serve.listener import free_port, server_of
    from cytopipe.serve.viewer import PREFIX, Viewer

    port = free_port(port)
    viewer = Fence(Viewer(image.parent, image.parent.name), hosts=hosts_of(port), post_paths=())
    click.echo(f"http://127.0.0.1:{port}{PREFIX}{quote(image.name)} (stop with Ctrl-C)")
    server_of(viewer, port=port).run()
