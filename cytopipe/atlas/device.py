"""The same sums on an array module: CuPy on a GPU, NumPy as its plain twin.

Blocks come in as for the compiled kernels and the same accumulators leave. Counts are added as whole numbers,
so they are equal to the bit; logs are rounded to fixed point after the device's own log1p, so means and
deviations agree to 1e-9, far within the 1e-5 that is promised. Chosen at run time: without CuPy, a device or
enough of its memory the compiled kernels do the work.
"""

from __future__ import annotations

import numpy as np

from cytopipe.atlas import kernels
from cytopipe.atlas.accumulate import Accumulators, Adder
from cytopipe.atlas.bootstrap import poisson_weights
from cytopipe.atlas.cells import Cells
from cytopipe.atlas.plan import PassPlan
from cytopipe.atlas.stream import Block

__all__ = ["ArrayAdder", "open_adder", "usable_gpu"]

_WEIGHTED_AT_ONCE = 1 << 17  # entries x resamples expanded at a time: 100 MB at 100 resamples


def open_adder(cells: Cells, plan: PassPlan, accumulators: Accumulators, *, use_gpu: bool) -> Adder:
    """The adder of the best device: a GPU where one is asked for, present and large enough, else threads."""
    if use_gpu and cells.matrix.form != "csc":
        module = usable_gpu(plan.projected_bytes)
        if module is not None:
            return ArrayAdder(cells, plan, accumulators, module)
    return Adder(cells, plan, accumulators)


def usable_gpu(needed_bytes: int):
    """CuPy, if it is installed, sees a device, and the device has `needed_bytes` free; else None."""
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() == 0:
            return None
        free_bytes, _ = cupy.cuda.runtime.memGetInfo()
    except Exception:  # a driver that is missing or too old raises what it likes: then there is no GPU
        return None
    return cupy if free_bytes > needed_bytes else None


class ArrayAdder(Adder):
    """Adds blocks with an array module.

    Parameters
    ----------
    cells, plan, accumulators
        As :class:`Adder`.
    module : module
        ``cupy`` or ``numpy``.
    """

    def __init__(self, cells: Cells, plan: PassPlan, accumulators: Accumulators, module) -> None:
        super().__init__(cells, plan, accumulators)
        self.xp = module
        self.device = "gpu" if module.__name__ == "cupy" else "arrays"
        summed = ("unit_totals", "sums", "expressing", "logs", "boot", "squares", "cross", "total_squares")
        self._held = {name: self._to_device(getattr(accumulators, name)) for name in summed}
        self._gene_of_column = module.asarray(cells.gene_of_column)
        self._device_weights = module.asarray(self._weights)

    def add_rows(self, block: Block) -> None:
        xp, held, plan = self.xp, self._held, self.plan
        n_genes = plan.n_genes
        unit = plan.units.of_cell[block.start : block.stop]
        leaf = xp.asarray(self.leaf_of_unit[unit])
        target = xp.asarray(self.row_of_unit[unit])
        indptr = xp.asarray(block.indptr)
        indices, values = xp.asarray(block.indices), xp.asarray(block.data)
        row = xp.searchsorted(indptr, xp.arange(len(values), dtype=indptr.dtype), side="right") - 1
        counts = self._checked_counts(block, row, indices, values)
        running = xp.concatenate([xp.zeros(1, np.int64), xp.cumsum(counts)])
        totals = running[indptr[1:]] - running[indptr[:-1]]
        if len(totals) and int(totals.max()) >= kernels.LARGEST_COUNT:
            raise self.bad_cell(kernels.BAD_TOTAL, block.start + int(totals.argmax()))
        self._add(held["unit_totals"], xp.asarray(unit.astype(np.int64)), totals)
        row, gene, counts = self._merged(row, self._gene_of_column[indices].astype(np.int64), counts, n_genes)
        if self.with_sums:
            self._add(held["sums"], target[row].astype(np.int64) * n_genes + gene, counts)
            one = xp.ones(len(row), np.int32)
            self._add(held["expressing"], leaf[row].astype(np.int64) * n_genes + gene, one)
        if self.into.entries:  # in the memory of the host, where the groups are made
            self._keep_rows(block, [self.into.logs[:0]] * plan.threads)
        y = xp.log1p(counts * (1e6 / totals[row]))
        scale = 2.0**self.bits
        self._add(held["logs"], gene * 2, xp.rint(y * scale).astype(np.int64))
        self._add(held["logs"], gene * 2 + 1, xp.rint(y * y * scale).astype(np.int64))
        if plan.by_cells:
            place = leaf[row].astype(np.int64) * n_genes + gene
            self._add(held["squares"], place, counts * counts)
            self._add(held["cross"], place, counts * totals[row])
            self._add(held["total_squares"], leaf.astype(np.int64), totals * totals)
        if plan.n_boot_slots:
            self._add_resamples(block, unit, leaf, row, gene, counts)

    def settle(self) -> None:
        """Copy the sums from the device into the accumulators."""
        super().settle()
        for name, held in self._held.items():
            host = held.get() if hasattr(held, "get") else held
            if name == "sums":
                whole = host.view(np.int64)
                if whole.max(initial=0) > np.iinfo(self.into.sums.dtype).max:
                    self.into.widen_sums()
            else:
                whole = host.view(getattr(self.into, name).dtype)
            array = getattr(self.into, name)
            array[...] = whole.reshape(array.shape)

    def _to_device(self, array: np.ndarray):
        """A copy on the device; sums in 64 bits, unsigned, which is what CuPy can add atomically."""
        flat = np.array(array).reshape(-1)
        if flat.dtype == np.int32 and array is self.into.sums:
            flat = flat.astype(np.int64)
        return self.xp.asarray(flat.view(np.uint64) if flat.dtype == np.int64 else flat)

    def _add(self, held, places, values) -> None:
        self.xp.add.at(held, places, values.view(held.dtype))

    def _checked_counts(self, block: Block, row, indices, values):
        xp = self.xp
        counts = values.astype(np.int64)
        bad_value = ~((values >= 0) & (values < kernels.LARGEST_COUNT)) | (counts != values)
        bad_column = (indices < 0) | (indices >= len(self._gene_of_column))
        for bad, status in ((bad_value, kernels.BAD_VALUE), (bad_column, kernels.BAD_COLUMN)):
            if bool(bad.any()):
                raise self.bad_cell(status, block.start + int(row[int(xp.argmax(bad))]))
        return counts

    def _merged(self, row, gene, counts, n_genes: int):
        """Non-zero entries, those of one gene in one cell added together."""
        xp = self.xp
        key = row * n_genes + gene
        if len(key) > 1 and not bool((key[1:] > key[:-1]).all()):
            key, inverse = xp.unique(key, return_inverse=True)
            merged = xp.zeros(len(key), np.uint64)
            xp.add.at(merged, inverse.reshape(-1), counts.view(np.uint64))
            counts = merged.view(np.int64)
            row, gene = key // n_genes, key % n_genes
        kept = counts != 0
        return row[kept], gene[kept], counts[kept]

    def _add_resamples(self, block: Block, unit: np.ndarray, leaf, row, gene, counts) -> None:
        xp, plan = self.xp, self.plan
        n_slots = plan.n_boot_slots
        if plan.by_cells:
            slots = plan.slots
            keys = plan.keys[block.start : block.stop]
            weights = xp.asarray(poisson_weights(keys, plan.settings.seed, slots.resample, slots.attempt))
            runs = xp.arange(len(unit))
        else:
            weights, runs = self._device_weights, xp.asarray(self._runs(unit))
        slot = xp.arange(n_slots, dtype=np.int64)
        for start in range(0, len(row), _WEIGHTED_AT_ONCE):
            part = slice(start, start + _WEIGHTED_AT_ONCE)
            run = runs[row[part]]
            taken = run >= 0
            place = (leaf[row[part]].astype(np.int64) * plan.n_genes + gene[part])[taken]
            weighted = counts[part][taken][:, None] * weights[run[taken]]
            self._add(self._held["boot"], (place[:, None] * n_slots + slot).reshape(-1), weighted.reshape(-1))
