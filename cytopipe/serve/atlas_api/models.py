"""What the answers look like: one model per kind of value, with an example of each field.

A number that is not defined (a constant profile has no correlation) is null. Values are in the units of
the files: expression in log1p(CPM), activity as z.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Activity",
    "Atlas",
    "Comparison",
    "Conserved",
    "Consistency",
    "Correlation",
    "ExpressionCorrelation",
    "GeneProfile",
    "Group",
    "Level",
    "Meta",
    "Page",
    "Pair",
    "Problem",
    "QualityReport",
    "Scatter",
    "ScatterPoint",
    "Service",
]

Item = TypeVar("Item")


def _example(value: object, text: str = "") -> object:
    return Field(description=text or None, examples=[value])


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


Number = float | None


class Page(_Model, Generic[Item]):
    """A bounded part of a longer list."""

    items: list[Item]
    total: Annotated[int, _example(43, "Items in the whole list.")]
    limit: Annotated[int, _example(100, "Most items a page may hold.")]
    offset: Annotated[int, _example(0, "Items before this page.")]
    next: Annotated[str | None, _example(None, "Where the next page is; null on the last.")]


class Problem(BaseModel):
    """What went wrong, as RFC 9457 says it."""

    type: Annotated[str, _example("about:blank")]
    title: Annotated[str, _example("Not Found")]
    status: Annotated[int, _example(404)]
    detail: Annotated[str, _example("no results of atlas zz; found cima, inflammation_main")]
    instance: Annotated[str, _example("/api/v1/atlases/zz")]


class Service(_Model):
    """What answers."""

    name: Annotated[str, _example("cytopipe atlas")]
    version: Annotated[str, _example("0.1.0")]
    openapi: Annotated[str, _example("/openapi.json")]


class Atlas(_Model):
    """One atlas with results."""

    name: Annotated[str, _example("cima")]
    levels: Annotated[list[str], _example(["l1", "l2", "l3", "l4"])]


class Level(_Model):
    """One annotation level of an atlas."""

    name: Annotated[str, _example("l1")]
    n_groups: Annotated[int, _example(6)]
    n_genes: Annotated[int, _example(36326)]
    resampled: Annotated[bool, _example(True, "Whether bootstrap resamples are there.")]
    signatures: Annotated[list[str], _example(["cytosig", "secact"])]


class Group(_Model):
    """One cell type of a level."""

    cell_type: Annotated[str, _example("CD4_T")]
    n_cells: Annotated[int | None, _example(2_413_998)]


class GeneProfile(_Model):
    """One gene in one group."""

    cell_type: Annotated[str, _example("CD4_T")]
    log1p_cpm: Annotated[Number, _example(2.31)]
    counts: Annotated[Number, _example(51_220.0, "Raw counts summed over the cells of the group.")]
    zscore: Annotated[Number, _example(0.42, "In units of the atlas's single-cell standard deviation.")]
    se: Annotated[Number, _example(0.05, "Standard error of log1p_cpm.")]


class Activity(_Model):
    """One target in one group."""

    cell_type: Annotated[str, _example("NK")]
    target: Annotated[str, _example("IFNG")]
    z: Annotated[Number, _example(4.2)]
    beta: Annotated[Number, _example(0.0031)]
    se: Annotated[Number, _example(0.0007)]
    pvalue: Annotated[Number, _example(0.001)]
    fdr: Annotated[Number, _example(0.021)]


class ExpressionCorrelation(_Model):
    """Expression of a target's own gene against its activity, over the groups of a level."""

    target: Annotated[str, _example("TNFA")]
    genes: Annotated[list[str], _example(["TNF"])]
    n_groups: Annotated[int, _example(27)]
    rho: Annotated[Number, _example(0.61, "Spearman's rho.")]
    pvalue: Annotated[Number, _example(0.0007)]
    fdr: Annotated[Number, _example(0.004)]
    ci_low: Annotated[Number, _example(0.42, "2.5 % over resamples.")]
    ci_high: Annotated[Number, _example(0.73, "97.5 % over resamples.")]
    n_resamples: Annotated[int, _example(100)]


class ScatterPoint(_Model):
    """One group of a scatter, with intervals over resamples."""

    cell_type: Annotated[str, _example("Monocyte")]
    expression: Annotated[Number, _example(3.1)]
    expression_low: Annotated[Number, _example(2.9)]
    expression_high: Annotated[Number, _example(3.2)]
    activity: Annotated[Number, _example(5.0)]
    activity_low: Annotated[Number, _example(4.6)]
    activity_high: Annotated[Number, _example(5.3)]


class Scatter(_Model):
    """Expression against activity of one target: its correlation, and a page of its points."""

    correlation: ExpressionCorrelation
    points: Page[ScatterPoint]


class QualityReport(_Model):
    """How far the activities of a level can be trusted: five equal parts, each 0 to 1."""

    score: Annotated[float, _example(0.71)]
    sample_r2: Annotated[Number, _example(0.35)]
    cell_type_r: Annotated[Number, _example(0.55)]
    gene_coverage: Annotated[Number, _example(0.97)]
    cv_stability: Annotated[Number, _example(0.93)]
    biological_concordance: Annotated[Number, _example(0.75)]
    missing: Annotated[list[str], _example([], "Parts without data; they count as 0.")]


class Comparison(_Model):
    """One comparison of atlases."""

    signature: Annotated[str, _example("cytosig")]
    granularity: Annotated[Literal["coarse", "fine"], _example("coarse")]


class Pair(_Model):
    """Overall agreement of two atlases, over all shared types and targets."""

    atlas_a: Annotated[str, _example("cima")]
    atlas_b: Annotated[str, _example("scatlas_normal")]
    n_types: Annotated[int, _example(8)]
    n_targets: Annotated[int, _example(43)]
    pearson_r: Annotated[Number, _example(0.81)]
    spearman_rho: Annotated[Number, _example(0.79)]


class Correlation(_Model):
    """Agreement of two atlases on one target, over shared types."""

    target: Annotated[str, _example("IFNG")]
    atlas_a: Annotated[str, _example("cima")]
    atlas_b: Annotated[str, _example("scatlas_normal")]
    n_types: Annotated[int, _example(8)]
    rho: Annotated[Number, _example(0.9)]
    pvalue: Annotated[Number, _example(0.002)]


ConservationClass = Literal["highly_conserved", "moderately_conserved", "atlas_specific", "insufficient_data"]


class Conserved(_Model):
    """Whether a target behaves the same in several atlases."""

    target: Annotated[str, _example("IFNG")]
    n_pairs: Annotated[int, _example(3)]
    n_high: Annotated[int, _example(2, "Pairs with rho above 0.7.")]
    n_moderate: Annotated[int, _example(3, "Pairs with rho above 0.5.")]
    mean_rho: Annotated[Number, _example(0.78)]
    conservation: Annotated[ConservationClass, _example("highly_conserved")]


class Consistency(_Model):
    """0.4 max(0, mean r) + 0.3 (1 - min(CV, 1)) + 0.3 W of a target."""

    target: Annotated[str, _example("IFNG")]
    n_atlases: Annotated[int, _example(3)]
    n_types: Annotated[int, _example(7, "Types that all these atlases have.")]
    mean_r: Annotated[Number, _example(0.78)]
    cv: Annotated[Number, _example(0.3, "Of the mean activity over atlases.")]
    kendall_w: Annotated[Number, _example(0.85)]
    consistency: Annotated[Number, _example(0.78)]


class Meta(_Model):
    """Expression-activity correlation of a target, pooled over atlases by a random-effects model."""

    target: Annotated[str, _example("IFNG")]
    n: Annotated[int, _example(4, "Atlases pooled.")]
    atlases: Annotated[list[str], _example(["cima", "scatlas_normal"])]
    effect: Annotated[Number, _example(0.62, "Pooled rho.")]
    ci_low: Annotated[Number, _example(0.41)]
    ci_high: Annotated[Number, _example(0.77)]
    z: Annotated[Number, _example(5.1)]
    pvalue: Annotated[Number, _example(3e-7)]
    fdr: Annotated[Number, _example(2e-6)]
    q: Annotated[Number, _example(6.3, "Cochran's Q.")]
    q_pvalue: Annotated[Number, _example(0.1)]
    tau_squared: Annotated[Number, _example(0.02)]
    i_squared: Annotated[Number, _example(0.52, "0 to 1.")]
