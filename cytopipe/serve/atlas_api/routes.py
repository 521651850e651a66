"""Which request gets which answer.

Names in paths are of a small alphabet, lists come in pages of at most 1,000 items, and every route is a
GET. The functions are the documentation: FastAPI makes the OpenAPI document of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request

from cytopipe import __version__
from cytopipe.atlas import reading
from cytopipe.atlas.catalogue import Catalogue
from cytopipe.serve.atlas_api import models
from cytopipe.serve.atlas_api.problems import PROBLEM_RESPONSES

__all__ = ["router"]

MAX_ITEMS, MAX_OFFSET = 1000, 10_000_000

router = APIRouter(prefix="/api/v1", responses=PROBLEM_RESPONSES)

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_LABEL = r"^[^\x00-\x1f\x7f]{1,200}$"
AtlasName = Annotated[str, Path(pattern=_NAME, description="Atlas.", examples=["cima"])]
LevelName = Annotated[str, Path(pattern=_NAME, description="Annotation level.", examples=["l1"])]
SignatureName = Annotated[str, Path(pattern=_NAME, description="Signature.", examples=["cytosig"])]
Granularity = Annotated[
    Literal["coarse", "fine"], Path(description="8 lineages or 32 fine types.", examples=["coarse"])
]


class Window:
    """The part of a list that was asked for."""

    def __init__(
        self,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MAX_ITEMS, description="Most items of a page.")] = 100,
        offset: Annotated[int, Query(ge=0, le=MAX_OFFSET, description="Items to leave out.")] = 0,
    ) -> None:
        self.url, self.limit, self.offset = request.url, limit, offset

    def page(self, items: Sequence, total: int | None = None) -> dict:
        """A page of `items`; with `total`, `items` are the page already."""
        if total is None:
            total, items = len(items), items[self.offset : self.offset + self.limit]
        end = self.offset + self.limit
        following = self.url.include_query_params(offset=end, limit=self.limit)
        more = end < total and end <= MAX_OFFSET
        return {
            "items": list(items),
            "total": total,
            "limit": self.limit,
            "offset": self.offset,
            "next": f"{following.path}?{following.query}" if more else None,
        }


def _catalogue(request: Request) -> Catalogue:
    return request.app.state.catalogue


Results = Annotated[Catalogue, Depends(_catalogue)]
Asked = Annotated[Window, Depends(Window)]


@router.get("", tags=["service"])
def service() -> models.Service:
    """What answers here."""
    return models.Service(name="cytopipe atlas", version=__version__, openapi="/openapi.json")


@router.get("/atlases", tags=["atlases"])
def list_atlases(results: Results, window: Asked) -> models.Page[models.Atlas]:
    """Atlases with results, and their levels."""
    return window.page(reading.atlases(results))


@router.get("/atlases/{atlas}/levels", tags=["atlases"])
def list_levels(results: Results, window: Asked, atlas: AtlasName) -> models.Page[models.Level]:
    """Annotation levels of an atlas, their sizes, and the signatures inferred for them."""
    page = window.page(results.require_atlas(atlas))
    return page | {"items": reading.levels(results, atlas, page["items"])}


@router.get("/atlases/{atlas}/levels/{level}/groups", tags=["atlases"])
def list_groups(
    results: Results, window: Asked, atlas: AtlasName, level: LevelName
) -> models.Page[models.Group]:
    """Cell types of a level."""
    return window.page(reading.groups(results, atlas, level))


@router.get("/atlases/{atlas}/levels/{level}/genes", tags=["pseudobulk"])
def list_genes(
    results: Results,
    window: Asked,
    atlas: AtlasName,
    level: LevelName,
    prefix: Annotated[str, Query(max_length=100, description="Begin with this.", examples=["IL"])] = "",
) -> models.Page[str]:
    """Genes of a level, in order of name."""
    return window.page(reading.gene_names(results, atlas, level, prefix))


@router.get("/atlases/{atlas}/levels/{level}/pseudobulk/{gene}", tags=["pseudobulk"])
def read_gene(
    results: Results,
    window: Asked,
    atlas: AtlasName,
    level: LevelName,
    gene: Annotated[str, Path(pattern=_LABEL, description="Gene symbol.", examples=["IFNG"])],
) -> models.Page[models.GeneProfile]:
    """Expression of one gene in every group."""
    return window.page(reading.gene_profile(results, atlas, level, gene))


@router.get("/atlases/{atlas}/levels/{level}/activity/{signature}", tags=["activity"])
def read_activity(
    results: Results,
    window: Asked,
    atlas: AtlasName,
    level: LevelName,
    signature: SignatureName,
    target: Annotated[str | None, Query(pattern=_LABEL, description="This target only.")] = None,
    cell_type: Annotated[str | None, Query(pattern=_LABEL, description="This group only.")] = None,
) -> models.Page[models.Activity]:
    """Activity of a signature's targets in every group."""
    items, total = reading.activities(
        results,
        atlas,
        level,
        signature,
        target,
        cell_type,
        window.offset,
        window.offset + window.limit,
    )
    return window.page(items, total)


@router.get("/atlases/{atlas}/levels/{level}/expression/{signature}", tags=["validation"])
def read_expression(
    results: Results, window: Asked, atlas: AtlasName, level: LevelName, signature: SignatureName
) -> models.Page[models.ExpressionCorrelation]:
    """Per target, how its activity follows the expression of its own gene over groups."""
    return window.page(reading.expression_rows(results, atlas, level, signature))


@router.get("/atlases/{atlas}/levels/{level}/scatter/{signature}", tags=["validation"])
def read_scatter(
    results: Results,
    window: Asked,
    atlas: AtlasName,
    level: LevelName,
    signature: SignatureName,
    target: Annotated[str, Query(pattern=_LABEL, description="Target.", examples=["IFNG"])],
) -> models.Scatter:
    """Expression against activity of one target, with intervals over resamples, rho and its interval."""
    correlation, points = reading.scatter(results, atlas, level, signature, target)
    return {"correlation": correlation, "points": window.page(points)}


@router.get("/atlases/{atlas}/levels/{level}/quality/{signature}", tags=["validation"])
def read_quality(
    results: Results, atlas: AtlasName, level: LevelName, signature: SignatureName
) -> models.QualityReport:
    """How far the activities of a level can be trusted."""
    return reading.quality_report(results, atlas, level, signature)


@router.get("/cross-atlas", tags=["cross-atlas"])
def list_comparisons(results: Results, window: Asked) -> models.Page[models.Comparison]:
    """Comparisons across atlases that were made."""
    return window.page(
        [{"signature": name, "granularity": granularity} for name, granularity in results.comparisons()]
    )


@router.get("/cross-atlas/{signature}/{granularity}/pairs", tags=["cross-atlas"])
def read_pairs(
    results: Results, window: Asked, signature: SignatureName, granularity: Granularity
) -> models.Page[models.Pair]:
    """Overall agreement of each pair of atlases."""
    return window.page(reading.comparison_rows(results, signature, granularity, "pairs"))


@router.get("/cross-atlas/{signature}/{granularity}/correlations", tags=["cross-atlas"])
def read_correlations(
    results: Results,
    window: Asked,
    signature: SignatureName,
    granularity: Granularity,
    target: Annotated[str | None, Query(pattern=_LABEL, description="This target only.")] = None,
) -> models.Page[models.Correlation]:
    """Agreement of each pair of atlases on each target."""
    rows = reading.comparison_rows(results, signature, granularity, "targets")
    return window.page([row for row in rows if target in (None, row["target"])])


@router.get("/cross-atlas/{signature}/{granularity}/conserved", tags=["cross-atlas"])
def read_conserved(
    results: Results,
    window: Asked,
    signature: SignatureName,
    granularity: Granularity,
    conservation: Annotated[
        models.ConservationClass | None, Query(description="This class only.", examples=["highly_conserved"])
    ] = None,
) -> models.Page[models.Conserved]:
    """Which targets are conserved over atlases."""
    rows = reading.comparison_rows(results, signature, granularity, "conserved")
    return window.page([row for row in rows if conservation in (None, row["conservation"])])


@router.get("/cross-atlas/{signature}/{granularity}/consistency", tags=["cross-atlas"])
def read_consistency(
    results: Results, window: Asked, signature: SignatureName, granularity: Granularity
) -> models.Page[models.Consistency]:
    """How consistent each target is over atlases."""
    return window.page(reading.comparison_rows(results, signature, granularity, "consistency"))


@router.get("/cross-atlas/{signature}/{granularity}/meta-analysis", tags=["cross-atlas"])
def read_meta(
    results: Results, window: Asked, signature: SignatureName, granularity: Granularity
) -> models.Page[models.Meta]:
    """Expression-activity correlations pooled over atlases."""
    return window.page(reading.comparison_rows(results, signature, granularity, "meta"))
