"""Pseudobulk of every annotation level of an atlas, in one streaming pass.

An atlas comes in (:mod:`cytopipe.atlas.cells`); per level two files leave: profiles with z-scores against
the whole atlas, and bootstrap resamples of them. Cells are read once, in memory that is stated before the
start and does not grow with their number; a pass that is stopped or killed continues where it was. Files
that stand whole, made from the same cells with the same parameters, are not made again.

Parity with the reference implementation holds to 1e-4 in X, counts, z-scores and statistics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from cytopipe.atlas import checkpoint, profiles, results
from cytopipe.atlas.accumulate import Accumulators, Adder, open_adder
from cytopipe.atlas.carry import carried_columns, constant_columns
from cytopipe.atlas.cells import Cells, open_cells
from cytopipe.atlas.identity import input_identity
from cytopipe.atlas.plan import PassPlan, plan_pass, units_digest
from cytopipe.atlas.registry import AtlasEntry, Level, get_atlas, load_registry, resolve_path
from cytopipe.atlas.settings import Settings
from cytopipe.atlas.stream import open_stream
from cytopipe.engine import available_cores
from cytopipe.errors import CytopipeError, Interrupted, ParameterError
from cytopipe.provenance import Input, Provenance, library_versions
from cytopipe.storage import Published, Store

__all__ = ["Aggregation", "LevelFiles", "aggregate", "aggregate_all_levels", "level_paths"]

CODE_VERSION = "1"
_WRITTEN = ("resampled", "samples", "profiles")  # in this order
_LIBRARIES = ("numpy", "numba", "h5py", "anndata", "isal")

Progress = Callable[[int, int], None]


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
    """

    level: Level
    files: Mapping[str, Path]
    sha256: Mapping[str, str]
    n_groups: int | None
    made: bool


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
        atlas=atlas_name,
        sample=entry.sample or None,
        settings=(settings or entry.settings).replace(n_bootstrap=n_bootstrap),
        batch_size=batch_size,
        use_gpu=use_gpu,
        skip_existing=skip_existing,
        **{"counts": entry.counts, "duplicate_genes": entry.duplicate_genes, **options},  # type: ignore[arg-type]
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
    batch_size: int = 50_000,
    use_gpu: bool = True,
    skip_existing: bool = True,
    threads: int | None = None,
    memory_bytes: int | None = None,
    checkpoint_every_s: float = 60.0,
    progress: Progress | None = None,
    announce: Callable[[PassPlan], None] | None = None,
    stop: Callable[[], bool] | None = None,
    on_checkpoint: Progress | None = None,
    store: Store | None = None,
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
    batch_size, use_gpu, skip_existing
        As for :func:`aggregate_all_levels`.
    threads : int, optional
        By default as many as there are cores.
    memory_bytes : int, optional
        What the process may hold; by default 80% of what is available.
    checkpoint_every_s : float
        Seconds between checkpoints at least; 0 saves one after every batch.
    progress : callable, optional
        Called with cells (or genes) done and in all.
    announce : callable, optional
        Called with the plan, before a cell is read.
    stop : callable, optional
        Asked after every block; True saves a checkpoint and raises Interrupted.
    on_checkpoint : callable, optional
        Called with cells (or genes) done and in all, after they were saved.
    store : Store, optional
        By default one at `output_dir`.

    Raises
    ------
    InputError, BudgetError, RefusedError
        Nothing was written.
    Interrupted
        The pass is saved; the same call continues it.
    """
    started = time.perf_counter()
    _check_options(batch_size, threads, checkpoint_every_s)
    settings = settings or Settings()
    folder = Path(output_dir).absolute()  # the store reads a relative path as one below its root
    atlas = atlas or Path(path).name.split(".")[0]
    store = store or Store(folder)
    with open_cells(path, counts=counts, duplicate_genes=duplicate_genes) as cells:
        job = _Job(cells, atlas, folder, store, settings, sample, duplicate_genes, input_identity(Path(path)))
        wanted = {level: level_paths(folder, atlas, level, settings) for level in levels}
        standing = {
            level: job.standing(level, paths) if skip_existing else None for level, paths in wanted.items()
        }
        missing = [level for level in levels if standing[level] is None]
        finished = {level: LevelFiles(level, wanted[level], digests, None, False)
                    for level, digests in standing.items() if digests is not None}  # fmt: skip
        if levels and not missing:
            elapsed = time.perf_counter() - started
            done = tuple(finished[level] for level in levels)
            return Aggregation(atlas, done, cells.n_cells, cells.n_genes, "none", 0, 0, 0.0, elapsed)
        threads = threads or available_cores()
        # a checkpoint belongs to all levels that were asked for: continue those, even if some are written
        todo = list(levels) if job.checkpoint.exists() else missing
        plan = plan_pass(cells, todo, sample, settings, threads=threads, memory_bytes=memory_bytes)
        if announce:
            announce(plan)
        accumulators, device, resumed_at = _run_pass(
            job, plan, batch_size, use_gpu, checkpoint_every_s,
            progress or _unheard, on_checkpoint or _unheard, stop or (lambda: False),
        )  # fmt: skip
        passed = time.perf_counter()
        finished |= _write_levels(job, plan, accumulators, missing, wanted)
        checkpoint.discard(job.checkpoint)
        return Aggregation(
            atlas, tuple(finished[level] for level in levels), cells.n_cells, cells.n_genes, device,
            plan.projected_bytes, resumed_at, passed - started, time.perf_counter() - started,
        )  # fmt: skip


def level_paths(folder: Path, atlas: str, level: Level, settings: Settings) -> dict[str, Path]:
    """Where the files of a level are written and read, by the one rule there is for both."""
    stem = f"{atlas}_pseudobulk_{level.file_part}"
    paths = {"profiles": folder / f"{stem}.h5ad"}
    if settings.n_bootstrap:
        paths["resampled"] = folder / f"{stem}_resampled.h5ad"
    if settings.sample_profiles:
        paths["samples"] = folder / f"{stem}_samples.h5ad"
    return paths


@dataclass(frozen=True)
class _Job:
    """What stays the same over a run."""

    cells: Cells
    atlas: str
    folder: Path
    store: Store
    settings: Settings
    sample: str | None
    duplicate_genes: str
    identity: str

    @property
    def checkpoint(self) -> Path:
        return self.folder / f".{self.atlas}_pseudobulk.pass"

    def provenance(self, level: Level, kind: str) -> Provenance:
        parameters = self.settings.as_json() | {
            "level": str(level),
            "sample": self.sample or "",
            "counts": self.cells.matrix.where,
            "duplicate_genes": self.duplicate_genes,
        }
        return Provenance(
            what=f"{self.atlas} pseudobulk {level.name}: {kind}",
            parameters=parameters,
            inputs=(Input(path=str(self.cells.path), sha256=self.identity),),
            code_version=CODE_VERSION,
            libraries=library_versions(_LIBRARIES),
        )

    def standing(self, level: Level, paths: Mapping[str, Path]) -> dict[str, str] | None:
        """Digests of the level's files if all stand whole and were made by this recipe, else None."""
        digests = {}
        for kind, path in paths.items():
            try:
                manifest = self.store.manifest(path)
                recipe = Provenance.from_json(manifest.provenance).recipe()
                if recipe != self.provenance(level, kind).recipe() or self.store.verify(path):
                    return None
            except (CytopipeError, TypeError, AttributeError):  # never published, or without provenance
                return None
            digests[kind] = manifest.sha256
        return digests


def _run_pass(
    job: _Job,
    plan: PassPlan,
    batch_size: int,
    use_gpu: bool,
    every_s: float,
    progress: Progress,
    on_checkpoint: Progress,
    stop: Callable[[], bool],
) -> tuple[Accumulators, str, int]:
    """Stream the cells into accumulators, from the checkpoint if there is one."""
    cells = job.cells
    by_gene = cells.matrix.form == "csc"
    belongs_to = checkpoint.pass_identity(
        {
            "input": job.identity,
            "counts": cells.matrix.where,
            "duplicate_genes": job.duplicate_genes,
            "units": units_digest(plan.units),
            "layout": [plan.layout, plan.rows_are_units, plan.n_boot_slots],
            "bootstrap": [job.settings.bootstrap, job.settings.seed, job.settings.n_bootstrap],
            "code": CODE_VERSION,
        }
    )
    accumulators = Accumulators.zeros(plan, n_totals=cells.n_cells if by_gene else 0)
    position = checkpoint.load(job.store, job.checkpoint, belongs_to, accumulators)
    position = start = position or checkpoint.Position("totals" if by_gene else "rows", 0)
    with open_adder(cells, plan, accumulators, use_gpu=use_gpu) as adder:
        steps = _steps_by_gene if by_gene else _steps_by_cell
        saved_at, saved = time.monotonic(), position
        total = cells.matrix.shape[1] * 2 if by_gene else cells.n_cells
        for position in steps(cells, plan, adder, start, batch_size):
            progress(_done(position, total), total)
            stopping = stop()
            due = time.monotonic() - saved_at >= every_s and _batches(saved, position) >= batch_size
            if stopping or due:
                adder.settle()
                checkpoint.save(job.store, job.checkpoint, belongs_to, position, accumulators)
                saved_at, saved = time.monotonic(), position
                on_checkpoint(_done(position, total), total)
            if stopping:
                raise Interrupted(
                    f"stopped at {_done(position, total):,} of {total:,}; the same command continues there",
                    where=f"atlas {job.atlas}",
                )
        adder.settle()
        if every_s == 0 or time.monotonic() - saved_at >= every_s:  # writing may be interrupted too
            checkpoint.save(job.store, job.checkpoint, belongs_to, position, accumulators)
        return accumulators, adder.device, _done(start, total)


def _done(position: checkpoint.Position, total: int) -> int:
    """Steps behind: the second of two passes begins half-way."""
    return position.done + (total // 2 if position.stage == "columns" else 0)


def _batches(since: checkpoint.Position, now: checkpoint.Position) -> int:
    """Rows since the last checkpoint; the change of stage counts as many."""
    return now.done - since.done if now.stage == since.stage else 1 << 62


def _steps_by_cell(
    cells: Cells, plan: PassPlan, adder: Adder, position: checkpoint.Position, batch_size: int
) -> Iterator[checkpoint.Position]:
    with open_stream(cells, plan.threads, batch_size) as stream:
        for block in stream.blocks(position.done, cells.n_cells):
            adder.add_rows(block)
            yield checkpoint.Position("rows", block.stop)


def _steps_by_gene(
    cells: Cells, plan: PassPlan, adder: Adder, position: checkpoint.Position, batch_size: int
) -> Iterator[checkpoint.Position]:
    """Two passes over a matrix stored by gene: totals of the cells, then everything that needs them."""
    n_columns = cells.matrix.shape[1]
    with open_stream(cells, plan.threads, batch_size) as stream:
        if position.stage == "totals":
            for block in stream.blocks(position.done, n_columns):
                adder.add_totals(block)
                yield checkpoint.Position("totals", block.stop)
            adder.finish_totals()
            position = checkpoint.Position("columns", 0)
            yield position
        if position.done == n_columns:
            return
        columns_per_gene = np.bincount(cells.gene_of_column, minlength=cells.n_genes)
        for block in stream.blocks(position.done, n_columns):
            genes = cells.gene_of_column[block.start : block.stop].astype(np.int64)
            columns = np.flatnonzero(columns_per_gene[genes] == 1)
            adder.add_columns(block, genes[columns], columns, np.arange(len(columns) + 1))
            if block.stop < n_columns:
                yield checkpoint.Position("columns", block.stop)
        for gene in np.flatnonzero(columns_per_gene > 1):  # genes whose columns lie apart
            columns = np.flatnonzero(cells.gene_of_column == gene)
            block = stream.gather(columns)
            starts = np.array([0, len(columns)])
            adder.add_columns(block, np.array([gene], np.int64), np.arange(len(columns)), starts)
        yield checkpoint.Position("columns", n_columns)


def _write_levels(
    job: _Job, plan: PassPlan, accumulators: Accumulators, missing: Sequence[Level], wanted
) -> dict[Level, LevelFiles]:
    """Derive and publish the files of the levels that are missing.

    Two files at a time: while one is digested and flushed, the next one is compressed.
    """
    statistics = profiles.atlas_statistics(accumulators.logs, job.cells.n_cells)
    positions = {level: plan.levels.index(level) for level in missing}
    with ThreadPoolExecutor(plan.threads) as pool:
        rolled = dict(
            zip(
                missing,
                pool.map(partial(profiles.level_profiles, plan, accumulators), positions.values()),
                strict=True,
            )
        )
    by_sample = {
        level: profiles.SampleProfiles(plan, accumulators, positions[level])
        for level in missing
        if job.settings.sample_profiles
    }
    carried = _carried(job, plan, rolled, by_sample)

    def publish(level: Level, kind: str) -> Published:
        path, provenance = wanted[level][kind], job.provenance(level, kind)
        common = {"genes": job.cells.genes, "atlas": job.atlas, "provenance": provenance}
        if kind == "resampled":
            resampler = profiles.Resampler(plan, accumulators, rolled[level], positions[level])
            return results.write_resampled(job.store, path, plan, resampler, statistics, **common)
        if kind == "samples":
            return results.write_sample_profiles(
                job.store, path, plan, by_sample[level], positions[level], carried[kind, level], **common
            )
        return results.write_profiles(
            job.store, path, plan, rolled[level], statistics, carried[kind, level], **common
        )

    # the profiles last: where they stand, the rest of the level stands; large files first, to end together
    largest = sorted(missing, key=lambda level: -len(rolled[level].kept))
    files = [(level, kind) for kind in _WRITTEN for level in largest if kind in wanted[level]]
    # a product of a small matrix gains nothing from more threads inside each of ours
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(min(2, plan.threads)) as pool:
        published = dict(zip(files, pool.map(publish, *zip(*files, strict=True)), strict=True))
    return {
        level: LevelFiles(
            level,
            wanted[level],
            {kind: published[level, kind].sha256 for kind in wanted[level]},
            len(rolled[level].kept),
            True,
        )
        for level in missing
    }


def _carried(job: _Job, plan: PassPlan, rolled, by_sample) -> dict[tuple[str, Level], dict]:
    units = plan.units
    groups = {}
    for level, one in rolled.items():
        of_unit = one.grouping.group_of_unit
        groups["profiles", level] = (of_unit[units.of_cell], one.kept)
        if level in by_sample:
            known = (of_unit >= 0) & (units.sample_of_unit >= 0)
            pair = np.where(known, of_unit.astype(np.int64) * len(units.samples) + units.sample_of_unit, -1)
            groups["samples", level] = (
                pair[units.of_cell],
                by_sample[level].groups * len(units.samples) + by_sample[level].samples,
            )
    columns = constant_columns(job.cells, job.settings.carry)
    return carried_columns(job.cells, columns, groups)


def _unheard(done: int, total: int) -> None:
    """Progress that nobody asked for."""


def _check_options(batch_size: int, threads: int | None, checkpoint_every_s: float) -> None:
    if batch_size < 1:
        raise ParameterError("batch_size is out of range", expected="at least 1 cell", found=str(batch_size))
    if threads is not None and threads < 1:
        raise ParameterError("threads is out of range", expected="at least 1", found=str(threads))
    if not checkpoint_every_s >= 0:
        raise ParameterError("checkpoint_every_s is negative", found=str(checkpoint_every_s))
