"""Synthetic optical pooled screens with the truth: what a microscope would see of cells that carry barcodes.

A screen is a function of its seed. `make_screen` draws the cells, barcodes and spots of every well in one
plane per well; images are rendered tile by tile when asked for, so that a screen of any size fits in memory.
`write_screen` writes them as the TIFF files of a microscope, with the library and the truth beside them.

    screen = make_screen("background", seed=7, tile_grid=(2, 2))
    screen.sbs_tile("A1", 0)         # uint16 TCYX as taken: shifted, rotated, channels apart
    screen.aligned_tile("A1", 0)     # the same cells, aligned without an error
    screen.label_tile("A1", 0)       # true nuclei and cells, numbered within the tile
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numba import njit

from cytopipe.errors import InputError

__all__ = [
    "CHANNELS",
    "PHENOTYPE_CHANNELS",
    "PRESETS",
    "Physics",
    "Screen",
    "make_library",
    "make_screen",
    "score_calls",
    "write_screen",
]

#: Channels of a sequencing cycle, in the order of the images.
CHANNELS = ("DAPI", "G", "T", "A", "C")
BASES = CHANNELS[1:]
PHENOTYPE_CHANNELS = ("DAPI", "TUBULIN", "GH2AX", "PHALLOIDIN")
_PLATE = 1
_MARGIN = 28  # px that static structure is drawn beyond a tile, so that a shifted cycle finds it there


@dataclass(frozen=True)
class Physics:
    """How cells, chemistry and optics behave. Lengths are px of the sequencing images, intensities counts.

    Every value may be given to `make_screen` by its name, on top of a preset.
    """

    # cells
    cells_per_megapixel: float = 620.0
    crowding: float = 0.3  # 0: evenly spread; 1: clumps in which cells overlap and share borders
    cell_radius: float = 14.5
    nucleus_radius: float = 6.6
    with_barcode: float = 0.92
    with_two_barcodes: float = 0.08
    # spots
    spots_per_cell: float = 6.0
    spots_dispersion: float = 3.0  # shape of the gamma distribution of a cell's mean
    amplitude: float = 4200.0  # median peak of a spot in its channel, cycle 1
    amplitude_spread: float = 0.45  # of the logarithm, between spots
    amplitude_jitter: float = 0.10  # of the logarithm, between cycles of a spot
    psf_sigma: float = 1.25
    psf_halo: float = 0.0  # share of a spot's light in a halo 2.6 times as wide
    spill: float = 0.7  # px by which a spot may lie outside its cell
    # chemistry
    decay: float = 0.97  # of the signal, per cycle
    phasing: float = 0.008  # strands that stay behind, per cycle
    prephasing: float = 0.005  # strands that run ahead, per cycle
    crosstalk: float = 0.18  # between G and T, and between A and C; a quarter of it between the others
    gains: tuple[float, float, float, float] = (1.0, 0.85, 1.1, 0.9)
    gain_spread: float = 0.06  # of the logarithm, between cycles
    # background
    floor: float = 450.0
    haze: float = 2000.0  # of a cell's cytoplasm, median
    haze_spread: float = 0.22
    haze_texture: float = 0.15
    haze_drift: float = 0.04  # of the logarithm, between cycles
    debris_per_megapixel: float = 60.0
    debris_amplitude: float = 2500.0
    gradient: float = 0.1  # of the light between one corner of a tile and the other
    vignette: float = 0.12
    # camera
    counts_per_photon: float = 0.6
    read_noise: float = 12.0
    # positions
    shift: float = 2.0  # px between cycles, standard deviation
    rotation: float = 0.0  # degrees between cycles, standard deviation
    scale: float = 0.0  # relative, between cycles
    chromatic: float = 0.08  # px between channels, standard deviation
    stage: float = 3.0  # px by which a tile misses its place, standard deviation


PRESETS: dict[str, dict[str, float]] = {
    "easy": {},
    "dim": {"amplitude": 280.0},
    "background": {"amplitude": 520.0, "haze": 5000.0, "haze_texture": 0.5, "haze_spread": 0.6,
                   "haze_drift": 0.08, "debris_per_megapixel": 700.0, "debris_amplitude": 4000.0,
                   "gradient": 0.4},
    "crosstalk": {"crosstalk": 0.62, "amplitude": 420.0, "phasing": 0.015},
    "decay": {"decay": 0.79, "amplitude": 1200.0, "phasing": 0.03, "prephasing": 0.015, "gain_spread": 0.15},
    "dense": {"cells_per_megapixel": 1700.0, "crowding": 0.8, "cell_radius": 12.0, "nucleus_radius": 5.6,
              "amplitude": 3000.0},
    "mixed": {"cells_per_megapixel": 1200.0, "crowding": 0.6, "amplitude": 430.0, "haze": 3200.0,
              "haze_texture": 0.25, "haze_spread": 0.5, "crosstalk": 0.4, "decay": 0.92, "phasing": 0.02,
              "prephasing": 0.01, "debris_per_megapixel": 300.0, "with_two_barcodes": 0.15,
              "gradient": 0.25, "shift": 4.0, "rotation": 0.08, "chromatic": 0.2},
    "shifts": {"shift": 7.0, "rotation": 0.25, "scale": 0.0008, "chromatic": 0.45},
}  # fmt: skip

#: Other optics and chemistry under the same presets, so that a method is not fitted to one of them.
_OPTICS: dict[str, dict[str, object]] = {
    "first": {},
    "second": {
        "psf_sigma": 1.05, "psf_halo": 0.25, "amplitude_spread": 0.6, "amplitude_jitter": 0.16,
        "spots_per_cell": 5.0, "spots_dispersion": 1.8, "counts_per_photon": 1.6, "read_noise": 6.0,
        "gains": (0.7, 1.2, 0.9, 1.3), "cell_radius": 16.0, "spill": 1.2,
    },
    "third": {
        "psf_sigma": 1.55, "psf_halo": 0.12, "amplitude_spread": 0.55, "amplitude_jitter": 0.13,
        "spots_per_cell": 8.5, "spots_dispersion": 1.2, "counts_per_photon": 1.0, "read_noise": 25.0,
        "gains": (1.3, 0.65, 1.0, 0.75), "spill": 0.9,
    },
}  # fmt: skip


def make_library(n_barcodes: int = 600, cycles: int = 9, seed: int = 0) -> pd.DataFrame:
    """A library of guides: `sgRNA, barcode, gene, abundance`.

    Parameters
    ----------
    n_barcodes, cycles : int
        A barcode is the first `cycles` bases of its guide (cycles + 3 bases).
    seed : int

    Returns
    -------
    DataFrame
        Four guides per gene, one in twenty ``nontargeting``; the four homopolymers are among the barcodes,
        about one barcode in twelve has a neighbour at distance 1; abundances are log-normal (sum 1).
    """
    rng = np.random.default_rng([seed, 11])
    if n_barcodes > 0.5 * 4.0**cycles:
        raise InputError(
            f"{n_barcodes} barcodes of {cycles} bases",
            expected="at most half of all sequences",
            next="Add cycles.",
        )
    homopolymers = [base * cycles for base in "ACGT"][: max(0, n_barcodes // 6)]
    chosen: dict[str, None] = dict.fromkeys(homopolymers)
    while len(chosen) < n_barcodes:
        letters = rng.integers(0, 4, cycles)
        chosen.setdefault("".join("ACGT"[k] for k in letters))
        if rng.random() < 0.04 and len(chosen) < n_barcodes:
            at = rng.integers(cycles)
            letters[at] = (letters[at] + rng.integers(1, 4)) % 4
            chosen.setdefault("".join("ACGT"[k] for k in letters))
    barcodes = np.array(list(chosen))
    rng.shuffle(barcodes)
    tails = rng.integers(0, 4, (n_barcodes, 3))
    weight = rng.lognormal(0.0, 0.7, n_barcodes)
    genes = np.array([f"GENE{k // 4:04d}" for k in range(n_barcodes)], object)
    genes[rng.random(n_barcodes) < 0.05] = "nontargeting"
    if "nontargeting" not in genes:
        genes[-1] = "nontargeting"
    return pd.DataFrame(
        {
            "sgRNA": [
                one + "".join("ACGT"[k] for k in tail) for one, tail in zip(barcodes, tails, strict=True)
            ],
            "barcode": barcodes,
            "gene": genes,
            "abundance": weight / weight.sum(),
        }
    )


@dataclass
class Screen:
    """A synthetic screen: its truth, and its images on demand.

    Attributes
    ----------
    library : DataFrame
        See `make_library`.
    cells : DataFrame
        One row per cell of a well: `plate, well, cell`, `y, x` (px in the well's plane), `barcode_0,
        barcode_1, gene_0, gene_1` (None where there is none), `n_spots_0, n_spots_1`.
    spots : DataFrame
        `well, cell, which` (0 or 1), `y, x, amplitude`.
    tiles : DataFrame
        `plate, well, tile, y, x` (true corner in the well's plane, px), `stage_y, stage_x` (where the stage
        says it is).
    cycles : DataFrame
        `well, tile, cycle, dy, dx, degrees, scale`: the position of a cycle against the first.
    phenotype_tiles : DataFrame
        As `tiles`, in px of the phenotype images.
    """

    preset: str
    seed: int
    physics: Physics
    wells: tuple[str, ...]
    tile_grid: tuple[int, int]
    tile_size: int
    n_cycles: int
    magnification: float
    phenotype_angle: float
    library: pd.DataFrame
    cells: pd.DataFrame
    spots: pd.DataFrame
    tiles: pd.DataFrame
    cycles: pd.DataFrame
    phenotype_tiles: pd.DataFrame
    chemistry: dict[str, np.ndarray] = field(repr=False)
    effects: pd.DataFrame = field(repr=False)
    _wells: dict[str, _Well] = field(repr=False)

    # ------------------------------------------------------------------ images

    def sbs_tile(self, well: str, tile: int) -> np.ndarray:
        """All cycles of a tile as taken, uint16 TCYX, channels `CHANNELS`."""
        return self._sequence(well, tile, aligned=False)

    def aligned_tile(self, well: str, tile: int) -> np.ndarray:
        """All cycles of a tile in the frame of its first cycle, without any shift, uint16 TCYX."""
        return self._sequence(well, tile, aligned=True)

    def label_tile(self, well: str, tile: int) -> tuple[np.ndarray, np.ndarray]:
        """True nuclei and cells of a tile in the frame of its first cycle, int32 YX.

        A cell and its nucleus have the same number; numbers run from 1 within a tile (`cells_of_tile`).
        """
        nuclei, cells, shown = self._labels(well, tile)
        return _renumbered(nuclei, shown), _renumbered(cells, shown)

    def cells_of_tile(self, well: str, tile: int) -> pd.DataFrame:
        """The truth of every label of a tile: `plate, well, tile, label` and the columns of `cells`.

        `i, j` are the centroid of the label (px), `n_spots` counts the spots within 1 px of the label
        that are more than 6 px from the tile's border; `callable` is true where a cell has a barcode and
        at least one such spot.
        """
        _, labels, shown = self._labels(well, tile)
        labels = _renumbered(labels, shown)
        area = np.bincount(labels.ravel(), minlength=len(shown) + 1)[1:]
        rows, columns = np.indices(labels.shape)
        i = np.bincount(labels.ravel(), rows.ravel(), minlength=len(shown) + 1)[1:] / area
        j = np.bincount(labels.ravel(), columns.ravel(), minlength=len(shown) + 1)[1:] / area
        corner = self._corner(self.tiles, well, tile)
        spots = self.spots[self.spots["well"] == well]
        at = spots[["y", "x"]].to_numpy() - corner
        inside = ((at > 6) & (at < self.tile_size - 7)).all(axis=1)
        near, number = np.rint(at[inside]).astype(int), spots["cell"].to_numpy()[inside]
        own = np.concatenate([[0], shown])
        at_home = np.zeros(len(near), bool)
        for di, dj in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            at_home |= own[labels[near[:, 0] + di, near[:, 1] + dj]] == number
        counts = np.bincount(number[at_home], minlength=len(self._wells[well].y) + 1)
        table = self.cells[self.cells["well"] == well].iloc[shown - 1].reset_index(drop=True)
        table.insert(2, "tile", tile)
        table.insert(3, "label", np.arange(1, len(shown) + 1))
        table["i"], table["j"], table["area"] = i, j, area
        table["n_spots"] = counts[shown]
        table["callable"] = table["barcode_0"].notna() & (table["n_spots"] > 0)
        return table

    def phenotype_tile(self, well: str, tile: int) -> np.ndarray:
        """A tile of the stained cells at `magnification`, uint16 CYX, channels `PHENOTYPE_CHANNELS`.

        Tubulin is weaker and the nucleus brighter, foci of GH2AX are more frequent, or actin is stronger, in
        cells whose gene has an effect (`effects`).
        """
        cells, world = self._wells[well], self._phenotype_frame(well, tile)
        size, zoom = self.tile_size, self.magnification
        rng = self._rng("phenotype", well, tile)
        near = cells.near(world, size, 40.0)
        nuclei, _, depth = _paint(cells.nucleus_shapes(near), world, (size, size))
        labels, _, cell_depth = _paint(cells.cell_shapes(near), world, (size, size))
        at = _world_coordinates(world, (size, size))
        texture = _texture(self.seed, at)
        level = np.concatenate([[0.0], cells.brightness[near - 1]])
        effect = np.vstack([np.zeros(3), self._effect_of_cells(well)[near - 1]])
        blur = _gaussian
        planes = np.zeros((len(PHENOTYPE_CHANNELS), size, size), np.float32)
        planes[0] = level[nuclei] * (1 + 0.3 * effect[nuclei, 0]) * np.minimum(1, 3 * depth) * 9000
        planes[0] *= 1 + 0.25 * texture
        planes[1] = level[labels] * np.exp(-0.7 * effect[labels, 0]) * np.minimum(1, 2 * cell_depth) * 5000
        planes[1] *= 1 + 0.4 * texture
        planes[2] = 400.0 * (labels > 0) + 500.0 * level[nuclei]
        planes[3] = level[labels] * np.exp(0.8 * effect[labels, 2]) * np.exp(-6 * cell_depth) * 9000
        planes = np.stack([blur(plane, 0.5 * zoom) for plane in planes])
        foci = rng.poisson(2.5 * np.exp(1.2 * effect[1:, 1]))
        owner = np.repeat(np.arange(len(near)), foci)
        turn, out = rng.uniform(0, 2 * np.pi, len(owner)), np.sqrt(rng.random(len(owner))) * 0.8
        shape = cells.nucleus_shapes(near)
        reach = out * shape[owner, 2]
        y, x = shape[owner, 0] + reach * np.sin(turn), shape[owner, 1] + reach * np.cos(turn)
        where = _to_pixels(world, y, x)
        amplitude = np.zeros((len(owner), len(planes)), np.float32)
        amplitude[:, 2] = rng.lognormal(8.0, 0.4, len(owner))
        _add_spots(planes, where[0], where[1], amplitude, 0.75 * zoom, np.zeros((len(planes), 2)))
        planes += self.physics.floor
        return self._camera(planes * self._illumination(size, len(planes)), rng)

    def phenotype_label_tile(self, well: str, tile: int) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
        """True nuclei and cells of a phenotype tile (int32 YX), and `label, cell` of the well."""
        world = self._phenotype_frame(well, tile)
        nuclei, cells, shown = self._painted(well, world)
        table = pd.DataFrame({"label": np.arange(1, len(shown) + 1), "cell": shown})
        return _renumbered(nuclei, shown), _renumbered(cells, shown), table

    # ------------------------------------------------------------------ rendering

    def _rng(self, what: str, *key: object) -> np.random.Generator:
        words = [self.seed, *(sum(ord(c) * 131**k for k, c in enumerate(str(one))) for one in (what, *key))]
        return np.random.default_rng([word % (1 << 63) for word in words])

    def _corner(self, tiles: pd.DataFrame, well: str, tile: int) -> np.ndarray:
        row = tiles[(tiles["well"] == well) & (tiles["tile"] == tile)]
        if row.empty:
            raise InputError(f"no tile {tile} in well {well}", expected=f"{len(tiles)} tiles")
        return row[["y", "x"]].to_numpy()[0]

    def _phenotype_frame(self, well: str, tile: int) -> np.ndarray:
        """The matrix (2 x 3) from px of a phenotype tile to the well's plane."""
        corner = self._corner(self.phenotype_tiles, well, tile)
        turn = np.deg2rad(self.phenotype_angle)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / self.magnification
        return np.column_stack([matrix, matrix @ corner])

    def _effect_of_cells(self, well: str) -> np.ndarray:
        cells = self.cells[self.cells["well"] == well]
        found = self.effects.reindex(cells["gene_0"]).fillna(0.0).to_numpy()
        return np.where(cells["gene_0"].isna().to_numpy()[:, None], 0.0, found)

    def _painted(self, well: str, world: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cells, shape = self._wells[well], (self.tile_size, self.tile_size)
        near = cells.near(world, self.tile_size, 40.0)
        labels, _, _ = _paint(cells.cell_shapes(near), world, shape)
        nuclei, _, _ = _paint(cells.nucleus_shapes(near), world, shape)
        nuclei = np.where(nuclei == labels, nuclei, 0)
        numbers = np.concatenate([[0], near])
        labels, nuclei = numbers[labels], numbers[nuclei]
        return nuclei, labels, np.unique(labels[labels > 0])

    def _labels(self, well: str, tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        corner = self._corner(self.tiles, well, tile)
        return self._painted(well, np.column_stack([np.eye(2), corner]))

    def _sequence(self, well: str, tile: int, aligned: bool) -> np.ndarray:
        import cv2

        physics, cells = self.physics, self._wells[well]
        size, margin = self.tile_size, _MARGIN
        corner = self._corner(self.tiles, well, tile)
        wide = size + 2 * margin
        world = np.column_stack([np.eye(2), corner - margin])
        dapi, static = self._static(well, world, wide)
        spots = self.spots[self.spots["well"] == well]
        at = spots[["y", "x"]].to_numpy() - corner
        inside = ((at > -margin) & (at < size + margin)).all(axis=1)
        at, number = at[inside], np.flatnonzero(inside)
        guide = cells.spot_guide[number]
        amplitude = spots["amplitude"].to_numpy()[number]
        light = self._illumination(size, 5)
        jitter = self._rng("jitter", well)  # of the well, so that two tiles see the same spot
        jitters = np.exp(physics.amplitude_jitter * jitter.standard_normal((self.n_cycles, len(spots))))
        rng = self._rng("aligned" if aligned else "taken", well, tile)
        moves = self.cycles[(self.cycles["well"] == well) & (self.cycles["tile"] == tile)]
        moves = moves[["dy", "dx", "degrees", "scale"]].to_numpy()
        images = np.empty((self.n_cycles, 5, size, size), np.uint16)
        centre = (size - 1) / 2
        for t in range(self.n_cycles):
            dy, dx, degrees, scale = (0.0, 0.0, 0.0, 1.0) if aligned else moves[t]
            turn = np.deg2rad(degrees)
            matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            moved = (at - centre) @ matrix.T + centre + (dy, dx)
            apart = np.zeros((5, 2)) if aligned else self.chemistry["chromatic"]
            planes = np.empty((5, size, size), np.float32)
            drift = self.chemistry["haze"][t]
            for c, plane in enumerate((dapi, *static)):
                shift = apart[c] + (dy, dx)
                # OpenCV asks where a pixel of the result lies in the source, x before y.
                back = np.linalg.inv(matrix)
                offset = back @ (-np.array([centre, centre]) - shift) + centre + margin
                inverse = np.array([[back[1, 1], back[1, 0], offset[1]], [back[0, 1], back[0, 0], offset[0]]])
                flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
                planes[c] = cv2.warpAffine(
                    plane, inverse, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE
                )
            planes[1:] *= drift[:, None, None]
            signal = self.chemistry["signal"][guide, t] * (amplitude * jitters[t, number])[:, None]
            signal = np.column_stack([np.zeros(len(signal)), signal]).astype(np.float32)
            halo = physics.psf_halo
            _add_spots(planes, moved[:, 0], moved[:, 1], signal, physics.psf_sigma, apart)
            if halo:
                weak = (signal * (halo / (1 - halo) / 2.6**2)).astype(np.float32)
                _add_spots(planes, moved[:, 0], moved[:, 1], weak, 2.6 * physics.psf_sigma, apart)
            planes += physics.floor
            images[t] = self._camera(planes * light, rng)
        return images

    def _static(self, well: str, world: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """What does not change over cycles, in counts above the floor: DAPI, and four base channels."""
        physics, cells = self.physics, self._wells[well]
        near = cells.near(world, size, 40.0)
        labels, _, depth = _paint(cells.cell_shapes(near), world, (size, size))
        nuclei, _, nucleus_depth = _paint(cells.nucleus_shapes(near), world, (size, size))
        at = _world_coordinates(world, (size, size))
        texture = _texture(self.seed, at)
        level = np.concatenate([[0.0], cells.brightness[near - 1]])
        dapi = level[nuclei] * np.minimum(1, 3 * nucleus_depth + 0.25) * 9500 * (1 + 0.2 * texture)
        dapi = _gaussian(dapi.astype(np.float32), 1.0)
        haze = np.concatenate([[0.0], cells.haze[near - 1]])[labels]
        haze = (
            haze * np.minimum(1, 2.5 * depth + 0.35) * np.clip(1 + physics.haze_texture * texture, 0.05, None)
        )
        haze *= np.where(nuclei > 0, 0.75, 1.0)
        haze = _gaussian(haze.astype(np.float32), 1.5)
        slope = physics.gradient * physics.haze * 0.5
        across = (at[0] - at[0].min()) / max(1, size) + 0.5 * (at[1] - at[1].min()) / max(1, size)
        base = haze + (slope * across).astype(np.float32)
        planes = base[None] * self.chemistry["haze_colour"][:, None, None].astype(np.float32)
        planes = np.ascontiguousarray(planes)
        where = _to_pixels(world, cells.debris[:, 0], cells.debris[:, 1])
        inside = (np.abs(where - size / 2) < size / 2 + 30).all(axis=0)
        for sigma in np.unique(cells.debris[:, 2]):
            some = inside & (cells.debris[:, 2] == sigma)
            _add_spots(
                planes,
                where[0][some],
                where[1][some],
                cells.debris[some, 3:].astype(np.float32),
                sigma,
                np.zeros((4, 2)),
            )
        return dapi, planes

    def _illumination(self, size: int, n: int) -> np.ndarray:
        along = np.linspace(-1, 1, size, dtype=np.float32)
        centre = self.chemistry["light"][:n]
        distance = (along[None, :, None] - centre[:, :1, None]) ** 2 + (
            along[None, None] - centre[:, 1:, None]
        ) ** 2
        return (1 - 0.5 * self.physics.vignette * distance).astype(np.float32)

    def _camera(self, planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Photon and read noise; above some 20 photons a Poisson number is as good as a normal one."""
        physics = self.physics
        spread = np.sqrt(physics.counts_per_photon * np.maximum(planes, 0) + physics.read_noise**2)
        noisy = planes + spread * rng.standard_normal(planes.shape, dtype=np.float32)
        return np.clip(np.rint(noisy), 0, 65535).astype(np.uint16)


def make_screen(
    preset: str = "easy",
    seed: int = 0,
    *,
    wells: Sequence[str] = ("A1",),
    tile_grid: tuple[int, int] = (2, 2),
    tile_size: int = 512,
    cycles: int = 9,
    n_barcodes: int = 600,
    library: pd.DataFrame | None = None,
    overlap: float = 0.1,
    magnification: float = 2.0,
    optics: str = "first",
    **physics: float,
) -> Screen:
    """Draw a screen.

    Parameters
    ----------
    preset : str
        One of `PRESETS`.
    seed : int
        Same arguments, same screen.
    wells : sequence of str
    tile_grid : tuple of int
        Rows and columns of tiles per well; tiles are numbered from 0, row by row.
    tile_size : int
        Side of a tile, px.
    cycles, n_barcodes : int
    library : DataFrame, optional
        As `make_library` makes it; drawn where absent.
    overlap : float
        Share of a tile's side that its neighbour sees, too.
    magnification : float
        Of the phenotype images against the sequencing images.
    optics : str
        ``first``; ``second``: a sharper spot with a halo, other gains and noise, more uneven spots;
        ``third``: a wide spot, many of them in some cells, a noisy camera.
    **physics : float
        Values of `Physics`, on top of the preset.

    Raises
    ------
    InputError
        For an unknown preset, optics or value of physics.
    """
    known = {one.name for one in fields(Physics)}
    if preset not in PRESETS or optics not in _OPTICS or set(physics) - known:
        raise InputError(
            f"no such screen: {preset}, optics {optics}, {', '.join(sorted(set(physics) - known))}",
            expected=f"{', '.join(PRESETS)}; {', '.join(_OPTICS)}; {', '.join(sorted(known))}",
        )
    chosen = replace(Physics(), **_OPTICS[optics])
    chosen = replace(chosen, **PRESETS[preset])
    chosen = replace(chosen, **physics)
    if library is None:
        library = make_library(n_barcodes, cycles, seed)
    pitch = tile_size * (1 - overlap)
    extent = (tile_grid[0] * pitch + tile_size - pitch, tile_grid[1] * pitch + tile_size - pitch)
    rng = np.random.default_rng([seed, 5])
    chemistry = _chemistry(chosen, library["sgRNA"], cycles, rng)
    drawn = {
        well: _Well.draw(chosen, extent, library, np.random.default_rng([seed, 7, k]))
        for k, well in enumerate(wells)
    }
    tiles, moves, phenotype = [], [], []
    angle = float(rng.uniform(0.5, 2.0))
    for well in wells:
        for tile in range(tile_grid[0] * tile_grid[1]):
            nominal = np.array(divmod(tile, tile_grid[1])) * pitch
            corner = nominal + np.rint(rng.normal(0, chosen.stage, 2))
            tiles.append((_PLATE, well, tile, *corner, *nominal))
            for cycle in range(1, cycles + 1):
                first = cycle == 1
                dy, dx = np.zeros(2) if first else np.clip(rng.normal(0, chosen.shift, 2), -18, 18)
                degrees = 0.0 if first else rng.normal(0, chosen.rotation)
                scale = 1.0 if first else 1 + rng.normal(0, chosen.scale)
                moves.append((_PLATE, well, tile, cycle, dy, dx, degrees, scale))
        rows, columns = (max(1, int(np.ceil(length * magnification / pitch - 0.25))) for length in extent)
        for tile in range(rows * columns):
            nominal = np.array(divmod(tile, columns)) * pitch
            corner = nominal + np.rint(rng.normal(0, chosen.stage, 2))
            phenotype.append((_PLATE, well, tile, *corner, *nominal))
    genes = pd.Index(library["gene"].unique())
    effects = np.where(rng.random((len(genes), 3)) < 0.12, rng.uniform(0.6, 1.4, (len(genes), 3)), 0.0)
    effects[genes == "nontargeting"] = 0
    names = ["plate", "well", "tile", "y", "x", "stage_y", "stage_x"]
    return Screen(
        preset, seed, chosen, tuple(wells), tuple(tile_grid), tile_size, cycles, magnification, angle,
        library,
        pd.concat([one.cell_table(well, library) for well, one in drawn.items()], ignore_index=True),
        pd.concat([one.spot_table(well) for well, one in drawn.items()], ignore_index=True),
        pd.DataFrame(tiles, columns=names),
        pd.DataFrame(moves, columns=["plate", "well", "tile", "cycle", "dy", "dx", "degrees", "scale"]),
        pd.DataFrame(phenotype, columns=names),
        chemistry,
        pd.DataFrame(effects, index=genes, columns=["tubulin", "foci", "actin"]),
        drawn,
    )  # fmt: skip


def write_screen(folder: Path | str, screen: Screen, *, phenotype: bool = True, truth: bool = True) -> Path:
    """Write a screen as a microscope would leave it.

    ``sbs/P-1_W-A1_T-0_C-1__image.tiff`` (CYX), ``phenotype/P-1_W-A1_T-0__image.tiff``, ``sbs_metadata.tsv``
    and ``phenotype_metadata.tsv`` (`plate, well, tile, y_pos, x_pos` of the stage and `pixel_size`, um),
    ``library.tsv``; with `truth`, ``truth/cells.tsv``, ``spots.tsv``, ``cells_of_tiles.tsv``, ``cycles.tsv``,
    ``effects.tsv`` and the labels ``truth/P-1_W-A1_T-0__nuclei.tiff`` and ``...__cells.tiff``.

    Parameters
    ----------
    folder : path
        Made where absent; files of the same names are replaced.
    screen : Screen
    phenotype, truth : bool
        Whether to write the phenotype images and the truth.

    Returns
    -------
    Path
        The folder.
    """
    import tifffile

    folder = Path(folder)
    for part in ("sbs", *(["phenotype"] if phenotype else []), *(["truth"] if truth else [])):
        (folder / part).mkdir(parents=True, exist_ok=True)
    screen.library.to_csv(folder / "library.tsv", sep="\t", index=False)
    for name, tiles, um in (
        ("sbs", screen.tiles, 1.3),
        *([("phenotype", screen.phenotype_tiles, 1.3 / screen.magnification)] if phenotype else []),
    ):
        stage = tiles[["plate", "well", "tile"]].copy()
        stage["y_pos"], stage["x_pos"], stage["pixel_size"] = tiles["stage_y"] * um, tiles["stage_x"] * um, um
        stage.to_csv(folder / f"{name}_metadata.tsv", sep="\t", index=False)
    tables = []
    for well, tile in screen.tiles[["well", "tile"]].itertuples(index=False):
        stem = f"P-{_PLATE}_W-{well}_T-{tile}"
        for cycle, image in enumerate(screen.sbs_tile(well, tile), 1):
            _write_tiff(tifffile, folder / "sbs" / f"{stem}_C-{cycle}__image.tiff", image)
        if truth:
            for name, labels in zip(("nuclei", "cells"), screen.label_tile(well, tile), strict=True):
                tifffile.imwrite(folder / "truth" / f"{stem}__{name}.tiff", labels, compression="zlib")
            tables.append(screen.cells_of_tile(well, tile))
    if phenotype:
        for well, tile in screen.phenotype_tiles[["well", "tile"]].itertuples(index=False):
            path = folder / "phenotype" / f"P-{_PLATE}_W-{well}_T-{tile}__image.tiff"
            _write_tiff(tifffile, path, screen.phenotype_tile(well, tile))
    if truth:
        for name, table in (
            ("cells", screen.cells),
            ("spots", screen.spots),
            ("cells_of_tiles", pd.concat(tables)),
            ("cycles", screen.cycles),
            ("effects", screen.effects.rename_axis("gene").reset_index()),
        ):
            table.to_csv(folder / "truth" / f"{name}.tsv", sep="\t", index=False, float_format="%.4f")
    return folder


def score_calls(cells: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """How right a table of called cells is, in percent of callable cells.

    Parameters
    ----------
    cells : DataFrame
        `tile, cell, cell_barcode_0` and optionally `cell_barcode_1`; a barcode that is None is not called.
        `cell` is the label within the tile.
    truth : DataFrame
        `Screen.cells_of_tile` of all tiles.

    Returns
    -------
    dict
        ``right`` (first barcode is one of the cell), ``wrong`` (first barcode is none of the cell),
        ``empty_called`` (in percent of cells without any barcode), ``both`` (in percent of cells in which two
        barcodes have spots: both found), ``n_callable``.
    """
    called = cells.set_index(["tile", "cell"])
    called = called.reindex(pd.MultiIndex.from_frame(truth[["tile", "label"]]))
    first = called["cell_barcode_0"].to_numpy(object)
    second = called.get("cell_barcode_1", pd.Series(None, called.index, object)).to_numpy(object)
    is_called = pd.notna(first)
    one, two = truth["barcode_0"].to_numpy(object), truth["barcode_1"].to_numpy(object)
    right = is_called & ((first == one) | (pd.notna(two) & (first == two)))
    able = truth["callable"].to_numpy()
    empty = pd.isna(one)
    double = able & (truth["n_spots_0"] > 0).to_numpy() & (truth["n_spots_1"] > 0).to_numpy()
    both = double & (((first == one) & (second == two)) | ((first == two) & (second == one)))
    share = lambda some, among: float(100 * some.sum() / max(1, among.sum()))  # noqa: E731
    return {
        "right": share(right & able, able),
        "wrong": share(is_called & ~right & able, able),
        "empty_called": share(is_called & empty, empty),
        "both": share(both, double),
        "n_callable": int(able.sum()),
    }


# ---------------------------------------------------------------------- what a well holds


@dataclass
class _Well:
    """Cells, spots and debris of a well, in its plane (px of the sequencing images)."""

    y: np.ndarray
    x: np.ndarray
    shape: np.ndarray  # n x 8: radius, then four amplitudes' and phases' worth of an outline
    nucleus: np.ndarray  # n x 10: y, x, radius, outline
    brightness: np.ndarray
    haze: np.ndarray
    guides: np.ndarray  # n x 2, -1 where there is none
    spots: np.ndarray  # cell, which, y, x, amplitude
    spot_guide: np.ndarray
    debris: np.ndarray  # y, x, sigma, amplitude in four channels

    @classmethod
    def draw(
        cls, physics: Physics, extent: tuple[float, float], library: pd.DataFrame, rng: np.random.Generator
    ) -> _Well:
        border = 40.0
        height, width = extent[0] + 2 * border, extent[1] + 2 * border
        area = height * width / 1e6
        wanted = max(1, round(physics.cells_per_megapixel * area))
        pitch = np.sqrt(height * width / wanted)
        candidates = rng.random((6 * wanted, 2)) * (height, width)
        # Clumps: places where a smooth field is low are taken less often.
        waves = rng.normal(0, 1 / 90.0, (5, 2))
        phases = rng.uniform(0, 2 * np.pi, 5)
        field_ = np.sin(candidates @ waves.T + phases).sum(axis=1) / np.sqrt(5)
        kept = rng.random(len(candidates)) < np.clip(
            1 / (1 + np.exp(-3 * physics.crowding * field_)), 0.02, 1
        )
        candidates = candidates[kept]
        apart = pitch * (0.78 - 0.3 * physics.crowding)
        chosen = _apart(candidates, apart, wanted, height, width)
        y, x = candidates[chosen].T - border
        n = len(y)
        shape = np.column_stack([physics.cell_radius * rng.lognormal(0, 0.12, n), _outlines(rng, n, 0.16)])
        inner = np.minimum(physics.nucleus_radius * rng.lognormal(0, 0.08, n), 0.62 * shape[:, 0])
        off = rng.normal(0, 0.08, (n, 2)) * shape[:, :1]
        nucleus = np.column_stack([y + off[:, 0], x + off[:, 1], inner, _outlines(rng, n, 0.10)])
        weight = library["abundance"].to_numpy() if "abundance" in library else np.ones(len(library))
        guides = rng.choice(len(library), (n, 2), p=weight / weight.sum())
        has = rng.random(n) < physics.with_barcode
        two = has & (rng.random(n) < physics.with_two_barcodes / max(physics.with_barcode, 1e-9))
        two &= guides[:, 0] != guides[:, 1]
        guides[~has, 0] = -1
        guides[~two, 1] = -1
        mean = physics.spots_per_cell * rng.gamma(
            physics.spots_dispersion, 1 / physics.spots_dispersion, (n, 2)
        )
        counts = rng.poisson(np.where(two[:, None], 0.65, 1.0) * mean) * (guides >= 0)
        owner = np.concatenate([np.repeat(np.arange(n), counts[:, k]) for k in (0, 1)])
        which = np.repeat([0, 1], [counts[:, 0].sum(), counts[:, 1].sum()])
        brightness, haze = rng.lognormal(0, 0.18, n), physics.haze * rng.lognormal(0, physics.haze_spread, n)
        own = cls(y, x, shape, nucleus, brightness, haze, guides,
                  np.empty((0, 5)), np.empty(0, int), np.empty((0, 7)))  # fmt: skip
        sy, sx = _place_spots(
            own.cell_shapes(np.arange(1, n + 1)), owner, _neighbours(y, x), rng.random((len(owner), 12, 2))
        )
        sy, sx = sy + rng.normal(0, physics.spill, len(owner)), sx + rng.normal(0, physics.spill, len(owner))
        amplitude = physics.amplitude * rng.lognormal(0, physics.amplitude_spread, len(owner))
        own.spots = np.column_stack([owner + 1, which, sy, sx, amplitude])
        own.spot_guide = guides[owner, which]
        pieces = rng.poisson(physics.debris_per_megapixel * area)
        own.debris = np.column_stack(
            [
                rng.uniform(-border, height - border, pieces),
                rng.uniform(-border, width - border, pieces),
                rng.choice([1.0, 1.4, 2.0, 3.5, 6.0], pieces, p=[0.2, 0.3, 0.2, 0.2, 0.1]),
                (physics.debris_amplitude * rng.lognormal(-0.5, 0.8, pieces))[:, None]
                * rng.lognormal(0, 0.6, (pieces, 4)),
            ]
        )
        return own

    def cell_shapes(self, numbers: np.ndarray) -> np.ndarray:
        some = np.asarray(numbers) - 1
        return np.column_stack([self.y[some], self.x[some], self.shape[some]])

    def nucleus_shapes(self, numbers: np.ndarray) -> np.ndarray:
        return self.nucleus[np.asarray(numbers) - 1]

    def near(self, world: np.ndarray, size: int, reach: float) -> np.ndarray:
        """Numbers (from 1) of the cells that may reach into a square of `size` px in a frame."""
        at = _to_pixels(world, self.y, self.x)
        zoom = 1 / np.sqrt(abs(np.linalg.det(world[:, :2])))
        return np.flatnonzero((np.abs(at - size / 2) < size / 2 + reach * zoom).all(axis=0)) + 1

    def cell_table(self, well: str, library: pd.DataFrame) -> pd.DataFrame:
        n = len(self.y)
        table = pd.DataFrame(
            {"plate": _PLATE, "well": well, "cell": np.arange(1, n + 1), "y": self.y, "x": self.x}
        )
        for k in (0, 1):
            has = self.guides[:, k] >= 0
            for column in ("barcode", "gene"):
                table[f"{column}_{k}"] = np.where(
                    has, library[column].to_numpy(object)[self.guides[:, k]], None
                )
            mine = self.spots[self.spots[:, 1] == k, 0].astype(int)
            table[f"n_spots_{k}"] = np.bincount(mine, minlength=n + 1)[1:]
        return table

    def spot_table(self, well: str) -> pd.DataFrame:
        table = pd.DataFrame(self.spots, columns=["cell", "which", "y", "x", "amplitude"])
        table = table.astype({"cell": int, "which": int})
        table.insert(0, "well", well)
        return table


def _chemistry(
    physics: Physics, guides: pd.Series, cycles: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Expected light of each guide per cycle and channel, and what the optics do to every tile."""
    order = np.array(["ACGT".index(base) for base in BASES])
    letters = np.array([["ACGT".index(letter) for letter in one] for one in guides])
    base = np.eye(4)[np.argsort(order)[letters]]  # guide, position, base in the order of the channels
    place = np.zeros((cycles, letters.shape[1] + 2))
    state = np.zeros(letters.shape[1] + 2)
    state[0] = 1 - physics.phasing - physics.prephasing
    state[1] = physics.prephasing
    for t in range(cycles):
        if t:
            moved = state * physics.phasing
            moved[1:] += state[:-1] * (1 - physics.phasing - physics.prephasing)
            moved[2:] += state[:-2] * physics.prephasing
            state = moved
        place[t] = state
    seen = np.einsum("tp,gpb->gtb", place[:, : letters.shape[1]], base)
    strong, weak = physics.crosstalk, physics.crosstalk / 4
    mix = np.array(
        [
            [1, strong, weak, weak],
            [strong * 0.5, 1, weak, weak],
            [weak, weak, 1, strong],
            [weak, weak, strong * 0.5, 1],
        ]
    )
    mixes = mix[None] * np.exp(0.05 * rng.standard_normal((cycles, 4, 4)))
    gains = np.array(physics.gains) * np.exp(physics.gain_spread * rng.standard_normal((cycles, 4)))
    gains *= physics.decay ** np.arange(cycles)[:, None]
    signal = np.einsum("tcb,gtb->gtc", mixes * gains[:, :, None], seen)
    return {
        "signal": signal,
        "mix": mixes,
        "gains": gains,
        "haze": np.exp(physics.haze_drift * rng.standard_normal((cycles, 4)))
        * 0.985 ** np.arange(cycles)[:, None],
        "haze_colour": np.exp(0.2 * rng.standard_normal(4)),
        "chromatic": np.vstack([np.zeros(2), rng.normal(0, physics.chromatic, (4, 2))]),
        "light": rng.uniform(-0.25, 0.25, (5, 2)),
    }


def _outlines(rng: np.random.Generator, n: int, wobble: float) -> np.ndarray:
    """Amplitudes and phases of the second, third and fourth harmonic of an outline."""
    amplitude = np.abs(rng.normal(0, wobble, (n, 3))) * (1.0, 0.5, 0.3)
    return np.column_stack([np.minimum(amplitude, 0.35), rng.uniform(0, 2 * np.pi, (n, 3))])


def _neighbours(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    at = np.column_stack([y, x])
    k = min(len(at), 9)
    return cKDTree(at).query(at, k=np.arange(1, k + 1))[1]


def _gaussian(plane: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(np.asarray(plane, np.float32), (0, 0), sigma)


def _texture(seed: int, at: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Structure of the cytoplasm anchored in the well's plane, mean 0 and standard deviation 1."""
    from scipy.ndimage import gaussian_filter

    grain = np.random.default_rng([seed, 3]).standard_normal((512, 512))
    grain = sum(gaussian_filter(grain, sigma, mode="wrap") * sigma for sigma in (1.2, 2.5, 6.0))
    grain = ((grain - grain.mean()) / grain.std()).astype(np.float32)
    return grain[np.floor(2 * at[0]).astype(int) % 512, np.floor(2 * at[1]).astype(int) % 512]


def _world_coordinates(world: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    i, j = np.indices(shape)
    return (
        world[0, 0] * i + world[0, 1] * j + world[0, 2],
        world[1, 0] * i + world[1, 1] * j + world[1, 2],
    )


def _to_pixels(world: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.linalg.inv(world[:, :2]) @ (np.stack([y, x]) - world[:, 2:])


def _renumbered(labels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    return np.where(labels > 0, np.searchsorted(shown, labels) + 1, 0).astype(np.int32)


def _write_tiff(tifffile, path: Path, image: np.ndarray) -> None:
    tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "CYX"})


# ---------------------------------------------------------------------- loops


@njit(cache=True)
def _ratio(shape, y, x):
    """Distance of a point from the centre of an outline, 1 on the outline."""
    dy, dx = y - shape[0], x - shape[1]
    turn = np.arctan2(dy, dx)
    reach = shape[2] * (
        1
        + shape[3] * np.cos(2 * turn + shape[6])
        + shape[4] * np.cos(3 * turn + shape[7])
        + shape[5] * np.cos(4 * turn + shape[8])
    )
    return np.sqrt(dy * dy + dx * dx) / reach


@njit(cache=True)
def _paint_kernel(shapes, world, inverse, zoom, owner, least):
    height, width = owner.shape
    for k in range(len(shapes)):
        dy, dx = shapes[k, 0] - world[0, 2], shapes[k, 1] - world[1, 2]
        ci = inverse[0, 0] * dy + inverse[0, 1] * dx
        cj = inverse[1, 0] * dy + inverse[1, 1] * dx
        reach = int(2.0 * shapes[k, 2] * zoom) + 2
        for i in range(max(0, int(ci) - reach), min(height, int(ci) + reach + 1)):
            for j in range(max(0, int(cj) - reach), min(width, int(cj) + reach + 1)):
                y = world[0, 0] * i + world[0, 1] * j + world[0, 2]
                x = world[1, 0] * i + world[1, 1] * j + world[1, 2]
                ratio = _ratio(shapes[k], y, x)
                if ratio < 1 and ratio < least[i, j]:
                    least[i, j] = ratio
                    owner[i, j] = k + 1


def _paint(
    shapes: np.ndarray, world: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which outline (from 1) owns each pixel, the ratio of its distance, and 1 - ratio."""
    owner, least = np.zeros(size, np.int32), np.full(size, 2.0, np.float32)
    inverse = np.linalg.inv(world[:, :2])
    _paint_kernel(shapes, world, inverse, float(np.sqrt(abs(np.linalg.det(inverse)))), owner, least)
    return owner, least, np.where(owner > 0, 1 - least, 0).astype(np.float32)


@njit(cache=True)
def _apart(candidates, apart, wanted, height, width):
    """The first candidates that keep a distance from all chosen before."""
    side = apart / np.sqrt(2.0)
    grid = np.full((int(height / side) + 1, int(width / side) + 1), -1)
    chosen = np.zeros(len(candidates), np.bool_)
    n = 0
    for k in range(len(candidates)):
        gi, gj = int(candidates[k, 0] / side), int(candidates[k, 1] / side)
        free = True
        for i in range(max(0, gi - 2), min(grid.shape[0], gi + 3)):
            for j in range(max(0, gj - 2), min(grid.shape[1], gj + 3)):
                other = grid[i, j]
                if other >= 0:
                    dy = candidates[k, 0] - candidates[other, 0]
                    dx = candidates[k, 1] - candidates[other, 1]
                    if dy * dy + dx * dx < apart * apart:
                        free = False
        if free:
            grid[gi, gj] = k
            chosen[k] = True
            n += 1
            if n == wanted:
                break
    return chosen


@njit(cache=True)
def _place_spots(shapes, owner, neighbours, draws):
    """A place within the outline of its cell that no neighbour owns."""
    y, x = np.empty(len(owner)), np.empty(len(owner))
    for s in range(len(owner)):
        k = owner[s]
        for attempt in range(draws.shape[1]):
            turn = 2 * np.pi * draws[s, attempt, 0]
            unit = _ratio(shapes[k], shapes[k, 0] + np.sin(turn), shapes[k, 1] + np.cos(turn))
            reach = 0.97 * np.sqrt(draws[s, attempt, 1]) / unit
            y[s] = shapes[k, 0] + reach * np.sin(turn)
            x[s] = shapes[k, 1] + reach * np.cos(turn)
            mine = _ratio(shapes[k], y[s], x[s])
            free = True
            for other in neighbours[k]:
                if other != k and _ratio(shapes[other], y[s], x[s]) < mine:
                    free = False
            if free:
                break
    return y, x


@njit(cache=True)
def _add_spots(planes, y, x, amplitude, sigma, apart):
    """Add round Gaussians of peak `amplitude[spot, channel]` at `y, x` + `apart[channel]`."""
    channels, height, width = planes.shape
    reach = int(np.ceil(4 * sigma))
    column = np.empty(2 * reach + 2)
    for c in range(channels):
        for s in range(len(y)):
            peak = amplitude[s, c]
            if peak == 0:
                continue
            cy, cx = y[s] + apart[c, 0], x[s] + apart[c, 1]
            top, left = int(np.floor(cy)) - reach, int(np.floor(cx)) - reach
            for b in range(2 * reach + 2):
                column[b] = np.exp(-0.5 * ((left + b - cx) / sigma) ** 2)
            for a in range(2 * reach + 2):
                i = top + a
                if i < 0 or i >= height:
                    continue
                row = peak * np.exp(-0.5 * ((i - cy) / sigma) ** 2)
                for b in range(2 * reach + 2):
                    j = left + b
                    if 0 <= j < width:
                        planes[c, i, j] += row * column[b]
