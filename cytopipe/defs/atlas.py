"""Single cells to comparable profiles and activities: the assets of the atlas domain, in the order the
data flows.

    cells, recipe -> pseudobulk, resampled, sample_profiles -> quality
    pseudobulk, signatures, inference -> activity            \\
    resampled, signatures, inference  -> activity_resampled  -> validation
    activity and validation of all atlases, cell_types       -> cross_atlas

An entry of the project file is an atlas (``cima``). It has levels (``cima.L1``), and a level has the
signatures whose activity is inferred there (``cima.L1.cytosig``). All levels of an atlas are made in one pass
over its cells. Files lie where the plain commands put them, and hold the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cytopipe.atlas.catalogue import COMPARISON, PLACES, VALIDATION
from cytopipe.atlas.harmonise import Harmonisation
from cytopipe.atlas.settings import ActivitySettings
from cytopipe.defs.artifact import Described, Graph, Nothing, Work, artifact
from cytopipe.defs.atlas_checks import (
    COUNTS_CONSERVED,
    ESTIMATES_VALID,
    FOLLOWS_EXPRESSION,
    GENES_UNIQUE,
    GROUPS_COMPLETE,
    LABELS_PLACED,
    NO_NEGATIVE,
    RESAMPLES_COMPLETE,
    ROWS_OF_PROFILES,
    ROWS_OF_RESAMPLES,
    TYPES_SHARED,
)
from cytopipe.defs.atlas_sources import (
    ATLASES,
    CELL_TYPES,
    CELLS,
    INFERENCE,
    INFERENCE_RESAMPLED,
    LEVELS,
    RECIPE,
    SIGNATURE,
    SIGNATURES,
)
from cytopipe.defs.overview import overview_of
from cytopipe.errors import CytopipeError, InputError
from cytopipe.project import DataSet, Project
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats.h5ad import H5AD_IN_PARTS as H5AD
from cytopipe.storage.formats.h5ad import H5adFile
from cytopipe.storage.formats.table import TSV

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import DataFrame

    from cytopipe.atlas.cells import Cells
    from cytopipe.atlas.pseudobulk import Pass, Sums
    from cytopipe.atlas.registry import Level
    from cytopipe.atlas.signatures import Signature
    from cytopipe.atlas.validation_tables import CrossAtlasValidation
    from cytopipe.project.atlas.entry import Atlas
    from cytopipe.storage.formats.h5ad_blocks import AnnDataBlocks

__all__ = ["ATLAS", "ATLASES", "LEVELS", "SIGNATURES"]

VERSION = "1"
"""Of the algorithms. A test compares it with those of `pseudobulk`, `inference` and `validation_tables`:
importing those would cost every process that loads the definitions seconds of numba, anndata and pandas."""


def _place(name: str) -> str:
    return f"atlas/{PLACES[name]}"


@artifact(
    {"atlas/resampled": H5AD, "atlas/sample_profiles": H5AD, "atlas/pseudobulk": H5AD},
    by=LEVELS,
    version=VERSION,
    place={f"atlas/{name}": _place(name) for name in ("resampled", "sample_profiles", "pseudobulk")},
    one_pass=lambda level: level.entry.atlas,
    checks={
        "atlas/pseudobulk": (COUNTS_CONSERVED, GROUPS_COMPLETE, GENES_UNIQUE, NO_NEGATIVE),
        "atlas/resampled": (RESAMPLES_COMPLETE, NO_NEGATIVE),
        "atlas/sample_profiles": (NO_NEGATIVE,),
    },
    minutes="0.05 per 100,000 cells",
)
def profiles(
    levels: Mapping[str, DataSet], cells: Cells, recipe: Mapping[str, Atlas], work: Work
) -> Iterator[tuple[str, str, object]]:
    """Profiles of the groups of a level, their bootstrap resamples, and profiles of every sample.

    Raw sums, log1p(CPM), z-scores against all cells of the atlas, standard errors and cells that express each
    gene. Resamples draw samples again, the same in every group and level; sample profiles hold whole counts.
    The levels of an atlas are made in one pass over its cells; a pass that is stopped goes on where it was.
    """
    from cytopipe.atlas.pseudobulk import add_up, level_profiles, level_resamples, level_samples

    with cells:
        usable, wrong = _usable_levels(cells, recipe)
        for key, error in wrong.items():
            for asset in profiles.makes:
                yield asset, key, error
        for key, entry in usable.items():
            if not entry.n_bootstrap:
                yield "atlas/resampled", key, Nothing("no resamples are asked for")
            if not entry.sample_profiles:
                yield "atlas/sample_profiles", key, Nothing("no sample profiles are asked for")
        usable = {key: entry for key, entry in usable.items() if _wanted(entry, key, work)}
        if not usable:
            return
        first = next(iter(usable.values()))
        sums = add_up(
            cells,
            [entry.level for entry in usable.values()],
            first.sample or None,
            first.settings,
            _how(first, work),
        )
        for key, entry in sorted(usable.items(), key=lambda one: -len(sums.rolled_up[one[1].level].kept)):
            level, atlas = entry.level, entry.atlas
            for asset in _wanted(entry, key, work):
                match asset:
                    case "atlas/resampled":
                        yield asset, key, level_resamples(sums, level, atlas)
                    case "atlas/sample_profiles":
                        yield asset, key, level_samples(sums, level, atlas)
                    case "atlas/pseudobulk":
                        yield asset, key, _described_profiles(sums, level, level_profiles(sums, level, atlas))


@artifact("atlas/quality", TSV, by=LEVELS, version=VERSION, place=_place("quality"))
def quality(level: DataSet, pseudobulk: H5adFile, recipe: Atlas) -> Described:
    """How many cells, counts and samples stand behind each group of a level, kept or left out; with a
    picture.
    """
    from cytopipe.atlas.group_sizes import group_size_figure, group_size_table

    table = group_size_table(pseudobulk)
    drawn = group_size_figure(
        table,
        f"{recipe.atlas} {recipe.level.name}",
        min_cells=recipe.min_cells,
        min_counts=recipe.min_counts,
    )
    kept = table[table["kept"]]
    counts = {"n_groups": len(kept), "n_left_out": len(table) - len(kept)}
    return Described(table.reset_index(), counts, picture=_png(drawn))


@artifact(
    "atlas/activity",
    H5AD,
    by=SIGNATURES,
    version=VERSION,
    place=_place("activity"),
    checks=(ROWS_OF_PROFILES, ESTIMATES_VALID),
    minutes="0.1",
)
def activity(
    part: DataSet, pseudobulk: Handle, signatures: Signature, inference: ActivitySettings, work: Work
) -> Described:
    """Activity of the cytokines or secreted proteins of one signature in every group of a level.

    z, coefficient, standard error, p and FDR.
    """
    from cytopipe.atlas.inference import infer_activity, overlap_of

    inferred = infer_activity(pseudobulk.load(), signatures, inference, workers=work.engine.workers)
    overlap = overlap_of(inferred)
    notes = {"overlap": str(overlap)} | ({"warning": overlap.warning} if overlap.warning else {})
    return Described(inferred, _counts_of(inferred), notes, _heat_map(inferred))


@artifact(
    "atlas/activity_resampled",
    H5AD,
    by=SIGNATURES,
    version=VERSION,
    place=_place("activity_resampled"),
    checks=(ROWS_OF_RESAMPLES, ESTIMATES_VALID),
    minutes="0.1",
)
def activity_resampled(
    part: DataSet,
    resampled: Handle | None,
    signatures: Signature,
    inference_resampled: ActivitySettings,
    work: Work,
) -> Described | Nothing:
    """Activity in every resample of a level, z alone: for the intervals of a validation."""
    from cytopipe.atlas.inference import infer_activity

    if resampled is None:
        return Nothing("no resamples are asked for")
    inferred = infer_activity(
        resampled.load(),
        signatures,
        inference_resampled,
        progress=lambda done, total: work.progress("resamples", done, total),
    )
    return Described(inferred, {"n_rows": inferred.n_obs, "n_targets": inferred.n_vars})


@artifact(
    "atlas/validation",
    VALIDATION,
    by=SIGNATURES,
    version=VERSION,
    place=_place("validation"),
    inputs={"samples": "atlas/sample_profiles"},
    checks=(FOLLOWS_EXPRESSION,),
    minutes="0.1",
)
def validation(
    part: DataSet,
    activity: H5adFile,
    activity_resampled: H5adFile | None,
    pseudobulk: H5adFile,
    resampled: H5adFile | None,
    samples: H5adFile | None,
    signatures: Signature,
    inference: ActivitySettings,
    cell_types: Harmonisation,
) -> Described:
    """How far the activities of a signature at a level can be trusted.

    Activity against the expression of the target's own gene, with intervals from the resamples, and a score
    of five equal parts. Tables, and figures of the strongest targets.
    """
    from cytopipe.atlas.validation_tables import validate

    found = validate(
        activity,
        pseudobulk,
        signatures,
        atlas=part.entry.atlas,
        level=part.entry.level.file_part,
        resampled_activity=activity_resampled,
        resampled=resampled,
        samples=samples,
        harmonisation=cell_types,
        settings=inference,
    )
    made, rho = found.files(), found.expression.targets["rho"]
    drawn = {end: _png(value) for end, value in made.items() if end.endswith(".png")}
    return Described(
        made | drawn,
        {"quality": round(found.quality.score, 4), "median_rho": round(float(rho.median()), 4)},
        {"without": ", ".join(found.quality.missing)} if found.quality.missing else {},
        next(iter(drawn.values()), None),
    )


def _compared(project: Project) -> list[str]:
    """The signatures at the levels that stand for their atlases, where two atlases share one."""
    sharing: dict[str, list[str]] = {}
    for key, part in project.data_sets.get(SIGNATURES.name, {}).items():
        if part.entry.level.name == part.entry.compared_level:
            sharing.setdefault(part.entry.signature, []).append(key)
    return [key for keys in sharing.values() if len(keys) > 1 for key in keys]


def _compared_atlases(project: Project) -> list[str]:
    parts = project.data_sets.get(SIGNATURES.name, {})
    return list(dict.fromkeys(parts[key].entry.atlas for key in _compared(project)))


@artifact(
    "atlas/cross_atlas",
    COMPARISON,
    version=VERSION,
    place=_place("cross_atlas"),
    optional=("activity", "validation"),
    chosen={"activity": _compared, "validation": _compared, "cell_types": _compared_atlases},
    checks=(TYPES_SHARED, LABELS_PLACED),
)
def cross_atlas(
    activity: Mapping[str, Handle], validation: Mapping[str, Handle], cell_types: Mapping[str, Harmonisation]
) -> Described | Nothing:
    """What the atlases of the project agree on, each at the level that stands for it.

    Correlation of activity per pair and per target, which targets are conserved, how consistent they are, and
    correlations with expression, pooled over atlases; for lineages and for fine types.
    """
    from cytopipe.atlas.validation_tables import compare_all

    activities: dict[str, dict[str, H5adFile]] = {}
    correlations: dict[str, dict[str, DataFrame]] = {}
    for key, handle in activity.items():
        found: H5adFile = handle.load()
        signature, atlas = str(found.uns["signature"]["name"]), str(found.uns["atlas"])
        activities.setdefault(signature, {})[atlas] = found
        if key in validation:
            table = validation[key].load()["expression.tsv"]
            correlations.setdefault(signature, {})[atlas] = table
    made, refused = compare_all(activities, correlations, cell_types)
    if not made:
        return Nothing("fewer than two atlases have an activity of the same signature")
    return _described_comparisons(made, refused)


ATLAS = Graph(
    CELLS,
    RECIPE,
    CELL_TYPES,
    SIGNATURE,
    INFERENCE,
    INFERENCE_RESAMPLED,
    profiles,
    quality,
    activity,
    activity_resampled,
    validation,
    cross_atlas,
    overview_of("atlas/pseudobulk"),
)


# --------------------------------------------------------------------------- for the assets above


def _usable_levels(
    cells: Cells, recipe: Mapping[str, Atlas]
) -> tuple[dict[str, Atlas], dict[str, CytopipeError]]:
    """The levels whose columns are there, and what is wrong with the others, which must not stop them."""
    wrong = {
        key: InputError(findings)
        for key, entry in recipe.items()
        if (findings := cells.check_columns([entry.level], entry.sample or None))
    }
    return {key: entry for key, entry in recipe.items() if key not in wrong}, wrong


def _wanted(entry: Atlas, key: str, work: Work) -> list[str]:
    """The assets of a level that a pass over the cells is needed for."""
    asked = {"atlas/resampled": entry.n_bootstrap > 0, "atlas/sample_profiles": entry.sample_profiles}
    return [asset for asset in profiles.makes if asked.get(asset, True) and work.wants(asset, key)]


def _how(entry: Atlas, work: Work) -> Pass:
    from cytopipe.atlas.pseudobulk import Pass
    from cytopipe.engine import available_cores

    return Pass(
        scratch=work.scratch,
        batch_size=entry.batch_size,
        checkpoint_every_s=entry.checkpoint_every,
        use_gpu=entry.use_gpu,
        threads=min(work.engine.workers, available_cores()),
        progress=lambda done, total: work.progress("cells", done, total),
        saved=lambda done, total: work.saved("cells", done, total),
        stop=work.stop,
    )


def _described_profiles(sums: Sums, level: Level, value: AnnDataBlocks) -> Described:
    from cytopipe.atlas.pseudobulk import level_warnings

    groups = sums.rolled_up[level]
    counts = {
        "n_groups": len(groups.kept),
        "n_left_out": len(groups.grouping.names) - len(groups.kept),
        "n_genes": len(sums.cells.genes),
        "n_cells": int(groups.grouping.n_cells[groups.kept].sum()),
        "n_counts": int(groups.total_counts[groups.kept].sum()),
    }
    warnings = level_warnings(sums, level)
    return Described(value, counts, {"warning": " ".join(warnings)} if warnings else {})


def _counts_of(inferred: AnnData) -> dict[str, int]:
    return {"n_groups": inferred.n_obs, "n_targets": inferred.n_vars}


_TARGETS_SHOWN = 40  # more columns than a screen shows


def _heat_map(inferred: AnnData) -> bytes | None:
    """z of the targets that vary most, as a picture."""
    from cytopipe.atlas import figures

    if not inferred.n_obs:
        return None
    z = inferred.to_df()
    spread = z.std(axis=0).sort_values(ascending=False, kind="stable")
    uns = inferred.uns
    title = f"{uns['atlas']} {uns['level']}: activity of {uns['signature']['name']}"
    return _png(figures.heat_map(z[sorted(spread.index[:_TARGETS_SHOWN])], title, label="z"))


def _described_comparisons(made: list[CrossAtlasValidation], refused: Mapping[str, str]) -> Described:
    tables = {
        f"{one.signature}_{one.granularity}_{end}": value
        for one in made
        for end, value in one.files().items()
    }
    drawn = {end: _png(value) for end, value in tables.items() if end.endswith(".png")}
    classes: dict[str, int] = {}
    for one in made:
        if one.granularity == "coarse":
            for name, count in one.comparison.conserved["conservation"].value_counts().items():
                classes[f"n_{name}"] = classes.get(f"n_{name}", 0) + int(count)
    counts = {"n_atlases": len({types.atlas for one in made for types in one.types})} | dict(
        sorted(classes.items())
    )
    notes = {f"refused_{name}": why for name, why in refused.items()}
    picture = next((drawn[end] for end in drawn if end.endswith("forest.png")), None)
    return Described(tables | drawn, counts, notes, picture or next(iter(drawn.values()), None))


def _png(figure) -> bytes:
    from cytopipe.storage.formats.figure import figure_bytes

    return figure_bytes(figure)
