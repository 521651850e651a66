"""Every measurement of cells: name, formula in words, unit, source; and the page docs/screen-features.md.

Write the page again with ``python -m cytopipe.screen.features.catalogue > docs/screen-features.md``; a test
says whether it is current.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import Literal

__all__ = ["CATALOGUE", "Family", "Measurement", "columns", "features_page"]

Per = Literal["channel", "pair", "ordered pair", "object", "focus channel"]

_CELLPROFILER = "CellProfiler"
_SKIMAGE = "scikit-image, `regionprops`"
_HU = "Hu M.-K. (1962) Visual pattern recognition by moment invariants. IRE Trans. Inf. Theory 8(2):179-187."
_PFTAS = (
    "Hamilton N. A. et al. (2007) Fast automated cell phenotype image classification. BMC Bioinformatics "
    "8:110; without parameters: Coelho L. P. et al. (2010), as in mahotas."
)
_HARALICK = (
    "Haralick R. M., Shanmugam K., Dinstein I. (1973) Textural features for image classification. IEEE "
    "Trans. Syst. Man Cybern. SMC-3(6):610-621; conventions of mahotas."
)
_TEAGUE = (
    "Teague M. R. (1980) Image analysis via the general theory of moments. J. Opt. Soc. Am. 70(8):920-930."
)
_SINGAN = (
    "Singan V. R. et al. (2011) Dual channel rank-based intensity weighting for quantitative co-localization "
    "of microscopy images. BMC Bioinformatics 12:407."
)
_MANDERS = "Manders E. M. M., Verbeek F. J., Aten J. A. (1993) J. Microsc. 169(3):375-382."
_OTSU = "Otsu N. (1979) IEEE Trans. Syst. Man Cybern. 9(1):62-66."


@dataclass(frozen=True)
class Measurement:
    """One name of the table, or several that differ in a number.

    Parameters
    ----------
    names : str
        Pattern without compartment: ``{channel}_mean``, ``K_{first}_{second}``, ``hu_moments_{n}``.
    formula, unit : str
    numbers : sequence, optional
        What ``{n}`` stands for, in the order of the columns.
    dtype : str
        Of the column, where every object has a value.
    """

    names: str
    formula: str
    unit: str = "1"
    numbers: Sequence[object] = ("",)
    dtype: str = "float64"

    @property
    def expression(self) -> str:
        """A regular expression of its names, for any channels, numbers and distance of texture."""
        text = re.sub(
            r"haralick_\d+", r"haralick_\\d+", re.escape(self.names).replace(r"\{", "{").replace(r"\}", "}")
        )
        return re.sub(r"{(channel|first|second)}", ".+", text).replace("{n}", r"\w+")

    def each(self) -> Iterator[str]:
        """The patterns, with their numbers."""
        return (self.names.replace("{n}", str(number)) for number in self.numbers)


@dataclass(frozen=True)
class Family:
    """Measurements that one function makes, in the order of its result and of the columns."""

    name: str
    per: Per
    reference: str
    measurements: tuple[Measurement, ...] = field(default=())
    notes: str = ""


def _numbered(pattern: str, formula: str, unit: str = "1", count: int = 0) -> Measurement:
    return Measurement(pattern, formula, unit, tuple(range(count)))


def _haralick(distance: int) -> tuple[Measurement, ...]:
    formulas = (
        "angular second moment: sum of squared frequencies of pairs",
        "contrast: mean squared difference of levels",
        "correlation of the two levels of a pair; 1 where there is one level",
        "variance of levels",
        "inverse difference moment: mean of 1 / (1 + squared difference)",
        "mean of the sum of levels",
        "variance of the sum of levels",
        "entropy of the sum of levels, bits",
        "entropy of pairs, bits",
        "variance of the frequencies of differences 0 to the highest level",
        "entropy of the difference of levels, bits",
        "information measure of correlation 1",
        "information measure of correlation 2",
    )
    return tuple(
        Measurement(f"{{channel}}_haralick_{distance}_{n}", formula) for n, formula in enumerate(formulas)
    )


PLACE = Family(
    "Place",
    "object",
    _SKIMAGE,
    (
        Measurement("i", "row of the centroid in the image", "px"),
        Measurement("j", "column of the centroid in the image", "px"),
        Measurement(
            "bounds_{n}", "first row and column, last row and column plus one", "px", range(4), "int64"
        ),
    ),
    "Before all other columns, compartment by compartment.",
)
INTENSITY = Family(
    "Intensity",
    "channel",
    f"{_CELLPROFILER}, MeasureObjectIntensity",
    (
        Measurement("{channel}_int", "sum over the object's pixels", "counts", dtype="uint64"),
        Measurement("{channel}_mean", "mean", "counts"),
        Measurement("{channel}_std", "standard deviation, divided by n", "counts"),
        Measurement("{channel}_max", "largest value", "counts", dtype="uint16"),
        Measurement("{channel}_min", "smallest value", "counts", dtype="uint16"),
        Measurement("{channel}_int_edge", "sum over the rim", "counts"),
        Measurement("{channel}_mean_edge", "mean over the rim", "counts"),
        Measurement("{channel}_std_edge", "standard deviation over the rim", "counts"),
        Measurement("{channel}_max_edge", "largest value of the rim", "counts"),
        Measurement("{channel}_min_edge", "smallest value of the rim", "counts"),
        Measurement(
            "{channel}_mass_displacement", "distance from the centre of area to that of intensity", "px"
        ),
        Measurement("{channel}_lower_quartile", "25th percentile, linear between values", "counts"),
        Measurement("{channel}_median", "median", "counts"),
        Measurement("{channel}_mad", "median of distances to the median", "counts"),
        Measurement("{channel}_upper_quartile", "75th percentile", "counts"),
        Measurement("{channel}_center_mass_r", "row of the centre of intensity, within the box", "px"),
        Measurement("{channel}_center_mass_c", "column of the centre of intensity, within the box", "px"),
        Measurement(
            "{channel}_max_location_r",
            "row of the first brightest pixel, within the box",
            "px",
            dtype="int64",
        ),
        Measurement("{channel}_max_location_c", "its column, within the box", "px", dtype="int64"),
    ),
    "The rim are pixels with one of their eight neighbours outside the object; holes are inside. Centres of "
    "intensity are NaN where the channel is 0.",
)
RADIAL = Family(
    "Radial distribution",
    "channel",
    f"{_CELLPROFILER}, MeasureObjectIntensityDistribution",
    (
        _numbered("{channel}_frac_at_d_{n}", "share of the intensity in ring n", count=4),
        _numbered("{channel}_mean_frac_{n}", "that share over the ring's share of pixels", count=4),
        _numbered(
            "{channel}_radial_cv_{n}",
            "standard deviation over mean of the means of the ring's wedges",
            count=4,
        ),
    ),
    "The centre is the median of the pixels farthest from the outside; holes are inside. With d the distance "
    "to the centre and e that to the outside, d / (d + e) in four equal steps makes the rings, 0 innermost; "
    "eight wedges of 45 degrees divide them. NaN where a ring has no pixel, or the channel is 0.",
)
WEIGHTED_HU = Family(
    "Moments of intensity",
    "channel",
    _HU,
    (_numbered("{channel}_weighted_hu_moments_{n}", "Hu's invariant n + 1, pixels weighted", count=7),),
    "NaN where the channel is 0.",
)
PFTAS = Family(
    "Threshold adjacency statistics",
    "channel",
    _PFTAS,
    (
        _numbered(
            "{channel}_pftas_{n}",
            "9 b + k: of the pixels at 0 in binary image b, the share with k of 8 neighbours at 1; "
            "27 + 9 b + k: the same with 0 and 1 exchanged",
            count=54,
        ),
    ),
    "Of the box around the object, 0 outside the object. m and s are mean and standard deviation above "
    f"Otsu's threshold of the values above 0 ({_OTSU}). Binary images: m - s < v < m + s; v > m - s; v > m.",
)
CORRELATION = Family(
    "Correlation",
    "pair",
    _CELLPROFILER + ", MeasureColocalization",
    (Measurement("correlation_{first}_{second}", "Pearson's coefficient over pixels"),),
    "NaN where one channel is constant.",
)
SLOPE = Family(
    "Slope",
    "ordered pair",
    _CELLPROFILER + ", MeasureColocalization",
    (Measurement("lstsq_slope_{first}_{second}", "least-squares slope of the second over the first"),),
    "NaN where the first channel is constant.",
)
COLOCALIZATION = Family(
    "Colocalization",
    "pair",
    f"{_MANDERS} {_SINGAN}",
    (
        Measurement("overlap_{first}_{second}", "sum a b / sqrt(sum a^2 sum b^2)"),
        Measurement("K_{first}_{second}", "sum a b / sum a^2"),
        Measurement("K_{second}_{first}", "sum a b / sum b^2"),
        Measurement("manders_{first}_{second}", "share of a where b is above its Otsu threshold"),
        Measurement("manders_{second}_{first}", "share of b where a is above its Otsu threshold"),
        Measurement(
            "rwc_{first}_{second}", "Manders' share, each pixel weighted by 1 - |rank a - rank b| / R"
        ),
        Measurement("rwc_{second}_{first}", "the same for b"),
    ),
    "Ranks are dense, R is the larger number of ranks. NaN where one channel is 0.",
)
SHAPE = Family(
    "Size and shape",
    "object",
    f"{_SKIMAGE}; {_CELLPROFILER}, MeasureObjectSizeShape",
    (
        Measurement("area", "number of pixels", "px^2"),
        Measurement("perimeter", "length of the line through the centres of rim pixels (4-connected)", "px"),
        Measurement("convex_area", "pixels in the hull of the middles of all pixels' sides", "px^2"),
        Measurement("form_factor", "4 pi area / perimeter^2; NaN where the perimeter is 0"),
        Measurement("solidity", "area / convex area"),
        Measurement("extent", "area / area of the box"),
        Measurement("euler_number", "parts (8-connected) less holes", dtype="int64"),
        Measurement("centroid_r", "mean row, within the box", "px"),
        Measurement("centroid_c", "mean column, within the box", "px"),
        Measurement("eccentricity", "of the ellipse with the same second moments"),
        Measurement("major_axis", "its long axis", "px"),
        Measurement("minor_axis", "its short axis", "px"),
        Measurement("orientation", "angle of the long axis to the rows' direction; -pi/4 for a disk", "rad"),
        Measurement("compactness", "2 pi (second moments of rows + columns) / area^2"),
    ),
)
RADIUS = Family(
    "Radius",
    "object",
    f"{_CELLPROFILER}, MeasureObjectSizeShape",
    (
        Measurement("max_radius", "largest distance to the outside", "px"),
        Measurement("median_radius", "median over pixels, holes included", "px"),
        Measurement("mean_radius", "mean over pixels, holes included", "px"),
    ),
)
FERET = Family(
    "Feret diameters",
    "object",
    f"{_CELLPROFILER}, MeasureObjectSizeShape",
    (
        Measurement("min_feret_diameter", "smallest width of the hull of pixel centres", "px"),
        Measurement("max_feret_diameter", "largest distance of two pixel centres", "px"),
        Measurement("min_feret_{n}", "middle of the hull's edge, in the image", "px", ("r0", "c0")),
        Measurement("min_feret_{n}", "corner across, in the image", "px", ("r1", "c1")),
        Measurement("max_feret_{n}", "the two pixels, in the image", "px", ("r0", "c0", "r1", "c1")),
    ),
    "NaN where all pixels lie on one line.",
)
HU = Family(
    "Moments of the shape", "object", _HU, (_numbered("hu_moments_{n}", "Hu's invariant n + 1", count=7),)
)
ZERNIKE = Family(
    "Zernike moments",
    "object",
    _TEAGUE,
    (
        Measurement(
            "zernike_{n}",
            "magnitude at radial degree and azimuthal order; pixels weigh 1 / n",
            numbers=tuple(f"{n}_{m}" for n in range(10) for m in range(n % 2, n + 1, 2)),
        ),
    ),
    "Within the smallest circle around the pixel centres, its diameter rounded up. NaN where all pixels lie "
    "on one line.",
)
FOCI = Family(
    "Foci",
    "focus channel",
    "White top-hat, Laplacian of Gaussian and watershed, as in `find_foci`",
    (
        Measurement("{channel}_foci_count", "foci that reach into the cell", dtype="int64"),
        Measurement("{channel}_foci_area", "their pixels within it", "px^2", dtype="int64"),
    ),
    "Of cells, in the channels named in `foci_channels`; of nuclei where no cells are given.",
)
NEIGHBOURS = Family(
    "Neighbours",
    "object",
    f"{_CELLPROFILER}, MeasureObjectNeighbors",
    (
        Measurement("number_neighbors_1", "other objects that share a pixel's side", dtype="int64"),
        Measurement("percent_touching_1", "share of the rim with another object among its eight neighbours"),
    ),
)
NEAREST = Family(
    "Nearest centres",
    "object",
    f"{_CELLPROFILER}, MeasureObjectNeighbors; by centres, at any distance",
    (
        Measurement("first_neighbor_distance", "distance to the nearest centre", "px"),
        Measurement("second_neighbor_distance", "distance to the second nearest centre", "px"),
        Measurement("angle_between_neighbors", "angle between the two", "degrees"),
    ),
    "NaN where there are fewer other objects.",
)


def haralick_family(distance: int = 5) -> Family:
    """Haralick's features of pairs at that distance."""
    return Family(
        "Haralick texture",
        "channel",
        _HARALICK,
        _haralick(distance),
        "Values become 256 grey levels, 0 to `texture_ceiling`; pairs with level 0 or outside the object are "
        "left out; mean of rows, columns and both diagonals. NaN where a direction has no pair: the object "
        "is small, or dark under this ceiling.",
    )


def families(texture_distance: int = 5) -> tuple[Family, ...]:
    """Families of a compartment in the order of the columns; foci and neighbours come last."""
    by_channel = (INTENSITY, RADIAL, WEIGHTED_HU, PFTAS, haralick_family(texture_distance))
    by_pair = (CORRELATION, SLOPE, COLOCALIZATION)
    return (PLACE, *by_channel, *by_pair, SHAPE, RADIUS, FERET, HU, ZERNIKE, FOCI, NEIGHBOURS, NEAREST)


CATALOGUE = families()


def columns(family: Family, channel_names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name, without compartment, and dtype of every column of a family, measurement by measurement."""
    for measurement in family.measurements:
        for pattern in measurement.each():
            for names in _fillings(family.per, channel_names):
                yield pattern.format(**names), measurement.dtype


def _fillings(per: Per, channel_names: Sequence[str]) -> Iterator[dict[str, str]]:
    if per == "object":
        yield {}
    elif per in ("channel", "focus channel"):
        yield from ({"channel": name} for name in channel_names)
    else:
        pairs = combinations(channel_names, 2) if per == "pair" else permutations(channel_names, 2)
        yield from ({"first": first, "second": second} for first, second in pairs)


_HEAD = """\
# Measurements of cells

What the table of a phenotype holds, one row per cell. This page is made from the catalogue:
`python -m cytopipe.screen.features.catalogue`.

Columns are `label`, `plate`, `well`, `tile`, then the measurements below for each of `nucleus`, `cell` and
`cytoplasm`, with the compartment before the name: `cell_DAPI_mean`. `{channel}` is every channel; `{first}`
and `{second}` are every pair of channels in their order, or in both orders where it says *ordered pair*.
Undefined values are NaN. Unit 1 is a plain number.

Intensities are the image's counts: nothing is scaled. The box of an object is the smallest rectangle around
it. An object need not be in one piece.
"""

_TAIL = """\
## Where this differs from the reference

Names and values are those of Brieflow's CellProfiler emulator, to 1e-6, except for the faults below; each is
shown in `cytopipe_tests/screen/test_features.py`. `parity: true`, and `extract_phenotype_cp_emulator`, follow
the first four.

| measurement | the reference | here |
|---|---|---|
| `haralick` | takes values as grey levels while all of an object are below 256, and divides them by 256 \
otherwise: one bright pixel changes everything | one scale for all objects, `texture_ceiling` |
| `min_feret` | misses edges whose farthest corner is the last one asked: too wide, NaN for triangles | \
all edges |
| `lstsq_slope` | a slope over a constant channel | NaN |
| `max_location` | corner of the box where the channel is 0 | first pixel of the object |
| `correlation` | no channels in the name where there are two | always named |
| `zernike` | rounding of a circle whose diameter is a whole number moves its radius by half a pixel, \
depending on the place in the image | exact |
| `angle_between_neighbors` | NaN by rounding where three centres lie on one line | 0 or 180 |
| a tile without nuclei | two columns | all columns |

In pycytominer, use `cytopipe.screen.features.as_profiles(table)`: `Nuclei_`, `Cells_`, `Cytoplasm_` before
measurements, `Metadata_` before everything else.
"""


def features_page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for family in CATALOGUE:
        rows = ["| name | is | unit |", "|---|---|---|"]
        for one in family.measurements:
            name = f"`{one.names}`"
            if len(one.numbers) > 1:
                name += f", n = {one.numbers[0]} to {one.numbers[-1]}"
            rows.append(f"| {name} | {one.formula.replace('|', chr(92) + '|')} | {one.unit} |")
        notes = f"\n{family.notes}\n" if family.notes else ""
        parts.append(
            f"## {family.name}\n\nPer {family.per}. {family.reference}\n{notes}\n" + "\n".join(rows) + "\n"
        )
    return "\n".join([*parts, _TAIL])


if __name__ == "__main__":
    print(features_page(), end="")
