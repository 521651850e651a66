"""Cytoplasm: what of a cell its nucleus does not cover."""

from __future__ import annotations

import numpy as np

from cytopipe.errors import InputError
from cytopipe.screen.segmentation.kernels import write_cytoplasm
from cytopipe.screen.segmentation.reconcile import check_labels, present

__all__ = ["identify_cytoplasm"]


def identify_cytoplasm(nuclei: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Labels of cytoplasm, pixel by pixel, from reconciled nuclei and cells.

    A pixel belongs to the cytoplasm of the cell that covers it, unless a nucleus covers it whose label is
    that of a cell and not smaller than the covering cell's. (So does the reference, which writes cell after
    cell in ascending order.)

    Parameters
    ----------
    nuclei, cells : numpy.ndarray
        Labels, integer YX of one shape, background 0; as many of the one as of the other.

    Returns
    -------
    numpy.ndarray
        int64 YX.

    Raises
    ------
    InputError
        Nuclei and cells differ in number or shape, or are no labels.
    """
    check_labels(nuclei=nuclei, cells=cells)
    of_nuclei, of_cells = present(nuclei), present(cells)
    counts = int(of_nuclei[1:].sum()), int(of_cells[1:].sum())
    if counts[0] != counts[1]:
        raise InputError(
            "nuclei and cells differ in number",
            expected="one nucleus per cell",
            found=f"{counts[0]} nuclei and {counts[1]} cells",
            next="Reconcile them first.",
        )
    out = np.empty(cells.shape, dtype=np.int64)
    write_cytoplasm(nuclei, cells, of_cells, out)
    return out
