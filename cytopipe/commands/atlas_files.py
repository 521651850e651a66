"""The verbs of the atlas domain from files to files: what the plain commands do, and notebooks may call.

Every verb reads the files that stand under a results root, calls the domain, and puts what came out into the
archive, in the same formats and under the same names as the assets of a project do: one writer, the same
bytes. Files that stand whole and were made from the same inputs with the same parameters are left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cytopipe.atlas import pseudobulk
from cytopipe.atlas.catalogue import COMPARISON, VALIDATION, Catalogue
from cytopipe.atlas.cells import open_cells
from cytopipe.atlas.harmonise import Granularity, Harmonisation, default_harmonisation
from cytopipe.atlas.inference import CODE_VERSION as INFERENCE_VERSION
from cytopipe.atlas.inference import infer_activity, overlap_of
from cytopipe.atlas.profiles import resampled_groups
from cytopipe.atlas.pseudobulk import Pass, Sums, add_up, within_memory
from cytopipe.atlas.recipe import inference_recipe, level_recipe
from cytopipe.atlas.registry import AtlasEntry, Level, get_atlas, load_registry, resolve_path
from cytopipe.atlas.settings import ActivitySettings, Settings
from cytopipe.atlas.signatures import Signature, load_signature
from cytopipe.atlas.validation_tables import (
    CODE_VERSION as VALIDATION_VERSION,
)
from cytopipe.atlas.validation_tables import (
    AtlasValidation,
    CrossAtlasValidation,
    compare,
    validate,
)
from cytopipe.defs.artifact import digest_of
from cytopipe.errors import DamagedError, StorageError
from cytopipe.provenance import Input, Provenance, library_versions, sha256_bytes, sha256_file
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats.h5ad import H5AD_IN_PARTS as H5AD
from cytopipe.storage.formats.h5ad import H5adFile, H5adInParts
from cytopipe.storage.formats.h5ad_blocks import AnnDataBlocks
from cytopipe.storage.sets import owned

__all__ = [
    "Aggregation",
    "LevelFiles",
    "aggregate",
    "aggregate_all_levels",
    "compare_atlases",
    "infer_activities",
    "level_paths",
    "validate_atlas",
]

_LIBRARIES = ("numpy", "scipy", "numba", "pandas", "anndata", "h5py", "isal", "matplotlib")
_ASSETS = {"resampled": "resampled", "samples": "sample_profiles", "profiles": "pseudobulk"}
"""Kind of a level's file, and the asset it is; in the order in which they are written: where the profiles
stand, the rest of the level stands."""
_MAKERS: Mapping[str, Callable[[Sums, Level, str], AnnDataBlocks]] = {
    "resampled": pseudobulk.level_resamples,
    "samples": pseudobulk.level_samples,
    "profiles": pseudobulk.level_profiles,
}


# --------------------------------------------------------------------------- cells -> profiles


@dataclass(frozen=True)
class LevelFiles:
    """What stands for one level after a run.

    Parameters
    ----------
    level : Level
    files : mapping of str to Path
        ``profiles``, ``resampled`` and ``samples``, those that were asked for.
    sha256 : mapping of str to str
    n_groups : int or None
        Groups in the main file; None where it was there already.
    made : bool
        Whether this run made them.
    n_resampled : int or None
        Groups in the resampled file; None where it was there already or was not asked for.
    warnings : tuple of str
        What is sound, and hardly what was meant: no group large enough, no group with enough samples.
    """

    level: Level
    files: Mapping[str, Path]
    sha256: Mapping[str, str]
    n_groups: int | None
    made: bool
    n_resampled: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aggregation:
    """What a run did.

    Parameters
    ----------
    atlas : str
    levels : tuple of LevelFiles
    n_cells, n_genes : int
    device : str
        ``cpu``, ``gpu``, or ``none`` where nothing had to be made.
    projected_bytes : int
    resumed_at : int
        Cells (or genes) that a checkpoint already held.
    seconds_pass, seconds_total : float
    """

    atlas: str
    levels: tuple[LevelFiles, ...]
    n_cells: int
    n_genes: int
    device: str
    projected_bytes: int
    resumed_at: int
    seconds_pass: float
    seconds_total: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of all levels."""
        return tuple(warning for level in self.levels for warning in level.warnings)


def aggregate_all_levels(
    atlas_name: str,
    output_dir: str | Path,
    n_bootstrap: int = 100,
    batch_size: int = 50_000,
    use_gpu: bool = True,
    skip_existing: bool = True,
    *,
    levels: Sequence[str] | None = None,
    registry: Mapping[str, AtlasEntry] | None = None,
    path: str | Path | None = None,
    project_root: Path | None = None,
    settings: Settings | None = None,
    **options: object,
) -> Aggregation:
    """Aggregate every annotation level of a registered atlas in one pass.

    Parameters
    ----------
    atlas_name : str
        A name of the registry.
    output_dir : str or Path
        Files go to ``{output_dir}/{atlas}/pseudobulk/``.
    n_bootstrap : int
        Resamples per group.
    batch_size : int
        Cells between two checkpoints at most; changes speed and memory, never a bit of the result.
    use_gpu : bool
        Use a GPU where there is one.
    skip_existing : bool
        Leave files that stand whole and were made from the same cells with the same parameters.
    levels : sequence of str, optional
        Only these.
    registry : mapping, optional
        As from :func:`cytopipe.atlas.load_registry`.
    path : str or Path, optional
        The atlas, in place of the registry's.
    project_root : Path, optional
        What relative paths of the registry are relative to.
    settings : Settings, optional
        Everything else that decides the bytes, in place of the registry's; its `n_bootstrap` gives way to
        the argument.
    **options
        As for :func:`aggregate`.

    Returns
    -------
    Aggregation
    """
    entry = get_atlas(atlas_name, load_registry() if registry is None else registry)
    chosen = entry.levels if levels is None else tuple(entry.level(name) for name in levels)
    return aggregate(
        path or resolve_path(entry, project_root),
        chosen,
        Path(output_dir) / atlas_name / "pseudobulk",
        **{
            "atlas": atlas_name,
            "sample": entry.sample or None,
            "settings": (settings or entry.settings).replace(n_bootstrap=n_bootstrap),
            "batch_size": batch_size,
            "use_gpu": use_gpu,
            "skip_existing": skip_existing,
            "counts": entry.counts,
            "duplicate_genes": entry.duplicate_genes,
            **options,
        },
    )


def aggregate(
    path: str | Path,
    levels: Sequence[Level],
    output_dir: str | Path,
    *,
    atlas: str | None = None,
    sample: str | None = None,
    settings: Settings | None = None,
    counts: str = "X",
    duplicate_genes: str = "refuse",
    skip_existing: bool = True,
    **how: object,
) -> Aggregation:
    """Aggregate levels of any h5ad or zarr in one pass.

    Parameters
    ----------
    path : str or Path
    levels : sequence of Level
    output_dir : str or Path
        Where the files go.
    atlas : str, optional
        First part of the file names; by default the name of the file.
    sample : str, optional
        obs column of the samples.
    settings : Settings, optional
    counts, duplicate_genes
        As for :func:`cytopipe.atlas.open_cells`.
    skip_existing : bool
        As for :func:`aggregate_all_levels`.
    **how
        Fields of :class:`cytopipe.atlas.pseudobulk.Pass`: batch_size, use_gpu, threads, memory_bytes,
        checkpoint_every_s, progress, announce, saved, stop.

    Raises
    ------
    InputError, BudgetError, RefusedError
        Nothing was written.
    Interrupted
        The pass is saved; the same call continues it.
    """
    started = time.perf_counter()
    Pass(**how)  # a wrong option is told before anything is read
    settings, atlas = settings or Settings(), atlas or Path(path).name.split(".")[0]
    archive = Archive(output_dir)
    with open_cells(path, counts=counts, duplicate_genes=duplicate_genes) as cells:
        recipes = {
            level: level_recipe(level, sample, settings, counts=counts, duplicate_genes=duplicate_genes)
            for level in levels
        }
        files = {
            level: {
                kind: _File(atlas, level, kind, cells.identity, recipes[level]) for kind in _kinds(settings)
            }
            for level in levels
        }
        found = _standing(archive, files) if skip_existing else {}
        missing = [level for level in levels if level not in found]
        device, projected, resumed_at, passed = "none", 0, 0, started
        if missing or not levels:
            how["scratch"] = archive.scratch(f"atlas/pseudobulk {atlas}")
            sums = add_up(cells, missing, sample, settings, Pass(**how))
            device, projected, resumed_at = sums.device, sums.plan.projected_bytes, sums.resumed_at
            passed = time.perf_counter()
            with within_memory(sums.plan, cells):
                found |= _write_levels(archive, sums, {level: files[level] for level in missing})
            sums.forget()
        return Aggregation(
            atlas, tuple(found[level] for level in levels), cells.n_cells, cells.n_genes, device, projected,
            resumed_at, passed - started, time.perf_counter() - started,
        )  # fmt: skip


@dataclass(frozen=True)
class _File:
    """A file of a level that is asked for: where it goes, and how it comes to be."""

    atlas: str
    level: Level
    kind: str
    cells: str
    recipe: Mapping[str, object]

    @property
    def place(self) -> Place:
        full = Catalogue(Path()).place(_ASSETS[self.kind], self.atlas, self.level.name)
        return Place(full.path.rpartition("/")[2])

    @property
    def provenance(self) -> Provenance:
        return _provenance(
            f"atlas/{_ASSETS[self.kind]}",
            f"{self.atlas}.{self.level.name}",
            pseudobulk.CODE_VERSION,
            self.recipe,
            {"atlas/cells": self.cells, "atlas/recipe": digest_of(self.recipe)},
        )


def _kinds(settings: Settings) -> list[str]:
    wanted = {"resampled": settings.n_bootstrap > 0, "samples": settings.sample_profiles, "profiles": True}
    return [kind for kind in _ASSETS if wanted[kind]]


def level_paths(root: Path, atlas: str, level: Level, settings: Settings) -> list[Path]:
    """The files of a level that are asked for, below a results root."""
    places = (Catalogue(root).place(_ASSETS[kind], atlas, level.name) for kind in _kinds(settings))
    return [root / place.path for place in places]


def _standing(archive: Archive, files: Mapping[Level, Mapping[str, _File]]) -> dict[Level, LevelFiles]:
    """The levels of which all files stand."""
    found = {}
    for level, kinds in files.items():
        receipts = {kind: archive.made_by(one.place, H5AD, one.provenance) for kind, one in kinds.items()}
        if None not in receipts.values():
            found[level] = LevelFiles(
                level,
                {kind: one.path for kind, one in receipts.items()},
                {kind: one.version for kind, one in receipts.items()},
                None,
                False,
            )
    return found


def _write_levels(
    archive: Archive, sums: Sums, files: Mapping[Level, Mapping[str, _File]]
) -> dict[Level, LevelFiles]:
    """Write the levels' files, two at a time: while one is digested and flushed, the next is compressed."""
    n_groups = {level: len(sums.rolled_up[level].kept) for level in files}
    largest = sorted(files, key=lambda level: -n_groups[level])  # large files first, to end together
    todo = [files[level][kind] for kind in _ASSETS for level in largest if kind in files[level]]
    sums.carried  # noqa: B018 - read before two threads ask for it

    def write(one: _File):
        value = _MAKERS[one.kind](sums, one.level, one.atlas)
        return archive.put(one.place, H5adInParts(sums.plan.threads), value, one.provenance)

    with ThreadPoolExecutor(min(2, sums.plan.threads)) as pool:
        receipts = dict(zip(((one.level, one.kind) for one in todo), pool.map(write, todo), strict=True))
    return {
        level: LevelFiles(
            level,
            {kind: receipts[level, kind].path for kind in kinds},
            {kind: receipts[level, kind].version for kind in kinds},
            n_groups[level],
            True,
            len(resampled_groups(sums.plan, sums.rolled_up[level])) if "resampled" in kinds else None,
            pseudobulk.level_warnings(sums, level),
        )
        for level, kinds in files.items()
    }


# --------------------------------------------------------------------------- profiles -> activities


def infer_activities(
    root: str | Path,
    atlas: str,
    levels: list[str] | None = None,
    signatures: tuple[str, ...] = ("cytosig",),
    settings: ActivitySettings | None = None,
    *,
    source: str | Path | None = None,
    workers: int = 1,
    skip_existing: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Infer and publish the activity of every pseudobulk file of an atlas, resampled ones too.

    Parameters
    ----------
    root : path
        The results root.
    atlas : str
    levels : list of str, optional
        All, if left out.
    signatures : tuple of str
    settings : ActivitySettings, optional
    source : path, optional
        Where the signatures' tables lie.
    workers : int
        Threads; the result does not depend on it.
    skip_existing : bool
        Leave a file that was made from the same inputs, settings and code, as its manifest proves.
    report : callable, optional
        Told one line per file.

    Returns
    -------
    list of Path
        Every activity file that stands now, in order.
    """
    archive, catalogue, settings = Archive(root), Catalogue(Path(root)), settings or ActivitySettings()
    wanted = [catalogue.require_level(atlas, level) for level in levels or catalogue.require_atlas(atlas)]
    done = []
    for name in signatures:
        signature = load_signature(name, source)
        for level in wanted:
            for kind in ("", "_resampled"):
                profiles = _given(archive, catalogue.place(kind[1:] or "pseudobulk", atlas, level))
                if profiles is None:
                    continue
                place = catalogue.place(f"activity{kind}", atlas, level, name)
                chosen = settings.of_resamples() if kind else settings
                recipe = inference_recipe(name, chosen.for_signature(signature))
                provenance = _provenance(
                    f"atlas/activity{kind}",
                    f"{profiles.key}.{name}",
                    INFERENCE_VERSION,
                    recipe,
                    {
                        f"atlas/{kind[1:] or 'pseudobulk'}": profiles.version,
                        "atlas/signatures": _digest_of_signature(signature),
                        f"atlas/inference{kind}": digest_of(recipe),
                    },
                )
                outcome = "unchanged"
                if not (skip_existing and archive.made_by(place, H5AD, provenance)):
                    value = infer_activity(profiles.value, signature, settings, workers=workers)
                    archive.put(place, H5AD, value, provenance)
                    overlap = overlap_of(value)
                    outcome = f"{overlap}, written"
                    if overlap.warning and not kind:
                        report(f"{place.path}: warning: {overlap.warning}")
                done.append(archive.root / place.path)
                report(f"{place.path}: {outcome}")
    return done


# --------------------------------------------------------------------------- activities -> validation


def validate_atlas(
    root: str | Path,
    atlas: str,
    level: str,
    signature: str | Signature,
    *,
    harmonisation: Harmonisation | None = None,
    biology: Mapping[str, tuple[str, ...]] | None = None,
    source: str | Path | None = None,
    settings: ActivitySettings | None = None,
    draw: bool = True,
) -> AtlasValidation:
    """Validate the activities of a level and publish what came out.

    Parameters
    ----------
    root : path
        The results root, with pseudobulk and activity files; ``_resampled`` and ``_samples`` files are used
        if they are there.
    atlas, level : str
    signature : str or Signature
    harmonisation, biology, settings
        As for :func:`cytopipe.atlas.validation_tables.validate`.
    source : path, optional
        Where the signature's table lies.
    draw : bool
        Also the scatter figures of the strongest targets.
    """
    archive, catalogue = Archive(root), Catalogue(Path(root))
    level = catalogue.require_level(atlas, level)
    signature = load_signature(signature, source) if isinstance(signature, str) else signature
    harmonisation = harmonisation or default_harmonisation()
    _require_activity(catalogue, atlas, level, signature.name)
    given = {
        name: _given(archive, catalogue.place(name, atlas, level, signature.name))
        for name in ("activity", "activity_resampled", "pseudobulk", "resampled", "sample_profiles")
    }
    values = {name: one.value if one else None for name, one in given.items()}
    found = validate(
        values["activity"],
        values["pseudobulk"],
        signature,
        atlas=atlas,
        level=level,
        resampled_activity=values["activity_resampled"],
        resampled=values["resampled"],
        samples=values["sample_profiles"],
        harmonisation=harmonisation,
        biology=biology,
        settings=settings,
    )
    recipe = inference_recipe(signature.name, (settings or ActivitySettings()).for_signature(signature))
    parameters = recipe | ({"biology": {k: list(v) for k, v in biology.items()}} if biology else {})
    provenance = _provenance(
        "atlas/validation",
        f"{given['pseudobulk'].key}.{signature.name}",
        VALIDATION_VERSION,
        parameters,
        {
            **{f"atlas/{name}": one.version for name, one in given.items() if one},
            "atlas/signatures": _digest_of_signature(signature),
            "atlas/inference": digest_of(recipe),
            "atlas/cell_types": harmonisation.sha256,
        },
    )
    place = catalogue.place("validation", atlas, level, signature.name)
    archive.put(place, VALIDATION, found.files(draw=draw), provenance)
    return found


def compare_atlases(
    root: str | Path,
    levels: Mapping[str, str],
    signature: str,
    *,
    granularity: Granularity = "coarse",
    harmonisation: Harmonisation | None = None,
    draw: bool = True,
) -> CrossAtlasValidation:
    """Compare the activities of several atlases and publish what came out, beside other comparisons.

    Parameters
    ----------
    root : path
        The results root.
    levels : mapping of str to str
        The level that stands for each atlas; at least two atlases.
    signature : str
        Its name in the activity files.
    granularity, harmonisation
        As for :func:`cytopipe.atlas.validation_tables.compare`.
    draw : bool
        Also the heat map and the forest.
    """
    archive, catalogue = Archive(root), Catalogue(Path(root))
    harmonisation = harmonisation or default_harmonisation()
    activities, validated = {}, {}
    for atlas in sorted(levels):
        level = catalogue.require_level(atlas, levels[atlas])
        _require_activity(catalogue, atlas, level, signature)
        activities[atlas] = _given(archive, catalogue.place("activity", atlas, level, signature))
        place = catalogue.place("validation", atlas, level, signature)
        if (receipt := archive.receipt(place)) is not None:
            validated[atlas] = (archive.get(place, VALIDATION), receipt.version)
    found = compare(
        {atlas: one.value for atlas, one in activities.items()},
        signature,
        correlations={atlas: files["expression.tsv"] for atlas, (files, _) in validated.items()},
        granularity=granularity,
        harmonisation=harmonisation,
    )
    place = catalogue.place("cross_atlas")
    keys = {atlas: f"{one.key}.{signature}" for atlas, one in activities.items()}
    provenance = _provenance(
        "atlas/cross_atlas",
        "",
        VALIDATION_VERSION,
        {"signature": signature, "granularity": granularity, "levels": dict(sorted(levels.items()))},
        {
            "atlas/activity": {keys[atlas]: one.version for atlas, one in activities.items()},
            "atlas/validation": {keys[atlas]: version for atlas, (_, version) in validated.items()},
            "atlas/cell_types": harmonisation.sha256,
        },
    )
    head = f"{signature}_{granularity}_"
    others = owned(archive.root / place.path, COMPARISON.owns(place.set_name))
    files: dict[str, object] = {name: None for name in others if not name.startswith(head)}
    files |= {f"{head}{end}": value for end, value in found.files(draw=draw).items()}
    archive.put(place, COMPARISON, files, provenance)
    return found


# --------------------------------------------------------------------------- what is given


@dataclass(frozen=True)
class _Given:
    """A file that stands, whoever wrote it.

    Parameters
    ----------
    value : H5adFile
    version : str
        Digest of its content.
    key : str
        ``atlas.level``, as the file names them.
    """

    value: H5adFile
    version: str

    @property
    def key(self) -> str:
        uns = self.value.uns
        return f"{uns.get('atlas', '')}.{uns.get('level', '')}"


def _given(archive: Archive, place: Place) -> _Given | None:
    """The file at a place, its bytes compared with its manifest if it has one; None where there is none."""
    path = archive.root / place.path
    if not path.is_file():
        return None
    try:
        receipt = archive.receipt(place)
    except DamagedError:
        raise
    except StorageError:  # a file that nobody published
        return _Given(H5adFile(path), sha256_file(path))
    return _Given(archive.get(place, H5AD), receipt.version)


def _require_activity(catalogue: Catalogue, atlas: str, level: str, signature: str) -> None:
    catalogue.require(
        catalogue.activity(atlas, level, signature),
        f"activity of {signature} for {atlas} {level}",
        catalogue.signatures(atlas, level),
    )


def _digest_of_signature(signature: Signature) -> str:
    return signature.sha256 or sha256_bytes(signature.weights.tobytes())


def _provenance(
    asset: str,
    key: str,
    code_version: str,
    parameters: Mapping[str, object],
    inputs: Mapping[str, str | Mapping[str, str]],
) -> Provenance:
    """As a run writes it; inputs are versions by asset, or by asset and partition."""
    return Provenance(
        what=f"{asset} [{key}]" if key else asset,
        asset=asset,
        partition=key,
        code_version=code_version,
        parameters=parameters,
        inputs=tuple(
            Input(path="", sha256=version, asset=one, partition=part)
            for one, versions in inputs.items()
            for part, version in (versions.items() if isinstance(versions, Mapping) else [("", versions)])
        ),
        libraries=library_versions(_LIBRARIES),
    )
