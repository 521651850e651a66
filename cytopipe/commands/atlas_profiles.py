"""From the cells of a file to the profiles of its levels, as files: what the plain commands do and
notebooks may call.

The cells are read once for all levels that are asked for. Files that stand whole and were made from the same
cells with the same parameters are left; a pass that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cytopipe.atlas import pseudobulk
from cytopipe.atlas.catalogue import Catalogue
from cytopipe.atlas.cells import open_cells
from cytopipe.atlas.profiles import resampled_groups
from cytopipe.atlas.pseudobulk import Pass, Sums, add_up, within_memory
from cytopipe.atlas.recipe import level_recipe
from cytopipe.atlas.registry import AtlasEntry, Level, get_atlas, load_registry, resolve_path
from cytopipe.atlas.settings import Settings
from cytopipe.defs.artifact import digest_of
from cytopipe.provenance import Input, Provenance, library_versions
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats.h5ad import H5AD_IN_PARTS as H5AD
from cytopipe.storage.formats.h5ad import H5adInParts
from cytopipe.storage.formats.h5ad_blocks import AnnDataBlocks

__all__ = [
    "Aggregation",
    "LevelFiles",
    "aggregate",
    "aggregate_all_levels",
    "level_paths",
    "provenance_of",
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
        found = _made_before(archive, files) if skip_existing else {}
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
        return provenance_of(
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


def _made_before(archive: Archive, files: Mapping[Level, Mapping[str, _File]]) -> dict[Level, LevelFiles]:
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


def provenance_of(
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
