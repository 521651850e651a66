"""An output folder as Brieflow leaves it, of real files: what a finished project of ours made, under its
names: pixels alone, tables of whole wells.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import tifffile

__all__ = ["TEMPORARY", "plain", "write_tree"]

TEMPORARY = (
    *(f"sbs/images/*{info}*" for info in ("aligned", "filtered", "peaks", "deviation", "corrected")),
    *(f"phenotype/images/*{info}*" for info in ("corrected", "cytoplasms")),
)
"""What Brieflow removes when it was used."""


def plain(source: Path, target: Path) -> None:
    """A TIFF with the pixels of another one, and nothing said of them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(target, tifffile.imread(source), photometric="minisblack")


def _combined(tables: list[Path], target: Path) -> None:
    """Tables of tiles below each other, each with its own index and the plate as a number."""
    target.parent.mkdir(parents=True, exist_ok=True)
    joined = pd.concat([pd.read_parquet(one) for one in tables])
    joined.assign(plate=joined["plate"].astype(int)).to_parquet(target)


def write_tree(project: Path, output: Path, tree: Path, wells: tuple[str, ...]) -> Path:
    """The tree of everything that lies in `output`, the folder of a screen of `project`."""
    for of in ("sbs", "phenotype"):
        for folder in ("images", "ic_fields"):
            found = (output / "preprocess" / folder / of).rglob("*.tiff")
            for path in found:
                plain(path, tree / "preprocess" / folder / of / path.name)
        for path in (output / of / "images").glob("*.tiff"):
            plain(path, tree / of / "images" / path.name.replace("__cytoplasm", "__identified_cytoplasms"))
        (tree / of / "tsvs").mkdir(parents=True)
        for path in (output / of / "tsvs").glob("*segmentation_stats.tsv"):
            shutil.copyfile(path, tree / of / "tsvs" / path.name)
        stage = pd.read_csv(project / f"{of}_metadata.tsv", sep="\t")
        for well in wells:
            rows = stage[stage["well"] == well]
            target = tree / f"preprocess/metadata/{of}/P-1_W-{well}__combined_metadata.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            pd.concat([rows.assign(cycle=1), rows.assign(cycle=2)]).to_parquet(target)
    for well in wells:
        head = f"P-1_W-{well}"
        for info in ("reads", "cells"):
            tiles = sorted((output / "sbs/parquets").glob(f"{head}_T-*__{info}.parquet"))
            _combined(tiles, tree / f"sbs/parquets/{head}__{info}.parquet")
        info = output / f"sbs/parquets/{head}__sbs_info.parquet"
        _combined([info], tree / f"sbs/parquets/{head}__sbs_info.parquet")
        features = sorted((output / "phenotype/parquets").glob(f"{head}_T-*__features.parquet"))
        _combined(features, tree / f"phenotype/parquets/{head}__phenotype_cp.parquet")
    return tree
