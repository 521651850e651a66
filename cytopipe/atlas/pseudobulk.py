"""Pseudobulk of every annotation level of an atlas, in one streaming pass.

1. `add_up` reads the cells once and adds them up for all levels together, in memory that is stated before the
   start and does not grow with the number of cells. A pass that is stopped or killed continues from its
   checkpoint, in a folder that the caller names.
2. `level_profiles`, `level_resamples` and `level_samples` make of the sums what a level's artifacts hold, as
   values that a format writes in blocks.

Parity with the reference implementation holds to 1e-4 in X, counts, z-scores and statistics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.atlas import checkpoint, profiles, results
from cytopipe.atlas.accumulate import Accumulators, Adder
from cytopipe.atlas.cells import Cells
from cytopipe.atlas.device import open_adder
from cytopipe.atlas.plan import PassPlan, plan_pass, units_digest
from cytopipe.atlas.registry import Level
from cytopipe.atlas.sample_metadata import carried_columns, constant_columns
from cytopipe.atlas.settings import Settings
from cytopipe.atlas.stream import open_stream
from cytopipe.atlas.unit_counts import UnitCounts
from cytopipe.engine import available_cores
from cytopipe.errors import BudgetError, CytopipeError, Interrupted, ParameterError

if TYPE_CHECKING:
    from cytopipe.storage.formats.h5ad_blocks import AnnDataBlocks

__all__ = [
    "CODE_VERSION",
    "Pass",
    "Sums",
    "add_up",
    "level_profiles",
    "level_resamples",
    "level_samples",
    "level_warnings",
    "within_memory",
]

CODE_VERSION = "1"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """How a pass over the cells is done; no byte of its results depends on it.

    Parameters
    ----------
    scratch : Path, optional
        Folder for its checkpoint; without one, a pass that is stopped begins anew.
    batch_size : int
        Cells between two checkpoints at least; also how many are read at once at most.
    checkpoint_every_s : float
        Seconds between checkpoints at least; 0 saves one after every batch.
    use_gpu : bool
        Use a GPU where there is one.
    threads : int, optional
        By default as many as there are cores.
    memory_bytes : int, optional
        What the process may hold; by default 80% of what is available.
    announce : callable
        Called with the plan, before a cell is read.
    progress, saved : callable
        Called with cells (or genes) done and in all: after every block, and after every checkpoint.
    stop : callable
        Asked after every block; True saves a checkpoint and raises `Interrupted`.
    """

    scratch: Path | None = None
    batch_size: int = 50_000
    checkpoint_every_s: float = 60.0
    use_gpu: bool = True
    threads: int | None = None
    memory_bytes: int | None = None
    announce: Callable[[PassPlan], None] = lambda plan: None
    progress: Progress = lambda done, total: None
    saved: Progress = lambda done, total: None
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ParameterError(
                "batch_size is out of range", expected="at least 1 cell", found=str(self.batch_size)
            )
        if self.threads is not None and self.threads < 1:
            raise ParameterError("threads is out of range", expected="at least 1", found=str(self.threads))
        if not self.checkpoint_every_s >= 0:
            raise ParameterError("checkpoint_every_s is negative", found=str(self.checkpoint_every_s))

    @property
    def checkpoint(self) -> Path | None:
        return self.scratch / "pass" if self.scratch else None


@dataclass(frozen=True, eq=False, kw_only=True)
class Sums:
    """What one pass over an atlas added up; all of its levels' artifacts follow from it.

    Parameters
    ----------
    cells : Cells
        Still open while values are made of the sums.
    levels : tuple of Level
        Those that were asked for.
    plan : PassPlan
    accumulators : Accumulators
    device : str
        ``cpu`` or ``gpu``.
    resumed_at : int
        Cells (or genes) that a checkpoint already held.
    how : Pass
    """

    cells: Cells
    levels: tuple[Level, ...]
    plan: PassPlan
    accumulators: Accumulators
    device: str
    resumed_at: int
    how: Pass

    @cached_property
    def statistics(self) -> profiles.Statistics:
        return profiles.atlas_statistics(self.accumulators.logs, self.cells.n_cells)

    @cached_property
    def counts(self) -> UnitCounts:
        return UnitCounts(self.plan, self.accumulators)

    @cached_property
    def rolled_up(self) -> dict[Level, profiles.Profiles]:
        """The profiles of every level; their values are derived when they are asked for."""
        found = profiles.all_profiles(self.plan, self.accumulators, self.counts)
        return {level: found[self.position(level)] for level in self.levels}

    @cached_property
    def by_sample(self) -> dict[Level, profiles.SampleProfiles]:
        """Profiles per sample and group of every level; none where they are not asked for."""
        if not self.plan.settings.sample_profiles:
            return {}
        return {
            level: profiles.SampleProfiles(self.plan, self.counts, self.position(level))
            for level in self.levels
        }

    @cached_property
    def carried(self) -> dict[tuple[str, Level], dict]:
        """obs columns that are constant within every profile, by (``groups`` or ``samples``, level)."""
        units = self.plan.units
        groups = {}
        for level, one in self.rolled_up.items():
            of_unit = one.grouping.group_of_unit
            groups["groups", level] = (of_unit[units.of_cell], one.kept)
            if level in self.by_sample:
                known = (of_unit >= 0) & (units.sample_of_unit >= 0)
                pair = np.where(
                    known, of_unit.astype(np.int64) * len(units.samples) + units.sample_of_unit, -1
                )
                samples = self.by_sample[level]
                groups["samples", level] = (
                    pair[units.of_cell],
                    samples.groups * len(units.samples) + samples.samples,
                )
        columns = constant_columns(self.cells, self.plan.settings.carry)
        return carried_columns(self.cells, columns, groups)

    def position(self, level: Level) -> int:
        return self.plan.levels.index(level)

    def forget(self) -> None:
        """Remove the checkpoint, once everything that follows from the sums is written."""
        if self.how.scratch is not None:
            self.how.scratch.joinpath("pass").unlink(missing_ok=True)
            with suppress(OSError):  # the folder is another's, too
                self.how.scratch.rmdir()


# --------------------------------------------------------------------------- values of a level


def level_profiles(sums: Sums, level: Level, atlas: str) -> AnnDataBlocks:
    """The profiles of a level's groups; see :func:`cytopipe.atlas.results.profiles_value`."""
    return results.profiles_value(
        sums.plan,
        sums.rolled_up[level],
        sums.statistics,
        sums.carried["groups", level],
        sums.cells.genes,
        atlas,
    )


def level_resamples(sums: Sums, level: Level, atlas: str) -> AnnDataBlocks:
    """The resamples of a level's groups; see :func:`cytopipe.atlas.results.resampled_value`."""
    resampler = profiles.Resampler(
        sums.plan, sums.accumulators, sums.counts, sums.rolled_up[level], sums.position(level)
    )
    return results.resampled_value(sums.plan, resampler, sums.statistics, sums.cells.genes, atlas)


def level_samples(sums: Sums, level: Level, atlas: str) -> AnnDataBlocks:
    """Whole counts per sample and group; see :func:`cytopipe.atlas.results.sample_profiles_value`."""
    return results.sample_profiles_value(
        sums.plan,
        sums.by_sample[level],
        sums.position(level),
        sums.carried["samples", level],
        sums.cells.genes,
        atlas,
    )


def level_warnings(sums: Sums, level: Level) -> tuple[str, ...]:
    """What a user should know of a level that has less in it than was meant."""
    found, settings, name = sums.rolled_up[level], sums.plan.settings, level.name
    if not len(found.kept):
        largest = int(found.grouping.n_cells.max(initial=0))
        labels = ", ".join(found.grouping.names[:3])
        return (
            (
                f"level {name}: none of its {len(found.grouping.names):,} groups has {settings.min_cells:,} "
                f"cells and {settings.min_counts:,} counts; the largest has {largest:,} cells. First labels: "
                f"{labels}. Its files hold no group. Lower min_cells, or name a column of cell types."
            ),
        )
    if settings.n_bootstrap and not profiles.resampled_groups(sums.plan, found):
        most = int(found.n_samples[found.kept].max(initial=0))
        return (
            (
                f"level {name}: none of its {len(found.kept):,} groups has {settings.min_samples:,} samples, "
                f"but at most {most:,}. Its resampled file holds no group. Lower min_samples, or draw cells."
            ),
        )
    return ()


# --------------------------------------------------------------------------- the pass


@contextmanager
def within_memory(plan: PassPlan, cells: Cells) -> Iterator[None]:
    """Say what a pass was projected to hold where the system refuses it memory."""
    try:
        yield
    except CytopipeError:
        raise
    except MemoryError as error:
        raise BudgetError(
            "the system gives less memory than the pass needs",
            where=str(cells.path),
            expected=f"{plan.projected_bytes:,} bytes, as projected",
            found=str(error) or "less",
            next="Close other programs, or ask for fewer levels or resamples at a time.",
        ) from error


def add_up(
    cells: Cells,
    levels: Sequence[Level],
    sample: str | None = None,
    settings: Settings | None = None,
    how: Pass | None = None,
) -> Sums:
    """Add up the cells of an atlas for all of its levels, in one pass.

    Parameters
    ----------
    cells : Cells
        As from :func:`cytopipe.atlas.open_cells`.
    levels : sequence of Level
    sample : str, optional
        obs column of the samples.
    settings : Settings, optional
    how : Pass, optional

    Raises
    ------
    InputError, BudgetError, RefusedError
        The cells cannot be added up.
    Interrupted
        The pass is saved; the same call continues it.
    """
    settings, how = settings or Settings(), how or Pass()
    threads = how.threads or available_cores()
    # A checkpoint is of all the levels that were asked for then: those are continued, even if some are
    # written.
    saved = checkpoint.levels_of(how.checkpoint) if how.checkpoint else ()
    todo = saved if set(levels) <= set(saved) else tuple(levels)
    plan = plan_pass(cells, todo, sample, settings, threads=threads, memory_bytes=how.memory_bytes)
    how.announce(plan)
    with within_memory(plan, cells):
        accumulators, device, resumed_at = _run_pass(cells, plan, how)
    return Sums(
        cells=cells,
        levels=tuple(levels),
        plan=plan,
        accumulators=accumulators,
        device=device,
        resumed_at=resumed_at,
        how=how,
    )


def _run_pass(cells: Cells, plan: PassPlan, how: Pass) -> tuple[Accumulators, str, int]:
    """Stream the cells into accumulators, from the checkpoint if there is one."""
    by_gene = cells.matrix.form == "csc"
    belongs_to = _pass_identity(cells, plan)
    n_totals = cells.n_cells if by_gene else 0
    accumulators = Accumulators.zeros(plan, n_totals=n_totals)
    start = checkpoint.Position("totals" if by_gene else "rows", 0)
    if how.checkpoint and how.checkpoint.exists():
        saved_position = checkpoint.load(how.checkpoint, belongs_to, accumulators)
        if saved_position is None:  # some of it may have been read
            accumulators = Accumulators.zeros(plan, n_totals=n_totals)
        start = saved_position or start
    position = start

    def save(position: checkpoint.Position) -> None:
        if how.checkpoint is not None:
            checkpoint.save(how.checkpoint, belongs_to, plan.levels, position, accumulators)

    with open_adder(cells, plan, accumulators, use_gpu=how.use_gpu) as adder:
        steps = _steps_by_gene if by_gene else _steps_by_cell
        saved_at, saved = time.monotonic(), position
        total = cells.matrix.shape[1] * 2 if by_gene else cells.n_cells
        for position in steps(cells, plan, adder, start, how.batch_size):
            how.progress(_done(position, total), total)
            stopping = how.stop()
            due = time.monotonic() - saved_at >= how.checkpoint_every_s
            if stopping or (due and _batches(saved, position) >= how.batch_size):
                adder.settle()
                save(position)
                saved_at, saved = time.monotonic(), position
                how.saved(_done(position, total), total)
            if stopping:
                raise Interrupted(
                    f"stopped at {_done(position, total):,} of {total:,}; the same command continues there",
                    where=str(cells.path),
                )
        adder.settle()
        # Writing may be interrupted, too.
        if how.checkpoint_every_s == 0 or time.monotonic() - saved_at >= how.checkpoint_every_s:
            save(position)
        return accumulators, adder.device, _done(start, total)


def _pass_identity(cells: Cells, plan: PassPlan) -> str:
    """SHA-256 over what a checkpoint belongs to."""
    return checkpoint.pass_identity(
        {
            "input": cells.identity,
            "counts": cells.matrix.where,
            "genes": checkpoint.digest_of_names(cells.genes),
            "units": units_digest(plan.units),
            "layout": [plan.layout, plan.n_rows, plan.n_boot_slots],
            "bootstrap": [plan.settings.bootstrap, plan.settings.seed, plan.settings.n_bootstrap],
            "code": CODE_VERSION,
        }
    )


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
        adder.finish_columns()
        yield checkpoint.Position("columns", n_columns)
