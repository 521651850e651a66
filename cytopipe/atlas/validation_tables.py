"""How far activities can be trusted: tables, figures and a quality score, per atlas and across atlases.

`validate` compares the activities of a level with the expression of the targets' own genes; `compare` brings
several atlases to one vocabulary of cell types and says what they agree on. Absent resamples or sample
profiles narrow what is said, never what is true.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cytopipe.atlas import figures, quality
from cytopipe.atlas.activity import fit
from cytopipe.atlas.agreement import CrossAtlas, TypeActivity, compare_atlases, type_activity
from cytopipe.atlas.expression import (
    ExpressionActivity,
    Resamples,
    compare_expression,
    expression_of_targets,
)
from cytopipe.atlas.gene_names import genes_of_target
from cytopipe.atlas.harmonise import (
    Granularity,
    Harmonisation,
    default_harmonisation,
    joined_harmonisation,
)
from cytopipe.atlas.inference import read_activity
from cytopipe.atlas.matrix_file import open_matrix
from cytopipe.atlas.meta import meta_analyse_correlations
from cytopipe.atlas.settings import ActivitySettings
from cytopipe.atlas.signatures import Signature
from cytopipe.atlas.statistics import benjamini_hochberg
from cytopipe.errors import CytopipeError, InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AtlasValidation", "CrossAtlasValidation", "compare", "compare_all", "validate"]

CODE_VERSION = "1"
N_SCATTER_FIGURES = 6
MIN_META_PAIRS = 4

Source = str | os.PathLike


@dataclass(frozen=True, eq=False, kw_only=True)
class AtlasValidation:
    """How far one atlas's activities can be trusted.

    Parameters
    ----------
    expression : ExpressionActivity
    quality : Quality
    biology : DataFrame
        Which targets are most active where biology expects it.
    title : str
        Atlas and level.
    """

    expression: ExpressionActivity
    quality: quality.Quality
    biology: pd.DataFrame
    title: str

    def files(self, *, draw: bool = True) -> dict[str, object]:
        """Tables, the score and (if `draw`) figures of the strongest targets, by the end of their file's
        name.
        """
        made: dict[str, object] = {
            "expression.tsv": self.expression.targets,
            "points.parquet": self.expression.points,
            "biology.tsv": self.biology,
            "quality.json": self.quality.as_json(),
        }
        rows = self.expression.targets.set_index("target")
        for target in _strongest(self.expression.targets) if draw else ():
            made[f"scatter_{_plain(target)}.png"] = self._scatter(target, rows.loc[target])
        return made

    def _scatter(self, target: str, row: pd.Series) -> Figure:
        points = self.expression.points
        return figures.scatter(
            points[points["target"] == target],
            f"{target} ({row['genes']}), {self.title}",
            rho=row["rho"],
            ci=(row["ci_low"], row["ci_high"]),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossAtlasValidation:
    """What atlases agree on.

    Parameters
    ----------
    signature, granularity : str
    comparison : CrossAtlas
    meta : DataFrame
        Correlations of expression and activity, pooled over the atlases that were validated.
    types : tuple of TypeActivity
    """

    signature: str
    granularity: Granularity
    comparison: CrossAtlas
    meta: pd.DataFrame
    types: tuple[TypeActivity, ...]

    def files(self, *, draw: bool = True) -> dict[str, object]:
        """Tables and (if `draw`) the heat map and the forest, by the end of their file's name."""
        made: dict[str, object] = {
            "types.tsv": _type_table(list(self.types)),
            "labels.tsv": _label_table(list(self.types)),
            "targets.tsv": self.comparison.targets,
            "conserved.tsv": self.comparison.conserved,
            "consistency.tsv": self.comparison.consistency,
            "meta.tsv": self.meta,
            "pairs.tsv": self.comparison.pairs,
        }
        if draw:
            wide = self.comparison.targets.assign(
                pair=self.comparison.targets["atlas_a"] + " / " + self.comparison.targets["atlas_b"]
            ).pivot(index="target", columns="pair", values="rho")
            title = f"{self.signature}, {self.granularity} types: Spearman's rho of mean activity"
            made["heat_map.png"] = figures.heat_map(wide, title, label="rho", limit=1.0)
            if self.meta["effect"].notna().any():
                title = f"{self.signature}: expression against activity"
                made["forest.png"] = figures.forest(self.meta, title)
        return made


def validate(
    activity: Source,
    profiles: Source,
    signature: Signature,
    *,
    atlas: str,
    level: str,
    resampled_activity: Source | None = None,
    resampled: Source | None = None,
    samples: Source | None = None,
    harmonisation: Harmonisation | None = None,
    biology: Mapping[str, tuple[str, ...]] | None = None,
    settings: ActivitySettings | None = None,
) -> AtlasValidation:
    """Compare the activities of a level with the expression of the targets' genes, and score them.

    Parameters
    ----------
    activity, profiles : H5adFile or path
        Of one level.
    signature : Signature
    atlas, level : str
        As they stand in titles and in the table of cell types.
    resampled_activity, resampled : H5adFile or path, optional
        The same of the resamples; both, or neither.
    samples : H5adFile or path, optional
        Counts per sample and group.
    harmonisation : Harmonisation, optional
    biology : mapping, optional
        Expected types, as :func:`cytopipe.atlas.quality.known_biology` reads them.
    settings : ActivitySettings, optional
        With which the activities were inferred, for the parts of the quality score that infer again.

    Raises
    ------
    InputError
        The activities are not of these profiles.
    """
    harmonisation = harmonisation or default_harmonisation()
    z = read_activity(activity)
    with open_matrix(profiles) as file:
        groups, genes = file.cell_types, file.columns
        _same_groups(groups, list(z.index), Path(activity))
        expression = _expression(file, z.columns)
        values = file.read("X", _columns_of(file.columns, signature.genes))
        signature_genes = [gene for gene in genes if gene in set(signature.genes)]
    resamples = (
        _resamples(resampled, resampled_activity, list(z.columns))
        if resampled is not None and resampled_activity is not None
        else None
    )
    compared = compare_expression(
        groups, list(z.columns), expression, z.to_numpy(), resamples, measured=genes
    )
    means = {
        granularity: type_activity(atlas, z, harmonisation, granularity).values
        for granularity in ("coarse", "fine")
    }
    known = quality.known_biology() if biology is None else biology
    concordance, judged = quality.biological_concordance(means, known)
    score = quality.quality_score(
        sample_r2=_sample_r2(samples, signature, settings) if samples is not None else None,
        cell_type_r=quality.cell_type_correlation(compared.targets["rho"].to_numpy()),
        gene_coverage=len(signature_genes) / len(signature.genes),
        cv_stability=quality.gene_fold_stability(values, signature_genes, signature, settings),
        biological_concordance=concordance,
    )
    return AtlasValidation(expression=compared, quality=score, biology=judged, title=f"{atlas} {level}")


def compare(
    activities: Mapping[str, Source],
    signature: str,
    *,
    correlations: Mapping[str, pd.DataFrame] | None = None,
    granularity: Granularity = "coarse",
    harmonisation: Harmonisation | None = None,
) -> CrossAtlasValidation:
    """Compare the activities of several atlases, and pool their correlations of expression and activity.

    Parameters
    ----------
    activities : mapping of atlas to H5adFile or path
        At least two atlases, each at the level that stands for it.
    signature : str
        For the titles.
    correlations : mapping of atlas to DataFrame, optional
        ``expression.tsv`` of the atlases that were validated.
    granularity : {'coarse', 'fine'}
    harmonisation : Harmonisation, optional

    Raises
    ------
    InputError
        Fewer than two atlases, no target in common, or an atlas without a label in the vocabulary.
    """
    harmonisation = harmonisation or default_harmonisation()
    types = [
        type_activity(atlas, read_activity(activities[atlas]), harmonisation, granularity)
        for atlas in sorted(activities)
    ]
    return CrossAtlasValidation(
        signature=signature,
        granularity=granularity,
        comparison=compare_atlases(types),
        meta=_meta_table(_joined(correlations or {})),
        types=tuple(types),
    )


def compare_all(
    activities: Mapping[str, Mapping[str, Source]],
    correlations: Mapping[str, Mapping[str, pd.DataFrame]],
    vocabularies: Mapping[str, Harmonisation],
) -> tuple[list[CrossAtlasValidation], dict[str, str]]:
    """Compare every signature that two atlases share, for lineages and for fine types.

    Parameters
    ----------
    activities : mapping of signature to mapping of atlas to H5adFile or path
    correlations : mapping of signature to mapping of atlas to DataFrame
        As for :func:`compare`.
    vocabularies : mapping of atlas to Harmonisation
        The table of cell types of each atlas.

    Returns
    -------
    comparisons : list of CrossAtlasValidation
    refused : dict of str to str
        What could not be compared, ``{signature}_{granularity}``, and why.

    Raises
    ------
    InputError
        Nothing that is shared could be compared.
    """
    made, refused = [], {}
    for signature, atlases in activities.items():
        if len(atlases) < 2:
            continue
        harmonisation = joined_harmonisation({atlas: vocabularies[atlas] for atlas in sorted(atlases)})
        for granularity in ("coarse", "fine"):
            try:
                one = compare(
                    atlases,
                    signature,
                    correlations=correlations.get(signature, {}),
                    granularity=granularity,
                    harmonisation=harmonisation,
                )
                made.append(one)
            except CytopipeError as error:
                refused[f"{signature}_{granularity}"] = str(error)
    if refused and not made:
        raise InputError("\n".join(refused.values()))
    return made, refused


# --------------------------------------------------------------------------- one atlas


def _same_groups(profiles: list[str], activity: list[str], where: Path) -> None:
    if profiles != activity:
        raise InputError(
            "activity and pseudobulk have different groups",
            where=str(where),
            expected=f"{len(profiles)} groups as in the pseudobulk",
            found=f"{len(activity)} groups",
            next="Infer the activity again.",
        )


def _columns_of(columns: tuple[str, ...], genes) -> np.ndarray:
    wanted = set(genes)
    return np.array([place for place, gene in enumerate(columns) if gene in wanted], dtype=int)


def _expression(file, targets) -> np.ndarray:
    """Expression of the targets' own genes, (rows, targets), reading only those genes."""
    wanted = {gene for target in targets for gene in genes_of_target(target)}
    places = _columns_of(file.columns, wanted)
    return expression_of_targets(
        file.read("X", places), [file.columns[place] for place in places], list(targets)
    )


def _resamples(profiles: Source, activity: Source, targets: list[str]) -> Resamples:
    with open_matrix(profiles) as file:
        rows = pd.MultiIndex.from_arrays([file.cell_types, file.obs["bootstrap_idx"].to_numpy()])
        expression = _expression(file, targets)
    with open_matrix(activity) as file:
        z = file.read("X").astype(float)
        same = pd.MultiIndex.from_arrays([file.cell_types, file.obs["bootstrap_idx"].to_numpy()])
        if not rows.equals(same) or list(file.columns) != targets:
            raise InputError(
                "the resampled activity does not belong to the resampled pseudobulk",
                where=str(activity),
                next="Infer the activity again.",
            )
    groups, numbers = sorted(set(rows.get_level_values(0))), sorted(set(rows.get_level_values(1)))
    order = pd.MultiIndex.from_product([groups, numbers])
    if len(rows) != len(order) or rows.has_duplicates or not order.isin(rows).all():
        raise InputError(
            "the resamples are no complete table of groups x resamples",
            where=str(profiles),
            expected=f"{len(groups)} x {len(numbers)} rows",
            found=f"{len(rows)} rows",
        )
    at = rows.get_indexer(order)
    shape = (len(groups), len(numbers), len(targets))
    return Resamples(
        groups=tuple(groups),
        expression=expression[at].reshape(shape).transpose(1, 0, 2),
        z=z[at].reshape(shape).transpose(1, 0, 2),
    )


def _sample_r2(path: Source, signature: Signature, settings: ActivitySettings | None) -> float:
    """R^2 over sample profiles (whole counts, brought to log1p CPM)."""
    with open_matrix(path) as file:
        counts = file.read("X").astype(float)
        totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        values = np.log1p(counts / totals * 1e6)
        chosen = (settings or ActivitySettings()).of_resamples()
        scorer = fit(file.columns, signature, chosen, where=str(path))
        z = scorer.score(values).z
        return quality.sample_r_squared(expression_of_targets(values, file.columns, signature.targets), z)


def _strongest(table: pd.DataFrame) -> list[str]:
    ranked = table.dropna(subset=["rho"]).assign(size=lambda t: t["rho"].abs())
    return (
        ranked.sort_values(["size", "target"], ascending=[False, True])["target"]
        .head(N_SCATTER_FIGURES)
        .tolist()
    )


# --------------------------------------------------------------------------- across atlases


def _joined(correlations: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    parts = [
        correlations[atlas][["target", "n_groups", "rho"]].assign(atlas=atlas)
        for atlas in sorted(correlations)
    ]
    empty = pd.DataFrame({"target": [], "n_groups": [], "rho": [], "atlas": []})
    return pd.concat(parts, ignore_index=True) if parts else empty


def _meta_table(correlations: pd.DataFrame) -> pd.DataFrame:
    columns = ["target", "n", "atlases", "effect", "ci_low", "ci_high", "z", "pvalue"]
    columns += ["q", "q_pvalue", "tau_squared", "i_squared"]
    rows = []
    usable = correlations.dropna(subset=["rho"])
    usable = usable[usable["n_groups"] >= MIN_META_PAIRS]
    for target, part in usable.groupby("target", sort=True):
        pooled = meta_analyse_correlations(part["rho"].tolist(), part["n_groups"].astype(int).tolist())
        atlases = ";".join(part["atlas"])
        rows.append((target, pooled.n, atlases, *(getattr(pooled, name) for name in columns[3:])))
    table = pd.DataFrame(rows, columns=columns)
    table.insert(8, "fdr", benjamini_hochberg(table["pvalue"].to_numpy(dtype=float)))
    return table


def _type_table(types: list[TypeActivity]) -> pd.DataFrame:
    """Mean activity, one row per atlas and type."""
    return pd.concat(
        [one.values.reset_index().assign(atlas=one.atlas) for one in types], ignore_index=True
    ).pipe(lambda table: table[["atlas", *(name for name in table.columns if name != "atlas")]])


def _label_table(types: list[TypeActivity]) -> pd.DataFrame:
    """Where every label of every atlas went; an empty type has no place in the vocabulary."""
    rows = [
        (one.atlas, label, name)
        for one in types
        for name, labels in (*one.members.items(), ("", one.unmapped))
        for label in labels
    ]
    return pd.DataFrame(sorted(rows), columns=["atlas", "label", "cell_type"])


def _plain(target: str) -> str:
    """A target's name as part of a file name; other characters become ``-``."""
    from cytopipe.storage import slug

    return slug(target.lower())
