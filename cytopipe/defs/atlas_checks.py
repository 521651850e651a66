"""Checks of an atlas's artifacts before publication; those of expression and between atlases only warn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cytopipe.defs.artifact import Check, CheckResult
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats.files import ResultFiles
from cytopipe.storage.formats.h5ad import H5adFile

if TYPE_CHECKING:
    from cytopipe.atlas.cells import Cells
    from cytopipe.atlas.checks import CheckOutcome
    from cytopipe.project.atlas.entry import Atlas

__all__ = [
    "COUNTS_CONSERVED",
    "ESTIMATES_VALID",
    "FOLLOWS_EXPRESSION",
    "GENES_UNIQUE",
    "GROUPS_COMPLETE",
    "LABELS_PLACED",
    "NO_NEGATIVE",
    "RESAMPLES_COMPLETE",
    "ROWS_OF_PROFILES",
    "ROWS_OF_RESAMPLES",
    "TYPES_SHARED",
]


def _found(outcome: CheckOutcome) -> CheckResult:
    return CheckResult(outcome.findings, outcome.facts)


def _counts_conserved(profiles: H5adFile, cells: Cells, recipe: Atlas) -> CheckResult:
    from cytopipe.atlas.checks import counts_conserved

    with cells:
        return _found(counts_conserved(profiles, cells, recipe.level))


def _groups_complete(profiles: H5adFile, cells: Cells, recipe: Atlas) -> CheckResult:
    from cytopipe.atlas.checks import groups_complete

    with cells:
        return _found(groups_complete(profiles, cells, recipe.level))


def _genes_unique(profiles: H5adFile) -> CheckResult:
    from cytopipe.atlas.checks import genes_unique

    return _found(genes_unique(profiles))


def _no_negative(profiles: H5adFile) -> CheckResult:
    from cytopipe.atlas.checks import no_negative

    return _found(no_negative(profiles))


def _resamples_complete(resampled: H5adFile, cells: Cells, recipe: Atlas) -> CheckResult:
    from cytopipe.atlas.checks import resamples_complete

    with cells:
        return _found(resamples_complete(resampled, cells, recipe.level, recipe.n_bootstrap))


def _rows_of_profiles(activity: H5adFile, pseudobulk: Handle) -> CheckResult:
    from cytopipe.atlas.checks import rows_of_profiles

    return _found(rows_of_profiles(activity, pseudobulk.load()))


def _rows_of_resamples(activity: H5adFile, resampled: Handle | None) -> CheckResult:
    from cytopipe.atlas.checks import rows_of_profiles

    return _found(rows_of_profiles(activity, resampled.load())) if resampled else CheckResult()


def _estimates_valid(activity: H5adFile) -> CheckResult:
    from cytopipe.atlas.checks import estimates_valid

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
