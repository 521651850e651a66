"""A small ark folder with cells of known places, and jobs over it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CHANNELS = ("DNA", "CD3", "CD20")
SIDE, PITCH = 120, 30


def write_images(root: Path, fovs: tuple[str, ...] = ("fov1", "fov2")) -> None:
    """Fields of 120 x 120 px with 9 round cells each, and cells.csv: odd labels are T cells."""
    import tifffile

    random = np.random.default_rng(0)
    lines = ["fov,label,x,y,phenotype,area"]
    for fov in fovs:
        mask = np.zeros((SIDE, SIDE), np.int32)
        rows, columns = np.ogrid[:SIDE, :SIDE]
        for label in range(1, 10):
            y, x = 20 + PITCH * ((label - 1) // 3), 20 + PITCH * ((label - 1) % 3)
            mask[(rows - y) ** 2 + (columns - x) ** 2 < 64] = label
            lines.append(f"{fov},{label},{x},{y},{'T cell' if label % 2 else 'B cell'},197")
        folder = root / "data" / "image_data" / fov
        folder.mkdir(parents=True)
        for channel in CHANNELS:
            image = random.integers(0, 100, (SIDE, SIDE)).astype(np.uint16)
            image[mask > 0 if channel == "DNA" else (mask > 0) & (mask % 2 == (channel == "CD3"))] += 700
            tifffile.imwrite(folder / f"{channel}.tiff", image)
        (root / "data" / "segmentation").mkdir(exist_ok=True)
        tifffile.imwrite(root / "data" / "segmentation" / f"{fov}_whole_cell.tiff", mask)
    (root / "cells.csv").write_text("\n".join(lines) + "\n")


def write_job(root: Path, more: str = "", name: str = "job.yaml") -> Path:
    """A job file over the images in `root`."""
    path = root / name
    path.write_text(
        "source: data\noutput: pictures\npixel_size_um: 0.5\nengine: serial\nmarker_sets:\n"
        "  immune:\n    DNA: {color: blue, high: 900}\n    CD3: {color: red, high: 800}\n" + more
    )
    return path


CELLS = "mode: cells\ncells: {table: cells.csv, size_px: 32}\noverlays: [{mask: whole_cell}]\n"
