"""Pictures of fields of view, files of pictures and galleries, beside the ways they are made elsewhere.

    python -m cytopipe_tests.benchmarks.export_pictures [--crops 10000]

A field of view has 2048 x 2048 pixels, six channels of uint16 and about 2,100 cells. `NumPy` adds the
channels up one after the other in float32 and finds outlines by comparing shifted arrays; `the reference's
way` makes a coloured float64 image of each channel, and outlines by `find_boundaries` of scikit-image. Both
give the picture of ours within one grey level, which is asserted. Files are encoded from the same picture,
with resolution and description inside. A gallery shows 100 regions of 256 x 256 pixels, four by three on a
page, with a caption each. CPU milliseconds are of this process, the least of several, imports and compilation
before.

Crops of 64 x 64 pixels around cells of 20 fields of view, each with six TIFF files of 8 MB, are made by
`cytopipe export run`: a whole process with its imports, reading and writing, its scale bars, provenance and
manifest; then again with nothing new. Of each peer 50 crops are measured, without its imports. The first one
reads the six whole files again for each crop and saves it by Pillow, without a bar. The second does what
UELer does: it keeps lazy dask arrays of the files and computes a slice of each channel, for which dask reads
the whole file. The third draws the scale bar on a matplotlib figure too, as UELer does (which then leaves it
out, because the figure is larger than the crop). In brackets: how many times the CPU seconds of each of them.
All files are in memory (`/dev/shm`), where there is such a folder: on a disk, making a file may cost more
than all the rest, whoever makes it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex

from cytopipe.export import (
    ArrayField,
    ChannelStyle,
    GalleryItem,
    MarkerSet,
    MaskStyle,
    draw_scale_bar,
    encode,
    pdf_gallery,
    render_fov_to_array,
    scale_bar,
)
from cytopipe_tests.benchmarks.decompose import measured

SIDE, PITCH = 2048, 44
NAMES = ("DNA", "CD3", "CD8", "CD20", "CD68", "Ki67")
COLOURS = ((0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1))
OUTLINE = MaskStyle("cell", (1.0, 1.0, 1.0))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=10_000)
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    parser.add_argument("--folder", default=in_memory, help="where the fields and crops are written")
    arguments = parser.parse_args()
    fov, markers = field_of_view(0), marker_set()
    pictures(fov, markers)
    print()
    files(render_fov_to_array(fov, markers, overlays=[OUTLINE]))
    print()
    galleries(fov, markers)
    print()
    crops(fov, markers, arguments.crops, arguments.folder)


def pictures(fov: ArrayField, markers: MarkerSet) -> None:
    print("| picture | cytopipe, CPU ms | NumPy | the reference's way | NumPy / ours | reference / ours |")
    print("|---|---|---|---|---|---|")
    for name, overlays in (("channels", []), ("channels, outlines", [OUTLINE])):
        ours = render_fov_to_array(fov, markers, overlays=overlays)
        for other in (by_numpy, by_reference):
            apart = np.abs(other(fov, markers, bool(overlays)).astype(int) - ours)
            assert apart.max() <= 1, f"{other.__name__} differs by {apart.max()}"
        own = cpu_ms(lambda: render_fov_to_array(fov, markers, overlays=overlays), 15)  # noqa: B023
        plain = cpu_ms(lambda: by_numpy(fov, markers, bool(overlays)))  # noqa: B023
        reference = cpu_ms(lambda: by_reference(fov, markers, bool(overlays)))  # noqa: B023
        told = f"{own:.0f} | {plain:.0f} | {reference:.0f} | {plain / own:.1f} | {reference / own:.1f}"
        print(f"| {name} | {told} |")


def files(picture: np.ndarray) -> None:
    import cv2
    from PIL import Image

    def pillow() -> bytes:
        sink = io.BytesIO()
        Image.fromarray(picture).save(sink, "png")
        return sink.getvalue()

    def opencv() -> bytes:
        return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()

    ways: dict[str, Callable[[], bytes]] = {
        kind: lambda kind=kind: encode(picture, kind, pixel_size_um=0.5)
        for kind in ("png", "jpeg", "tiff", "pdf")
    }
    print("| file | CPU ms | MB |")
    print("|---|---|---|")
    for name, make in (ways | {"png by Pillow": pillow, "png by OpenCV": opencv}).items():
        print(f"| {name} | {cpu_ms(make):.0f} | {len(make()) / 1e6:.1f} |")


def galleries(fov: ArrayField, markers: MarkerSet, n_regions: int = 100, side: int = 256) -> None:
    random = np.random.default_rng(1)
    corners = random.integers(0, SIDE - side, (n_regions, 2))
    shown = [
        render_fov_to_array(fov, markers, region=(y, y + side, x, x + side)) for y, x in corners.tolist()
    ]

    def ours() -> bytes:
        bar = scale_bar(side, 0.5)
        items = (
            GalleryItem(f"region {number}", ("fov1", "six channels"), draw_scale_bar(one, bar))
            for number, one in enumerate(shown)
        )
        return pdf_gallery(items, title="regions")

    own, other = cpu_ms(ours), cpu_ms(lambda: by_matplotlib(shown), 1)
    print("| gallery of 100 regions | CPU ms | MB |")
    print("|---|---|---|")
    print(f"| cytopipe | {own:.0f} | {len(ours()) / 1e6:.1f} |")
    print(f"| matplotlib ({other / own:.1f} times) | {other:.0f} | {len(by_matplotlib(shown)) / 1e6:.1f} |")


class Stack(ArrayField):
    """Channels that lie one behind the other, as a reader of files gives them."""

    def read_channels(self, names, region, step):
        assert tuple(names) == self.channels
        y0, y1, x0, x1 = region
        return self.images[names[0]].base[:, y0:y1:step, x0:x1:step]


def crops(
    fov: ArrayField, markers: MarkerSet, n_crops: int, folder: str | None, n_fields: int = 20, side: int = 64
) -> None:
    import tifffile

    print(f"| {n_crops:,} crops from {n_fields} fields | CPU s | crops per CPU s | wall s | peak MiB |")
    print("|---|---|---|---|---|")
    random = np.random.default_rng(2)
    with tempfile.TemporaryDirectory(dir=folder) as at:
        root, lines = Path(at), ["fov,label,x,y"]
        for number in range(n_fields):
            images = root / "data" / "image_data" / f"fov{number}"
            images.mkdir(parents=True)
            for name, image in fov.images.items():
                tifffile.imwrite(images / f"{name}.tiff", np.roll(image, 31 * number, axis=0))
            for label in range(n_crops // n_fields):
                y, x = random.integers(side, SIDE - side, 2)
                lines.append(f"fov{number},{label + 1},{x},{y}")
        (root / "cells.csv").write_text("\n".join(lines) + "\n")
        some = lines[1 :: max(1, n_crops // 50)]
        theirs = {}
        for name, crop in (
            ("reads its files again", reading_again),
            ("by dask", by_dask),
            ("by dask, scale bar on a canvas", partial(by_dask, canvas=True)),
        ):
            crop(root, markers, some[0], side)  # imports
            start = time.process_time()
            for line in some:
                crop(root, markers, line, side)
            theirs[name] = (time.process_time() - start) / len(some) * n_crops
            print(f"| {name} | {theirs[name]:.0f} | {n_crops / theirs[name]:.0f} |  |  |")
        shown = {
            one.channel: {"color": to_hex(one.colour), "low": one.low, "high": one.high}
            for one in markers.channels
        }
        job = {
            "source": "data",
            "mode": "cells",
            "pixel_size_um": 0.5,
            "cells": {"table": "cells.csv", "size_px": side},
            "marker_sets": {"all": shown},
        }
        for engine in ("serial", "local:2"):
            output = root / engine.replace(":", "_")
            (root / "job.yaml").write_text(json.dumps(job | {"engine": engine, "output": str(output)}))
            run = [sys.executable, "-m", "cytopipe.cli", "export", "run", str(root / "job.yaml")]
            for what in ("", ", nothing new"):
                cpu_s, wall_s, peak_mib = measured(run)
                made = len(list(output.rglob("*.png")))
                assert made == n_crops, made
                if not what:
                    times = ", ".join(f"{one / cpu_s:.0f}" for one in theirs.values())
                    what = f" ({times} times)"
                told = f"{cpu_s:.1f} | {n_crops / cpu_s:,.0f} | {wall_s:.1f} | {peak_mib:.0f}"
                print(f"| cytopipe, {engine}{what} | {told} |")


def reading_again(root: Path, markers: MarkerSet, line: str, side: int) -> None:
    """A crop as a script would make it: six whole files are read, the crop is cut out, rendered and saved."""
    import tifffile
    from PIL import Image

    folder, y, x, target = _of_line(root, line, side)
    whole = {one.channel: tifffile.imread(folder / f"{one.channel}.tiff") for one in markers.channels}
    images = {one: image[y : y + side, x : x + side] for one, image in whole.items()}
    Image.fromarray(by_reference(ArrayField("crop", images), markers, outlined=False)).save(target)


def by_dask(root: Path, markers: MarkerSet, line: str, side: int, *, canvas: bool = False) -> None:
    """A crop as the reference makes it: lazy arrays of whole files in chunks of 1024 px, of which each crop
    computes a slice, channel by channel; a figure of one inch for the scale bar; and imageio.
    """
    import imageio.v3

    folder, y, x, target = _of_line(root, line, side)
    arrays = _lazy(folder, tuple(one.channel for one in markers.channels))
    total = np.zeros((side, side, 3), np.float32)
    for one in markers.channels:
        pixels = np.asarray(arrays[one.channel][y : y + side, x : x + side].compute(), np.float32)
        level = np.clip((pixels - one.low) / (one.high - one.low), 0, 1)
        total += level[..., np.newaxis] * np.asarray(one.colour, np.float32).reshape(1, 1, 3)
    made = (np.clip(total, 0, 1) * 255).astype(np.uint8)
    if canvas:
        _on_canvas(made)
    imageio.v3.imwrite(target, made)


@cache
def _lazy(folder: Path, names: tuple[str, ...]) -> dict:
    import dask.array
    import tifffile
    from dask import delayed

    read = delayed(tifffile.imread)
    return {
        one: dask.array.from_delayed(read(folder / f"{one}.tiff"), (SIDE, SIDE), np.uint16).rechunk(1024)
        for one in names
    }


def _on_canvas(picture: np.ndarray, dpi: int = 300) -> np.ndarray:
    """A figure is an inch wide at least, so that the reference leaves the bar of a small picture out."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    height, width = picture.shape[:2]
    figure = plt.figure(figsize=(max(width / dpi, 1), max(height / dpi, 1)), dpi=dpi)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(picture)
    axis.axis("off")
    axis.plot([width * 0.85, width * 0.95], [height * 0.95] * 2, color="white", linewidth=2)
    axis.text(width * 0.9, height * 0.9, "2 µm", color="white", fontsize=12, ha="center")
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return drawn


def _of_line(root: Path, line: str, side: int) -> tuple[Path, int, int, Path]:
    name, label, x, y = line.split(",")
    folder = root / "data" / "image_data" / name
    return folder, int(y) - side // 2, int(x) - side // 2, root / f"{name}_{label}.png"


def by_numpy(fov: ArrayField, markers: MarkerSet, outlined: bool) -> np.ndarray:
    total = np.zeros((*fov.shape, 3), np.float32)
    for one in markers.channels:
        level = (fov.images[one.channel].astype(np.float32) - np.float32(one.low)) / np.float32(
            one.high - one.low
        )
        np.clip(level, 0, 1, out=level)
        for place, part in enumerate(one.colour):
            if part:
                total[..., place] += level * np.float32(part)
    np.clip(total, 0, 1, out=total)
    if outlined:
        labels, edges = fov.labels["cell"], np.zeros(fov.shape, bool)
        across, along = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
        edges[1:] |= across
        edges[:-1] |= across
        edges[:, 1:] |= along
        edges[:, :-1] |= along
        total[edges & (labels > 0)] = OUTLINE.colour
    return (total * 255).astype(np.uint8)


def by_reference(fov: ArrayField, markers: MarkerSet, outlined: bool) -> np.ndarray:
    from skimage.segmentation import find_boundaries

    total = np.zeros((*fov.shape, 3))
    for one in markers.channels:
        level = np.clip((fov.images[one.channel].astype(float) - one.low) / (one.high - one.low), 0, 1)
        total += np.dstack([level] * 3) * np.asarray(one.colour)
    total = np.clip(total, 0, 1)
    if outlined:
        labels = fov.labels["cell"]
        edges = find_boundaries(labels, mode="inner") & (labels > 0)
        opacity = edges[..., None] * OUTLINE.opacity
        total = total * (1 - opacity) + np.asarray(OUTLINE.colour) * opacity
    return (total * 255).astype(np.uint8)


def by_matplotlib(shown: list[np.ndarray]) -> bytes:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_pdf import PdfPages

    sink = io.BytesIO()
    with PdfPages(sink) as pages:
        for start in range(0, len(shown), 12):
            figure, axes = plt.subplots(4, 3, figsize=(8.27, 11.69))
            for axis in axes.flat:
                axis.axis("off")
            for number, (axis, one) in enumerate(zip(axes.flat, shown[start : start + 12], strict=False)):
                axis.imshow(one)
                axis.set_title(f"region {start + number}", fontsize=8)
            pages.savefig(figure, dpi=300)
            plt.close(figure)
    return sink.getvalue()


def field_of_view(seed: int) -> ArrayField:
    """Six channels and round cells on a shaken grid."""
    random = np.random.default_rng(seed)
    labels = np.zeros((SIDE, SIDE), np.int32)
    rows, columns = np.indices((PITCH, PITCH)) - PITCH / 2
    per_side = SIDE // PITCH
    for number in range(per_side * per_side):
        y, x = (place * PITCH for place in divmod(number, per_side))
        window = labels[y : y + PITCH, x : x + PITCH]
        window[np.hypot(rows, columns) < random.uniform(14, PITCH / 2)] = number + 1
    light = random.gamma(2.0, 400.0, (6, per_side * per_side + 1)).astype(np.float32)
    pixels = np.stack([random.poisson(one[labels] * 0.5 + 20) for one in light]).astype(np.uint16)
    return Stack("fov1", dict(zip(NAMES, pixels, strict=True)), {"cell": labels})


def marker_set() -> MarkerSet:
    return MarkerSet(
        "all",
        tuple(ChannelStyle(name, colour, 20.0, 2000.0) for name, colour in zip(NAMES, COLOURS, strict=True)),
    )


def cpu_ms(work: Callable[[], object], times: int = 5) -> float:
    """CPU milliseconds of this process, the least of several."""
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return 1000 * min(found)


if __name__ == "__main__":
    main()
