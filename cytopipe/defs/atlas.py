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
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.atlas.catalogue import COMPARISON, GRANULARITIES, PLACES, VALIDATION
from cytopipe.atlas.harmonise import (
    Harmonisation,
    default_harmonisation,
    joined_harmonisation,
    read_harmonisation,
)
from cytopipe.atlas.recipe import inference_recipe, level_recipe
from cytopipe.atlas.settings import ActivitySettings
from cytopipe.defs.artifact import (
    Check,
    CheckResult,
    Described,
    Graph,
    Nothing,
    Partitions,
    Source,
    Work,
    artifact,
)
from cytopipe.errors import CytopipeError, InputError
from cytopipe.project import DataSet, Project
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats.files import ResultFiles
from cytopipe.storage.formats.h5ad import H5AD_IN_PARTS as H5AD
from cytopipe.storage.formats.h5ad import H5adFile
from cytopipe.storage.formats.table import TSV

if TYPE_CHECKING:
    from anndata import AnnData

    from cytopipe.atlas.cells import Cells
    from cytopipe.atlas.invariants import Invariant
    from cytopipe.atlas.pseudobulk import Sums
    from cytopipe.atlas.registry import Level
    from cytopipe.atlas.signatures import Signature
    from cytopipe.project.atlas.entry import Atlas
    from cytopipe.storage.formats.h5ad_blocks import AnnDataBlocks

__all__ = ["ATLASES", "GRAPH", "LEVELS", "SIGNATURES"]

VERSION = "1"
"""Of the algorithms: a test compares it with those of `pseudobulk`, `inference` and `validation_tables`,
which would
cost every process that loads the definitions seconds of numba, anndata and pandas."""

ATLASES = Partitions(name="atlases", title="atlas")
LEVELS = Partitions(
    name="atlas",
    title="level of an atlas",
    within={ATLASES: lambda level: level.entry.atlas},
    # The levels of an atlas must come into one run, or its cells are read again for the rest of them.
    per_run=100,
)
SIGNATURES = Partitions(
    name="atlas_signatures",
    title="signature at a level of an atlas",
    within={LEVELS: lambda part: part.parent, ATLASES: lambda part: part.entry.atlas},
)


# --------------------------------------------------------------------------- sources


def _cells_of(atlas: DataSet) -> Cells:
    """The cells, open; to be used as a context manager."""
    from cytopipe.atlas.cells import open_cells

    entry = atlas.entry
    return open_cells(atlas.resolve(entry.path), counts=entry.counts, duplicate_genes=entry.duplicate_genes)


def _files_of(path: Path) -> list[Path]:
    """A file, or all files of a directory such as a zarr store."""
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def _digest_of_cells(project: Project, atlas: DataSet) -> str | None:
    from cytopipe.atlas.identity import input_identity

    path = atlas.resolve(atlas.entry.path)
    return input_identity(path) if path.exists() else None


def _about_cells(project: Project, atlas: DataSet) -> Mapping[str, object]:
    about: dict[str, object] = {"path": project.relative(atlas.resolve(atlas.entry.path))}
    try:
        with _cells_of(atlas) as cells:
            columns = ", ".join(cells.columns)
            return about | {
                "n_cells": cells.n_cells,
                "n_genes": cells.n_genes,
                "counts": cells.matrix.where,
                "columns": columns,
            }
    except CytopipeError as error:
        return about | {"not_usable": str(error)}


CELLS = Source(
    asset="atlas/cells",
    by=ATLASES,
    description="The cells of an atlas, an h5ad or zarr that the project file names; never written.",
    load=_cells_of,
    files=lambda atlas: _files_of(atlas.resolve(atlas.entry.path)),
    digest=_digest_of_cells,
    describe=_about_cells,
    kinds=("hdf5", "anndata"),
)


def _recipe_of(level: DataSet) -> dict[str, object]:
    entry = level.entry
    return level_recipe(
        entry.level,
        entry.sample,
        entry.settings,
        counts=entry.counts,
        duplicate_genes=entry.duplicate_genes,
    )


RECIPE = Source(
    asset="atlas/recipe",
    by=LEVELS,
    description="How the project file says a level is added up: columns, samples, resamples, limits, where "
    "counts lie.",
    load=lambda level: level.entry,
    values=_recipe_of,
    kinds=("yaml",),
)


_PACKAGED = Path(str(files("cytopipe.atlas") / "cell_types.tsv"))


def _vocabulary_of(atlas: DataSet) -> Harmonisation:
    table = atlas.entry.cell_types
    return read_harmonisation(atlas.resolve(table)) if table else default_harmonisation()


def _digest_of_vocabulary(project: Project, atlas: DataSet) -> str | None:
    try:
        return _vocabulary_of(atlas).sha256
    except CytopipeError:
        return None


CELL_TYPES = Source(
    asset="atlas/cell_types",
    by=ATLASES,
    description="The table that brings the labels of an atlas to one vocabulary of cell types.",
    load=_vocabulary_of,
    files=lambda atlas: [atlas.resolve(atlas.entry.cell_types) if atlas.entry.cell_types else _PACKAGED],
    digest=_digest_of_vocabulary,
    describe=lambda project, atlas: {"table": atlas.entry.cell_types or "packaged"},
    kinds=("table",),
)


def _source_of(part: DataSet) -> Path | None:
    table = part.entry.signature_table
    return part.resolve(table) if table else None


def _signature_of(part: DataSet) -> Signature:
    from cytopipe.atlas.signatures import load_signature

    return load_signature(part.entry.signature, _source_of(part))


def _files_of_signature(part: DataSet) -> list[Path]:
    from cytopipe.atlas.signatures import find_signature

    try:
        return [find_signature(part.entry.signature, _source_of(part)).path]
    except CytopipeError:
        return []


def _digest_of_signature(project: Project, part: DataSet) -> str | None:
    from cytopipe.atlas.signatures import find_signature, table_digest

    try:
        return table_digest(find_signature(part.entry.signature, _source_of(part)))
    except CytopipeError:
        return None


SIGNATURE = Source(
    asset="atlas/signatures",
    by=SIGNATURES,
    description="The table of a signature that an entry names: effects of cytokines or secreted proteins on "
    "genes.",
    load=_signature_of,
    files=_files_of_signature,
    digest=_digest_of_signature,
    describe=lambda project, part: {"table": part.entry.signature_table or "by name"},
    kinds=("table",),
)

INFERENCE = Source(
    asset="atlas/inference",
    by=SIGNATURES,
    description="How the project file says the activity of a signature is inferred.",
    load=lambda part: part.entry.activity,
    values=lambda part: inference_recipe(part.entry.signature, part.entry.activity),
    kinds=("yaml",),
)

INFERENCE_RESAMPLED = Source(
    asset="atlas/inference_resampled",
    by=SIGNATURES,
    description="The same for resamples, of which z alone is kept: other permutations change nothing there.",
    load=lambda part: part.entry.activity.of_resamples(),
    values=lambda part: inference_recipe(part.entry.signature, part.entry.activity.of_resamples()),
    kinds=("yaml",),
)


# --------------------------------------------------------------------------- checks


def _found(invariant: Invariant) -> CheckResult:
    return CheckResult(invariant.findings, invariant.facts)


def _counts_conserved(profiles: H5adFile, cells: Cells, recipe: Atlas) -> CheckResult:
    from cytopipe.atlas.invariants import counts_conserved

    with cells:
        return _found(counts_conserved(profiles, cells, recipe.level))


def _groups_complete(profiles: H5adFile, cells: Cells, recipe: Atlas) -> CheckResult:
    from cytopipe.atlas.invariants import groups_complete

    with cells:
        return _found(groups_complete(profiles, cells, recipe.level))


def _genes_unique(profiles: H5adFile) -> CheckResult:
    from cytopipe.atlas.invariants import genes_unique

    return _found(genes_unique(profiles))


def _no_negative(profiles: H5adFile) -> CheckResult:
    from cytopipe.atlas.invariants import no_negative

    return _found(no_negative(profiles))


def _resamples_complete(resampled: H5adFile, cells: Cells, recipe: Atlas) -> CheckResult:
    from cytopipe.atlas.invariants import resamples_complete

    with cells:
        return _found(resamples_complete(resampled, cells, recipe.level, recipe.n_bootstrap))


def _rows_of_profiles(activity: H5adFile, pseudobulk: Handle) -> CheckResult:
    from cytopipe.atlas.invariants import rows_of_profiles

    return _found(rows_of_profiles(activity, pseudobulk.load()))


def _rows_of_resamples(activity: H5adFile, resampled: Handle | None) -> CheckResult:
    from cytopipe.atlas.invariants import rows_of_profiles

    return _found(rows_of_profiles(activity, resampled.load())) if resampled else CheckResult()


def _estimates_valid(activity: H5adFile) -> CheckResult:
    from cytopipe.atlas.invariants import estimates_valid

    return _found(estimates_valid(activity))


def _follows_expression(validation: ResultFiles) -> CheckResult:
    rho = validation["expression.tsv"]["rho"].median()
    return CheckResult(() if rho > 0 else (f"median rho {rho:.2f}",), {"median_rho": round(float(rho), 4)})


_LEAST_TYPES, _LEAST_PLACED = 3, 0.5


def _types_shared(comparison: ResultFiles) -> CheckResult:
    few = [
        f"{end.removesuffix('_coarse_pairs.tsv')}, {row.atlas_a} / {row.atlas_b}: {row.n_types} types"
        for end in comparison
        if end.endswith("_coarse_pairs.tsv")
        for row in comparison[end].itertuples()
        if row.n_types < _LEAST_TYPES
    ]
    return CheckResult(tuple(few))


def _labels_placed(comparison: ResultFiles) -> CheckResult:
    placeless = []
    for end in comparison:
        if end.endswith("_coarse_labels.tsv"):
            for atlas, labels in comparison[end].groupby("atlas"):
                share = float((labels["cell_type"].fillna("") != "").mean())
                if share < _LEAST_PLACED:
                    placeless.append(f"{atlas}: {share:.0%} of {len(labels)} labels")
    return CheckResult(tuple(dict.fromkeys(placeless)))


COUNTS_CONSERVED = Check(
    name="counts_conserved",
    description="Counts of every group add up to its total, and those of the smallest group equal a recount "
    "of its cells, gene by gene, to the last integer.",
    evaluate=_counts_conserved,
)
GROUPS_COMPLETE = Check(
    name="groups_complete",
    description="Every label of the atlas is a group or was left out, with as many cells as bear it.",
    evaluate=_groups_complete,
)
GENES_UNIQUE = Check(
    name="genes_unique", description="Every gene has a name, and stands once.", evaluate=_genes_unique
)
NO_NEGATIVE = Check(
    name="no_negative",
    description="No count and no profile is negative or not finite.",
    evaluate=_no_negative,
)
RESAMPLES_COMPLETE = Check(
    name="resamples_complete",
    description="Every resampled group is a label of the level and has all of its resamples.",
    evaluate=_resamples_complete,
)
ROWS_OF_PROFILES = Check(
    name="groups_complete",
    description="Activity has the rows of the profiles, in their order.",
    evaluate=_rows_of_profiles,
)
ROWS_OF_RESAMPLES = Check(
    name="groups_complete",
    description="Activity has the rows of the resamples, in their order.",
    evaluate=_rows_of_resamples,
)
ESTIMATES_VALID = Check(
    name="estimates_valid", description="z is finite; p and FDR lie in (0, 1].", evaluate=_estimates_valid
)
FOLLOWS_EXPRESSION = Check(
    name="activity_follows_expression",
    description="Over the targets of a signature, the median correlation of activity and of the expression "
    "of the target's own gene is above 0.",
    evaluate=_follows_expression,
    blocking=False,
)
TYPES_SHARED = Check(
    name="types_shared",
    description=f"Every pair of atlases shares at least {_LEAST_TYPES} cell types.",
    evaluate=_types_shared,
    blocking=False,
)
LABELS_PLACED = Check(
    name="labels_placed",
    description="At least half of every atlas's labels have a place in the vocabulary.",
    evaluate=_labels_placed,
    blocking=False,
)


# --------------------------------------------------------------------------- assets


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
        sums.forget()


@artifact("atlas/quality", TSV, by=LEVELS, version=VERSION, place=_place("quality"))
def quality(level: DataSet, pseudobulk: H5adFile, recipe: Atlas) -> Described:
    """How many cells, counts and samples stand behind each group of a level, kept or left out; with a
    picture.
    """
    from cytopipe.atlas.qc import group_size_figure, quality_table

    table = quality_table(pseudobulk)
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


@artifact(
    "atlas/cross_atlas",
    COMPARISON,
    version=VERSION,
    place=_place("cross_atlas"),
    optional=("activity", "validation"),
    chosen={"activity": _compared, "validation": _compared},
    checks=(TYPES_SHARED, LABELS_PLACED),
)
def cross_atlas(
    activity: Mapping[str, Handle], validation: Mapping[str, Handle], cell_types: Mapping[str, Harmonisation]
) -> Described | Nothing:
    """What the atlases of the project agree on, each at the level that stands for it.

    Correlation of activity per pair and per target, which targets are conserved, how consistent they are, and
    correlations with expression, pooled over atlases; for lineages and for fine types.
    """
    from cytopipe.atlas.validation_tables import compare

    sharing: dict[str, dict[str, tuple[str, H5adFile]]] = {}
    for key, handle in activity.items():
        found: H5adFile = handle.load()
        signature, atlas = str(found.uns["signature"]["name"]), str(found.uns["atlas"])
        sharing.setdefault(signature, {})[atlas] = key, found
    tables: dict[str, object] = {}
    refused: dict[str, str] = {}
    for signature, atlases in sharing.items():
        if len(atlases) < 2:
            continue
        for granularity in GRANULARITIES:
            try:
                made = compare(
                    {atlas: one for atlas, (_, one) in atlases.items()},
                    signature,
                    correlations={
                        atlas: validation[key].load()["expression.tsv"]
                        for atlas, (key, _) in atlases.items()
                        if key in validation
                    },
                    granularity=granularity,
                    harmonisation=joined_harmonisation(
                        {atlas: cell_types[atlas] for atlas in sorted(atlases)}
                    ),
                )
            except CytopipeError as error:
                refused[f"refused_{signature}_{granularity}"] = str(error)
                continue
            tables |= {f"{signature}_{granularity}_{end}": value for end, value in made.files().items()}
    if refused and not tables:
        raise InputError("\n".join(refused.values()))
    if not tables:
        return Nothing("fewer than two atlases have an activity of the same signature")
    return _described_comparison(tables, refused, len({one for some in sharing.values() for one in some}))


GRAPH = Graph(
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


def _how(entry: Atlas, work: Work):
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


def _described_comparison(made: dict[str, object], refused: Mapping[str, str], n_atlases: int) -> Described:
    drawn = {end: _png(value) for end, value in made.items() if end.endswith(".png")}
    classes: dict[str, int] = {}
    for end, table in made.items():
        if end.endswith("_coarse_conserved.tsv"):
            for name, count in table["conservation"].value_counts().items():
                classes[f"n_{name}"] = classes.get(f"n_{name}", 0) + int(count)
    counts = {"n_atlases": n_atlases, **dict(sorted(classes.items()))}
    picture = next((drawn[end] for end in drawn if end.endswith("forest.png")), None)
    return Described(made | drawn, counts, refused, picture or next(iter(drawn.values()), None))


def _png(figure) -> bytes:
    from cytopipe.storage.formats.figure import figure_bytes

    return figure_bytes(figure)
