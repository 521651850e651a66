"""Single cells to comparable profiles and activities: the atlas domain as two chains.

    cells, recipe -> pseudobulk -+-> activity -> validation
                  -> resampled --+     ^             ^
                         signatures ---+  cell_types-+         all atlases -> cross_atlas

A partition of the first chain is one level of one atlas (``cima.L1``). A run over the levels of an atlas
reads its cells once: they are added up for all levels together. A partition of the second, from `signatures`
on, is one signature at one level (``cima.L1.cytosig``), made from the profiles and resamples of its level; an
entry without signatures has none. Files lie where `cytopipe atlas` puts them, below one results root, so work
begun on the command line goes on here and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from cytopipe.defs.cross_atlas import CROSS_ATLAS
from cytopipe.defs.graph import Chain
from cytopipe.defs.standing_atlases import (
    CODE,
    TABLES,
    catalogue_of,
    cells_version,
    inference_of,
    recipe_parameters,
    recipe_version,
    signature_version,
    standing_activity,
    standing_profiles,
    standing_resamples,
    standing_validation,
    vocabulary_of,
    vocabulary_version,
)
from cytopipe.defs.steps import Batch, Checked, Guard, Made, Source, Working, step
from cytopipe.errors import CytopipeError, InputError, Interrupted
from cytopipe.project import DataSet, Project

__all__ = ["ATLAS_LEVELS", "ATLAS_SIGNATURES"]

Works = Sequence[tuple[DataSet, Working]]
Outcomes = Iterator[tuple[str, Made | BaseException]]

_CONSERVED = Guard(
    name="counts_conserved",
    description="Counts of every group add up to its total, and those of the smallest group equal a recount "
    "of its cells, gene by gene, to the last integer.",
)
_COMPLETE = Guard(
    name="groups_complete",
    description="Every label of the atlas is a group or was left out, with as many cells as bear it.",
)
_UNIQUE = Guard(name="genes_unique", description="Every gene has a name, and stands once.")
_NOT_NEGATIVE = Guard(name="no_negative", description="No count and no profile is negative or not finite.")
_RESAMPLES = Guard(
    name="resamples_complete",
    description="Every resampled group is one of the profiles and has all of its resamples.",
)
_ROWS = Guard(name="groups_complete", description="Activity has the rows of the profiles, in their order.")
_ESTIMATES = Guard(name="estimates_valid", description="z is finite; p and FDR lie in (0, 1].")
_FOLLOWS = Guard(
    name="activity_follows_expression",
    description="Over the targets of a signature, the median correlation of activity and of the expression "
    "of the target's own gene is above 0.",
    blocking=False,
)


def _one_pass(
    describe: Callable[[DataSet], Made], *, asked_for: Callable[[DataSet], bool] = lambda data: True
) -> Batch:
    """A batch that adds up the cells of each atlas once, for all of its levels in the run."""

    def make_many(works: Works) -> Outcomes:
        by_atlas: dict[str, list[tuple[DataSet, Working]]] = {}
        for data, at in works:
            if asked_for(data):
                by_atlas.setdefault(data.entry.atlas, []).append((data, at))
            else:
                yield data.key, describe(data)
        for same_atlas in by_atlas.values():
            yield from _aggregated(same_atlas, describe)

    return make_many


def _aggregated(works: Works, describe: Callable[[DataSet], Made]) -> Outcomes:
    """The levels of one atlas: those that can be made, in one pass; the others with what is wrong."""
    usable, wrong = _usable(works)
    yield from wrong
    if not usable:
        return
    try:
        made = _aggregate(usable)
    except Interrupted:
        raise
    except Exception as error:
        yield from ((data.key, error) for data, _ in usable)
        return
    for data, _ in usable:
        try:
            yield data.key, replace(describe(data), reused=data.entry.level.name not in made)
        except CytopipeError as error:
            yield data.key, error


def _usable(works: Works) -> tuple[Works, list[tuple[str, CytopipeError]]]:
    """The levels whose columns are there, and what is wrong with the others, which must not stop them."""
    from cytopipe.atlas.cells import open_cells

    data = works[0][0]
    entry = data.entry
    try:
        with open_cells(
            data.resolve(entry.path), counts=entry.counts, duplicate_genes=entry.duplicate_genes
        ) as cells:
            wrong = {
                data.key: InputError(findings)
                for data, _ in works
                if (findings := cells.check_columns([data.entry.level], entry.sample or None))
            }
    except CytopipeError as error:
        return [], [(data.key, error) for data, _ in works]
    return [work for work in works if work[0].key not in wrong], list(wrong.items())


def _aggregate(works: Works) -> set[str]:
    """One pass over the cells; returns the levels whose files were made anew."""
    from cytopipe.atlas.pseudobulk import aggregate
    from cytopipe.engine import available_cores
    from cytopipe.storage import Store

    data, at = works[0]
    entry = data.entry

    def tell(done: int, total: int) -> None:
        for _, one in works:
            one.progress("cells", done, total)

    def saved(done: int, total: int) -> None:
        for _, one in works:
            one.checkpoint("cells", done, total)

    done = aggregate(
        data.resolve(entry.path),
        [one.entry.level for one, _ in works],
        catalogue_of(data).pseudobulk(entry.atlas, entry.level.name).parent,
        atlas=entry.atlas,
        sample=entry.sample or None,
        settings=entry.settings,
        counts=entry.counts,
        duplicate_genes=entry.duplicate_genes,
        batch_size=entry.batch_size,
        use_gpu=entry.use_gpu,
        threads=min(at.engine.workers, available_cores()),
        checkpoint_every_s=entry.checkpoint_every,
        progress=tell,
        on_checkpoint=saved,
        stop=at.stop,
        store=Store(data.folder),
    )
    return {one.level.name for one in done.levels if one.made}


def _described_profiles(data: DataSet) -> Made:
    """A level's profiles as the asset's value: invariants, quality of the groups, picture of their sizes."""
    from cytopipe.atlas.invariants import profile_invariants
    from cytopipe.defs.atlas_pictures import group_sizes

    entry, made = data.entry, _whole(standing_profiles(data), data)
    quality, picture, table = group_sizes(data, made)
    kept = quality[quality["kept"]]
    return replace(
        made,
        counts={
            **made.counts,
            "n_left_out": len(quality) - len(kept),
            "n_cells": int(kept["n_cells"].sum()),
            "n_counts": int(kept["total_counts"].sum()),
        },
        tables={**made.tables, "quality": table},
        picture=picture,
        checks=_checked(
            profile_invariants(
                made.path,
                data.resolve(entry.path),
                entry.level,
                counts=entry.counts,
                duplicate_genes=entry.duplicate_genes,
            )
        ),
    )


def _described_resamples(data: DataSet) -> Made:
    """A level's resamples as the asset's value, their invariants evaluated."""
    from cytopipe.atlas.invariants import resampled_invariants

    entry, made = data.entry, _whole(standing_resamples(data), data)
    if not entry.n_bootstrap:
        return made
    main = catalogue_of(data).pseudobulk(entry.atlas, entry.level.name)
    return replace(made, checks=_checked(resampled_invariants(made.path, main, entry.n_bootstrap)))


_make_profiles = _one_pass(_described_profiles)
_make_resamples = _one_pass(_described_resamples, asked_for=lambda data: data.entry.n_bootstrap > 0)


@step(
    "atlas/pseudobulk",
    after=("atlas/cells", "atlas/recipe"),
    standing=standing_profiles,
    code_version=CODE,
    guards=(_CONSERVED, _COMPLETE, _UNIQUE, _NOT_NEGATIVE),
    kinds=("hdf5", "anndata"),
    minutes="0.05 per 100,000 cells",
    make_many=_make_profiles,
)
def pseudobulk(data: DataSet, at: Working) -> Made:
    """Profiles of every group of a level.

    Raw sums, log1p(CPM), z-scores against all cells of the atlas, standard errors and cells that express each
    gene. The levels of an atlas are made in one pass over its cells; a pass that is stopped goes on where it
    was.
    """
    return _only(_make_profiles([(data, at)]))


@step(
    "atlas/resampled",
    after=("atlas/cells", "atlas/recipe"),
    standing=standing_resamples,
    code_version=CODE,
    guards=(_RESAMPLES, _NOT_NEGATIVE),
    kinds=("hdf5", "anndata"),
    make_many=_make_resamples,
)
def resampled(data: DataSet, at: Working) -> Made:
    """Bootstrap resamples of the profiles, for error bars.

    Samples are drawn again, the same in every group and level. Written by the pass that makes the profiles.
    """
    return _only(_make_resamples([(data, at)]))


@step(
    "atlas/activity",
    after=("atlas/pseudobulk", "atlas/resampled", "atlas/signatures"),
    standing=standing_activity,
    code_version=CODE,
    guards=(_ROWS, _ESTIMATES),
    kinds=("hdf5", "anndata"),
    minutes="0.1",
)
def activity(data: DataSet, at: Working) -> Made:
    """Activity of the cytokines or secreted proteins of one signature in every group of a level.

    z, coefficient, standard error, p and FDR; of resamples z alone. Files that stand, made from the same
    profiles with the same settings, are not inferred again.
    """
    from cytopipe.atlas.inference import infer_activities
    from cytopipe.atlas.invariants import activity_invariants
    from cytopipe.defs.atlas_pictures import heat_map
    from cytopipe.storage import Store

    entry, source, told = data.entry, data.entry.signature_table, []
    infer_activities(
        Store(data.folder),
        entry.atlas,
        [entry.level.name],
        (entry.signature,),
        entry.activity,
        source=data.resolve(source) if source else None,
        workers=at.engine.workers,
        report=told.append,
        of_run={"asset": "atlas/activity", "partition": data.key, "run_id": at.run_id},
    )
    made = _whole(standing_activity(data), data)
    profiles = catalogue_of(data).pseudobulk(entry.atlas, entry.level.name)
    return replace(
        made,
        picture=heat_map(data, made),
        checks=_checked(activity_invariants(made.path, profiles)),
        reused=not any(line.endswith("written") for line in told),
    )


@step(
    "atlas/validation",
    after=("atlas/activity", "atlas/pseudobulk", "atlas/resampled", "atlas/cell_types"),
    standing=standing_validation,
    code_version=CODE,
    guards=(_FOLLOWS,),
    kinds=("table",),
    minutes="0.1",
)
def validation(data: DataSet, at: Working) -> Made:
    """How far the activities of a signature at a level can be trusted.

    Activity against the expression of the target's own gene, with intervals from the resamples, and a score
    of five equal parts. Tables, and pictures of the strongest targets.
    """
    from cytopipe.atlas.signatures import load_signature
    from cytopipe.atlas.validation_tables import validate_atlas
    from cytopipe.storage import Store

    entry, source = data.entry, data.entry.signature_table
    before = None if at.changed else standing_validation(data)
    if before is None:
        validate_atlas(
            Store(data.folder),
            entry.atlas,
            entry.level.name,
            load_signature(entry.signature, data.resolve(source) if source else None),
            harmonisation=vocabulary_of(data),
            settings=entry.activity,
            of_run={"asset": "atlas/validation", "partition": data.key, "run_id": at.run_id},
        )
    return _described_validation(data, reused=before is not None)


def _described_validation(data: DataSet, *, reused: bool) -> Made:
    """A validation as the asset's value: the tables, a picture, and whether activity makes sense."""
    from cytopipe.storage.formats.table import read_tsv

    made, entry = _whole(standing_validation(data), data), data.entry
    path = catalogue_of(data).validation(entry.atlas, entry.level.name, entry.signature, "expression.tsv")
    rho = float(read_tsv(path, columns=["rho"], text=["target", "genes"])["rho"].median())
    pictures = sorted(path.parent.glob(path.name.replace("expression.tsv", "scatter_*.png")))
    return replace(
        made,
        notes={"median_rho": round(rho, 4)},
        tables={path.name: path},
        picture=pictures[0] if pictures else None,
        checks=(_outcome(_FOLLOWS.name, [] if rho > 0 else [f"median rho {rho:.2f}"]),),
        reused=reused,
    )


def _only(outcomes: Outcomes) -> Made:
    """The outcome of a batch of one."""
    ((_, outcome),) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _whole(made: Made | None, data: DataSet) -> Made:
    """What was just made; its absence means that somebody took it away."""
    if made is None:
        raise InputError(
            "was taken away while it was looked at", where=data.key, next="Materialize it again."
        )
    return made


def _checked(invariants) -> tuple[Checked, ...]:
    """The domain's invariants as outcomes of the step's guards."""
    return tuple(_outcome(one.name, one.findings, one.facts) for one in invariants)


def _outcome(name: str, findings: Sequence[str], facts: Mapping[str, object] | None = None) -> Checked:
    shown = "; ".join(findings[:10]) + (f"; and {len(findings) - 10} more" if len(findings) > 10 else "")
    return Checked(name=name, passed=not findings, description=shown or "holds", metadata=facts or {})


# --------------------------------------------------------------------------- sources


def _about_cells(project: Project, data: DataSet) -> Mapping[str, object]:
    from cytopipe.atlas.cells import open_cells

    entry = data.entry
    path = data.resolve(entry.path)
    about: dict[str, object] = {"path": project.relative(path)}
    try:
        with open_cells(path, counts=entry.counts, duplicate_genes=entry.duplicate_genes) as cells:
            about |= {
                "n_cells": cells.n_cells,
                "n_genes": cells.n_genes,
                "counts": cells.matrix.where,
                "columns": ", ".join(cells.columns),
            }
    except CytopipeError as error:
        about["not_usable"] = str(error)
    return about


def _about_signature(project: Project, data: DataSet) -> Mapping[str, object]:
    return {"table": data.entry.signature_table or "by name", "settings": inference_of(data)}


def _asset_of_profiles(path: PurePath) -> str:
    """The asset of a file of profiles."""
    return "atlas/resampled" if path.stem.endswith("_resampled") else "atlas/pseudobulk"


def _has_profiles(data: DataSet, path: PurePath) -> bool:
    """Whether a file below the results root is one of this level's: ``cima/pseudobulk/...``."""
    atlas, level = data.entry.atlas, data.entry.level.file_part
    known = {f"{atlas}_pseudobulk_{level}{end}" for end in ("", "_resampled", "_samples", "_groups")}
    return path.parts[:2] == (atlas, "pseudobulk") and path.stem in known


def _asset_of_signature(path: PurePath) -> str:
    """The asset of a file of activities or of their validation."""
    return "atlas/validation" if path.parts[0] == "validation" else "atlas/activity"


def _has_signature(data: DataSet, path: PurePath) -> bool:
    """Whether a file is of this signature at this level: ``cima/activity/...``, ``validation/cima/...``."""
    entry = data.entry
    stem = f"{entry.atlas}_{entry.signature}_{entry.level.file_part}"
    if path.parts[:2] == (entry.atlas, "activity"):
        return path.stem in {stem, f"{stem}_resampled", f"{stem}_heat_map"}
    if path.parts[:2] == ("validation", entry.atlas):
        return path.name in {f"{stem}_{what}" for what in TABLES} or path.name.startswith(f"{stem}_scatter_")
    return False


ATLAS_LEVELS = Chain(
    domain="atlas",
    partitions="atlas",
    description="Single-cell atlases as profiles per group of every level, with resamples.",
    sources=(
        Source(
            asset="atlas/cells",
            description="The cells of an atlas, an h5ad or zarr that the project file names; never written.",
            version=cells_version,
            describe=_about_cells,
            kinds=("hdf5", "anndata"),
        ),
        Source(
            asset="atlas/recipe",
            description="How the project file says a level is added up: columns, samples, resamples, "
            "limits, where counts lie.",
            version=recipe_version,
            describe=lambda project, data: {"parameters": recipe_parameters(data)},
            kinds=("yaml",),
        ),
        Source(
            asset="atlas/cell_types",
            description="The table that brings the labels of atlases to one vocabulary of cell types.",
            version=vocabulary_version,
            describe=lambda project, data: {"table": data.entry.cell_types or "packaged"},
            kinds=("table",),
        ),
    ),
    steps=(pseudobulk, resampled),
    # All levels of an atlas must come into one run, or its cells are read again for the rest of them.
    partitions_per_run=100,
    asset_of=_asset_of_profiles,
    belongs=_has_profiles,
    counted="atlas/pseudobulk",
)

ATLAS_SIGNATURES = Chain(
    domain="atlas",
    partitions="atlas_signatures",
    description="Activity of a signature at a level of an atlas, and how far it can be trusted.",
    sources=(
        Source(
            asset="atlas/signatures",
            description="The table of a signature an entry names, and how activity is inferred with it.",
            version=signature_version,
            describe=_about_signature,
            kinds=("table",),
        ),
    ),
    steps=(activity, validation),
    partitions_per_run=50,
    asset_of=_asset_of_signature,
    belongs=_has_signature,
    gathered=(CROSS_ATLAS,),
)
