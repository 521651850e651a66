"""Which nucleus belongs to which cell, by the centre pixel of each nucleus; and what labels need."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cytopipe.errors import Finding, InputError
from cytopipe.screen.segmentation.kernels import mark_present

__all__ = ["check_labels", "clear_border", "compact", "label_count", "present", "reconcile_nuclei_cells"]


def reconcile_nuclei_cells(
    nuclei: np.ndarray, cells: np.ndarray, how: Literal["consensus", "contained_in_cells"] = "consensus"
) -> tuple[np.ndarray, np.ndarray]:
    """Keep nuclei and cells that belong to each other, under common labels from 1.

    A nucleus belongs to the cell that covers the middle of its bounding box (rounded down). Where the
    middles of several nuclei are one pixel, the largest label has it.

    Parameters
    ----------
    nuclei, cells : numpy.ndarray
        Labels, integer YX of one shape, background 0.
    how : {"consensus", "contained_in_cells"}
        Consensus keeps a cell with exactly one nucleus; labels follow the nuclei's order. Otherwise a cell
        keeps all its nuclei, merged under one label; labels follow the cells' order.

    Returns
    -------
    nuclei, cells : numpy.ndarray
        int64 YX.
    """
    check_labels(nuclei=nuclei, cells=cells)
    if how not in ("consensus", "contained_in_cells"):
        raise InputError(f"no way to reconcile is called {how!r}", expected="consensus or contained_in_cells")
    nucleus, cell = _centres(nuclei, cells)
    if how == "consensus":
        _, place, occupants = np.unique(cell, return_inverse=True, return_counts=True)
        alone = occupants[place] == 1
        nucleus, cell = nucleus[alone], cell[alone]
        new = np.arange(1, len(nucleus) + 1)
        return _relabelled(nuclei, nucleus, new), _relabelled(cells, cell, new)
    kept, place = np.unique(cell, return_inverse=True)
    return _relabelled(nuclei, nucleus, place + 1), _relabelled(cells, kept, np.arange(1, len(kept) + 1))


def _centres(nuclei: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels of nuclei in ascending order, and of the cells over their centres; background left out."""
    from scipy import ndimage as ndi

    boxes = [
        (label, (box[0].start + box[0].stop) // 2, (box[1].start + box[1].stop) // 2)
        for label, box in enumerate(ndi.find_objects(nuclei), start=1)
        if box is not None
    ]
    label, i, j = np.array(boxes, dtype=np.int64).reshape(-1, 3).T
    _, last = np.unique((i * nuclei.shape[1] + j)[::-1], return_index=True)
    owner = np.sort(len(label) - 1 - last)
    label, cell = label[owner], cells[i[owner], j[owner]].astype(np.int64)
    return label[cell > 0], cell[cell > 0]


def _relabelled(labels: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    table = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    table[old] = new
    return table[labels]


def clear_border(labels: np.ndarray) -> np.ndarray:
    """`labels` without those that touch the border of the image."""
    keep = np.ones(int(labels.max(initial=0)) + 1, dtype=bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        keep[edge] = False
    return np.where(keep[labels], labels, 0).astype(labels.dtype)


def compact(labels: np.ndarray) -> np.ndarray:
    """`labels` as uint16, or as uint32 where that is too small."""
    return labels.astype(np.uint16 if labels.max(initial=0) <= np.iinfo(np.uint16).max else np.uint32)


def label_count(labels: np.ndarray) -> int:
    """How many labels an image holds, without the background."""
    return int(np.count_nonzero(present(labels)[1:]))


def present(labels: np.ndarray) -> np.ndarray:
    """Which labels an image holds: bool, from 0 to the largest."""
    found = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
    mark_present(labels, found)
    return found


def check_labels(**images: np.ndarray) -> None:
    """Refuse images that are no labels, or not all of one shape, with all findings at once.

    Raises
    ------
    InputError
    """
    findings = []
    for name, labels in images.items():
        if not np.issubdtype(labels.dtype, np.integer):
            findings.append(
                Finding(
                    what="labels are no integers", where=name, expected="integer", found=f"{labels.dtype}"
                )
            )
        elif labels.min(initial=0) < 0:
            findings.append(
                Finding(what="a label is negative", where=name, expected="0 or more", found=f"{labels.min()}")
            )
        if labels.ndim != 2:
            findings.append(
                Finding(what="labels have other axes", where=name, expected="YX", found=f"{labels.ndim} axes")
            )
    shapes = {name: labels.shape for name, labels in images.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        findings.append(Finding(what="images differ in shape", expected="one shape", found=found))
    if findings:
        raise InputError(findings)
