"""The parameters of the heat map, one class per stage."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cytopipe.parameters import ParameterSet, contradiction
from cytopipe.units import Fraction

__all__ = ["FlowSOMSettings", "HeatmapSettings", "ReadingSettings", "RenderSettings", "TransformSettings"]


class ReadingSettings(ParameterSet):
    """How the files of cells are read."""

    format: Literal["auto", "fcs", "csv", "parquet", "h5ad", "mcmicro", "ark", "steinbock"] = "auto"
    """What the files are; auto finds out by their content."""

    columns: Annotated[list[str], Field(min_length=1)] | None = None
    """Markers or channels that are read, in this order; none: all measured markers, without time, scatter,
    DNA and barcodes."""

    compensate: bool = True
    """Whether the matrix of spillover in an FCS file is used."""

    layer: str = ""
    """Layer of an h5ad that holds the values; empty: X."""

    metadata: list[str] = Field(default_factory=list)
    """Columns of a table that are properties of cells and no markers, whatever they hold."""

    missing: Literal["error", "drop"] = "error"
    """What is done where a marker has no value in a cell. error: nothing is read, and the cells are told.
    drop: the cell is left out, and how many were is told. A text or an infinite value is an error always."""


class TransformSettings(ParameterSet):
    """How measured intensities become values on which distances mean something."""

    method: Literal["arcsinh", "logicle", "log", "none"] = "arcsinh"
    """arcsinh: arcsinh(x / cofactor). logicle: the biexponential scale of flow cytometry. log: log10(1 + x),
    with values below 0 taken as 0. none: as measured."""

    cofactor: Annotated[float, Field(gt=0)] = 5.0
    """Divisor under arcsinh: 5 for mass cytometry, about 150 for fluorescence (intensity units)."""

    logicle_t: Annotated[float, Field(gt=0)] = Field(
        default=262144.0,
        json_schema_extra={"reference": "Moore & Parks 2012, doi:10.1002/cyto.a.22030"},
    )
    """Top of the scale under logicle (intensity units)."""

    logicle_w: Annotated[float, Field(ge=0)] = 0.5
    """Width of the linear part around 0 under logicle (decades)."""

    logicle_m: Annotated[float, Field(gt=0)] = 4.5
    """Width of the whole scale under logicle (decades)."""

    logicle_a: Annotated[float, Field(ge=0)] = 0.0
    """Additional decades below 0 under logicle."""

    scale: Literal["none", "zscore", "quantile"] = "none"
    """What is done to each marker after the transform. zscore: mean 0 and standard deviation 1. quantile:
    divided by its 0.999 quantile, as imaging pipelines do."""

    @model_validator(mode="after")
    def _logicle_parts_fit(self) -> Self:
        if self.method == "logicle" and self.logicle_w > self.logicle_m / 2:
            raise contradiction(
                "logicle_w is more than half of logicle_m",
                "logicle_w",
                expected=f"at most {self.logicle_m / 2:g}",
                found=f"{self.logicle_w:g}",
                next="Lower logicle_w, or raise logicle_m.",
            )
        if self.method == "logicle" and self.logicle_a > self.logicle_m - 2 * self.logicle_w:
            raise contradiction(
                "logicle_a is more than logicle_m - 2 x logicle_w",
                "logicle_a",
                expected=f"at most {self.logicle_m - 2 * self.logicle_w:g}",
                found=f"{self.logicle_a:g}",
                next="Lower logicle_a, or raise logicle_m.",
            )
        return self


class FlowSOMSettings(ParameterSet):
    """How cells are clustered: a self-organising map, then metaclusters of its nodes."""

    x_dim: Annotated[int, Field(ge=1, le=100)] = 10
    """Nodes of the grid in x."""

    y_dim: Annotated[int, Field(ge=1, le=100)] = 10
    """Nodes of the grid in y."""

    n_metaclusters: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Metaclusters; at most the number of nodes."""

    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 42
    """Decides the first codes, the order of the cells and the resamples of the consensus."""

    rlen: Annotated[int, Field(ge=1, le=1000)] = 10
    """Times that the training goes over the cells."""

    alpha_start: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Learning rate at the beginning; it falls linearly."""

    alpha_end: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Learning rate at the end."""

    training: Literal["online", "batch"] = "online"
    """online: cell by cell, as FlowSOM does. batch: ten maps on tenths of the cells, joined by medians after
    every round, as the batch estimator of the Python package does."""

    precision: Literal["reference", "float32"] = "reference"
    """reference: codes in the type of the values and distances in float64, which gives the codes and labels
    of the Python package `flowsom`. float32: everything in float32, which is faster and agrees as well with
    known labels."""

    train_cells: Annotated[int, Field(ge=1)] | None = None
    """Cells that the map is trained on, sampled at random; the others are mapped onto it. none: all cells."""

    metaclustering: Literal["consensus", "average"] = "consensus"
    """consensus: nodes that stay together over resamples. average: average linkage of the codes, which is
    what the Python package `flowsom` computes."""

    n_resamples: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Resamples of the consensus."""

    resample_fraction: Annotated[Fraction, Field(gt=0)] = 0.9
    """Share of the nodes in a resample of the consensus."""

    min_node_share: Fraction = 0.1
    """Nodes with fewer cells than this share of the average node take no part in the consensus and follow the
    nearest node that does; 0: all nodes that have a cell take part (fraction)."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.n_metaclusters > self.x_dim * self.y_dim:
            raise contradiction(
                "n_metaclusters is more than the nodes of the grid",
                "n_metaclusters",
                expected=f"at most {self.x_dim} x {self.y_dim} = {self.x_dim * self.y_dim}",
                found=str(self.n_metaclusters),
                next="Lower n_metaclusters, or make the grid larger.",
            )
        if self.alpha_end > self.alpha_start:
            raise contradiction(
                "alpha_end is above alpha_start",
                "alpha_end",
                expected=f"at most {self.alpha_start:g}",
                found=f"{self.alpha_end:g}",
                next="The learning rate falls: swap the two.",
            )
        return self


class HeatmapSettings(ParameterSet):
    """How medians of clusters become a heat map: z-scores, the tree, where it is cut."""

    across: Literal["clusters", "markers"] = "clusters"
    """Over what z-scores are taken. clusters: for each marker, over all clusters. markers: for each cluster,
    over all its markers."""

    method: Literal["single", "complete", "average", "ward"] = "average"
    """Linkage of the trees over clusters and over markers; ward needs euclidean."""

    metric: Literal["euclidean", "cityblock", "cosine", "correlation"] = "euclidean"
    """Distance between rows of z-scores."""

    cut: Annotated[float, Field(ge=0)] | None = None
    """Height at which the tree over clusters is cut into metaclusters. none: half way between its lowest and
    its highest merge."""

    linkage_markers: Annotated[list[str], Field(min_length=1)] | None = None
    """Markers by whose z-scores the tree over clusters is built; none: those that cells are clustered by. All
    others are displayed only."""

    marker_order: Literal["tree", "given"] = "tree"
    """How markers are ordered. tree: as the leaves of their tree. given: as they were named."""

    @model_validator(mode="after")
    def _ward_is_euclidean(self) -> Self:
        if self.method == "ward" and self.metric != "euclidean":
            raise contradiction(
                "ward linkage needs euclidean distances",
                "metric",
                expected="euclidean",
                found=self.metric,
                next="Choose euclidean, or the linkage average or complete.",
            )
        return self


class RenderSettings(ParameterSet):
    """How a heat map is drawn."""

    z_limit: Annotated[float, Field(gt=0, le=100)] = 3.0
    """z-score (standard deviations) at which colours end, on both sides of 0."""

    palette: Literal["vlag", "viridis", "magma", "cividis"] = "vlag"
    """Colours of z-scores. vlag: blue, white, red; the others run from low to high."""

    dendrograms: bool = True
    """Whether trees are drawn beside clusters and markers, where the checkpoint has them."""

    side_bars: bool = True
    """Whether metacluster, revision and number of cells of each cluster are drawn beside it."""

    cluster_labels: bool = True
    """Whether clusters are named. A heat map of many clusters becomes longer, so that names can be read."""

    legend: bool = True
    """Whether names and colours of metaclusters are listed."""
