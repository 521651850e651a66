"""What validation leaves on disk: tables, figures and a quality score, per atlas and across atlases.

In come the pseudobulk and activity files of a results root; out go tables (TSV for people, Parquet where
there are many rows), figures and JSON, each published whole with its provenance. What must hold: every
table is made from files whose digests it names, and a missing resampled or sample file narrows what is
said, never what is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cytopipe.atlas import figures, quality
from cytopipe.atlas.activity import ActivitySettings, fit
from cytopipe.atlas.catalogue import Catalogue
from cytopipe.atlas.expression import (
    ExpressionActivity,
    Resamples,
    compare_expression,
    expression_of_targets,
)
from cytopipe.atlas.gene_names import genes_of_target
from cytopipe.atlas.harmonise import Granularity, Harmonisation, default_harmonisation
from cytopipe.atlas.inference import read_activity
from cytopipe.atlas.matrix_file import open_matrix
from cytopipe.atlas.meta import meta_analyse_correlations
from cytopipe.atlas.signatures import Signature, load_signature
from cytopipe.atlas.statistics import benjamini_hochberg
from cytopipe.atlas.validation import CrossAtlas, TypeActivity, compare_atlases, type_activity
from cytopipe.errors import InputError
from cytopipe.provenance import Input, Provenance, library_versions, sha256_file
from cytopipe.storage.formats.figure import figure_bytes, validate_png
from cytopipe.storage.formats.table import format_parquet, format_tsv, validate_parquet, validate_tsv
from cytopipe.storage.state import format_json

if TYPE_CHECKING:
    from cytopipe.storage import Store

__all__ = ["AtlasValidation", "CrossAtlasValidation", "cross_atlas", "validate_atlas"]

CODE_VERSION = "1"
LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib")
N_SCATTER_FIGURES = 6
MIN_META_PAIRS = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class AtlasValidation:
    """How far one atlas's activities can be trusted, and the files that say so."""

    expression: ExpressionActivity
    quality: quality.Quality
    files: Mapping[str, Path]


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossAtlasValidation:
    """What atlases agree on, and the files that say so."""

    comparison: CrossAtlas
    meta: pd.DataFrame
    types: tuple[TypeActivity, ...]
    files: Mapping[str, Path]


def validate_atlas(
    store: Store,
    atlas: str,
    level: str,
    signature: str | Signature,
    *,
    harmonisation: Harmonisation | None = None,
    biology: Mapping[str, tuple[str, ...]] | None = None,
    source: str | Path | None = None,
    settings: ActivitySettings | None = None,
    draw: bool = True,
    of_run: Mapping[str, str] | None = None,
) -> AtlasValidation:
    """Compare the activities of a level with the expression of the targets' genes, and score them.

    Parameters
    ----------
    store : Store
        Opened at the results root.
    atlas, level : str
        With pseudobulk and activity files; ``_resampled`` and ``_samples`` files are used if they are there.
    signature : str or Signature
    harmonisation : Harmonisation, optional
    biology : mapping, optional
        Expected types, as :func:`cytopipe.atlas.quality.known_biology` reads them.
    source : path, optional
        Where the signature's table lies.
    settings : ActivitySettings, optional
        With which the activities were inferred, for the parts of the quality score that infer again.
    draw : bool
        Also the scatter figures of the strongest targets.
    of_run : mapping of str to str, optional
        Fields of the provenance that an orchestrator knows: asset, partition, run_id, command.

    Returns
    -------
    AtlasValidation
    """
    catalogue = Catalogue(store.root)
    harmonisation = harmonisation or default_harmonisation()
    level = catalogue.require_level(atlas, level)
    if isinstance(signature, str):
        signature = load_signature(signature, source)
    name = signature.name
    activity_path = catalogue.require(
        catalogue.activity(atlas, level, name),
        f"activity of {name} for {atlas} {level}",
        catalogue.signatures(atlas, level),
    )
    profiles_path = catalogue.pseudobulk(atlas, level)
    z = read_activity(activity_path)
    with open_matrix(profiles_path) as file:
        groups, genes = file.cell_types, file.columns
        _same_groups(groups, list(z.index), activity_path)
        expression = _expression(file, z.columns)
        values = file.read("X", _columns_of(file.columns, signature.genes))
        signature_genes = [gene for gene in genes if gene in set(signature.genes)]
    resamples, resampled_paths = _resamples(catalogue, atlas, level, name, list(z.columns))
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
        sample_r2=_sample_r2(catalogue.pseudobulk(atlas, level, "samples"), signature, settings),
        cell_type_r=quality.cell_type_correlation(compared.targets["rho"].to_numpy()),
        gene_coverage=len(signature_genes) / len(signature.genes),
        cv_stability=quality.gene_fold_stability(values, signature_genes, signature, settings),
        biological_concordance=concordance,
    )
    samples_path = catalogue.pseudobulk(atlas, level, "samples")
    read = [profiles_path, activity_path, *resampled_paths]
    made = _Publisher(
        store,
        _inputs([*read, samples_path] if samples_path.is_file() else read),
        f"validation of {name} in {atlas} {level}",
        {
            "signature": name,
            "signature_sha256": signature.sha256,
            "cell_types_sha256": harmonisation.sha256,
            "known_biology": {target: list(types) for target, types in sorted(known.items())},
            "settings": (settings or ActivitySettings()).as_json(),
        },
        of_run,
    )
    at = lambda what: catalogue.validation(atlas, level, name, what)  # noqa: E731
    made.table(at("expression.tsv"), compared.targets)
    made.parquet(at("points.parquet"), compared.points)
    made.table(at("biology.tsv"), judged)
    made.json(at("quality.json"), score.as_json())
    if draw:
        for target in _strongest(compared.targets):
            row = compared.targets.set_index("target").loc[target]
            points = compared.points[compared.points["target"] == target]
            figure = figures.scatter(
                points,
                f"{target} ({row['genes']}), {atlas} {level}",
                rho=row["rho"],
                ci=(row["ci_low"], row["ci_high"]),
            )
            made.figure(at(f"scatter_{_plain(target)}.png"), figure)
    return AtlasValidation(expression=compared, quality=score, files=made.files)


def cross_atlas(
    store: Store,
    levels: Mapping[str, str],
    signature: str,
    *,
    granularity: Granularity = "coarse",
    harmonisation: Harmonisation | None = None,
    draw: bool = True,
    of_run: Mapping[str, str] | None = None,
) -> CrossAtlasValidation:
    """Compare the activities of several atlases, and pool their expression-activity correlations.

    Parameters
    ----------
    store : Store
        Opened at the results root.
    levels : mapping of str to str
        The level that stands for each atlas; at least two atlases.
    signature : str
        Its name in the activity files.
    granularity : {'coarse', 'fine'}
    harmonisation : Harmonisation, optional
    draw : bool
        Also the heat map and the forest.
    of_run : mapping of str to str, optional
        As for :func:`validate_atlas`.

    Returns
    -------
    CrossAtlasValidation
        `meta` pools the correlations of the atlases that were validated (:func:`validate_atlas`).
    """
    catalogue = Catalogue(store.root)
    harmonisation = harmonisation or default_harmonisation()
    types, paths = [], []
    for atlas in sorted(levels):
        level = catalogue.require_level(atlas, levels[atlas])
        path = catalogue.require(
            catalogue.activity(atlas, level, signature),
            f"activity of {signature} for {atlas} {level}",
            catalogue.signatures(atlas, level),
        )
        types.append(type_activity(atlas, read_activity(path), harmonisation, granularity))
        paths.append(path)
    comparison = compare_atlases(types)
    correlations, table_paths = _correlations(catalogue, levels, signature)
    meta = _meta_table(correlations)
    made = _Publisher(
        store,
        _inputs([*paths, *table_paths]),
        f"comparison of {signature} across {', '.join(sorted(levels))}",
        {
            "signature": signature,
            "granularity": granularity,
            "levels": dict(sorted(levels.items())),
            "cell_types_sha256": harmonisation.sha256,
        },
        of_run,
    )
    at = lambda what: catalogue.comparison(signature, granularity, what)  # noqa: E731
    made.table(at("types.tsv"), _type_table(types))
    made.table(at("labels.tsv"), _label_table(types))
    made.table(at("targets.tsv"), comparison.targets)
    made.table(at("conserved.tsv"), comparison.conserved)
    made.table(at("consistency.tsv"), comparison.consistency)
    made.table(at("meta.tsv"), meta)
    if draw:
        wide = comparison.targets.assign(
            pair=comparison.targets["atlas_a"] + " / " + comparison.targets["atlas_b"]
        ).pivot(index="target", columns="pair", values="rho")
        title = f"{signature}, {granularity} types: Spearman's rho of mean activity"
        made.figure(at("heat_map.png"), figures.heat_map(wide, title, label="rho", limit=1.0))
        if meta["effect"].notna().any():
            title = f"{signature}: expression against activity"
            made.figure(at("forest.png"), figures.forest(meta, title))
    made.table(at("pairs.tsv"), comparison.pairs)  # last: what lists comparisons looks for it
    return CrossAtlasValidation(comparison=comparison, meta=meta, types=tuple(types), files=made.files)


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


def _resamples(
    catalogue: Catalogue, atlas: str, level: str, signature: str, targets: list[str]
) -> tuple[Resamples | None, list[Path]]:
    profiles = catalogue.pseudobulk(atlas, level, "resampled")
    activity = catalogue.activity(atlas, level, signature, "resampled")
    if not (profiles.is_file() and activity.is_file()):
        return None, []
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
    return (
        Resamples(
            groups=tuple(groups),
            expression=expression[at].reshape(shape).transpose(1, 0, 2),
            z=z[at].reshape(shape).transpose(1, 0, 2),
        ),
        [profiles, activity],
    )


def _sample_r2(path: Path, signature: Signature, settings: ActivitySettings | None) -> float | None:
    """R^2 over sample profiles (whole counts, brought to log1p CPM); None without the file."""
    if not path.is_file():
        return None
    with open_matrix(path) as file:
        counts = file.read("X").astype(float)
        totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        values = np.log1p(counts / totals * 1e6)
        chosen = (settings or ActivitySettings()).replace(n_permutations=0, moments="exact")
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


def _correlations(
    catalogue: Catalogue, levels: Mapping[str, str], signature: str
) -> tuple[pd.DataFrame, list[Path]]:
    """The expression-activity tables of those atlases that have one."""
    from cytopipe.storage.formats.table import read_tsv

    parts, paths = [], []
    for atlas in sorted(levels):
        path = catalogue.validation(atlas, levels[atlas], signature, "expression.tsv")
        if path.is_file():
            table = read_tsv(path, columns=["target", "n_groups", "rho"], text=["target", "genes"])
            parts.append(table.assign(atlas=atlas))
            paths.append(path)
    empty = pd.DataFrame({"target": [], "n_groups": [], "rho": [], "atlas": []})
    return (pd.concat(parts, ignore_index=True) if parts else empty), paths


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


# --------------------------------------------------------------------------- to disk


def _inputs(paths: list[Path]) -> tuple[Input, ...]:
    return tuple(Input(path=path.name, sha256=sha256_file(path)) for path in paths)


class _Publisher:
    """Publishes the artifacts of one validation with one provenance, and remembers where."""

    def __init__(
        self,
        store: Store,
        inputs: tuple[Input, ...],
        what: str,
        parameters: dict,
        of_run: Mapping[str, str] | None,
    ) -> None:
        self.store = store
        self.files: dict[str, Path] = {}
        self.provenance = Provenance(
            what=what,
            parameters=parameters,
            inputs=inputs,
            code_version=CODE_VERSION,
            libraries=library_versions(LIBRARIES),
            **(of_run or {}),
        )

    def table(self, path: Path, table: pd.DataFrame) -> None:
        self._publish(path, format_tsv(table), validate_tsv(list(table.columns)))

    def parquet(self, path: Path, table: pd.DataFrame) -> None:
        self._publish(path, format_parquet(table), validate_parquet(list(table.columns)))

    def json(self, path: Path, value: object) -> None:
        self._publish(path, format_json(value), None)

    def figure(self, path: Path, figure) -> None:
        self._publish(path, figure_bytes(figure), validate_png)

    def _publish(self, path: Path, data: bytes, validate) -> None:
        self.store.publish_bytes(path, data, validate=validate, provenance=self.provenance)
        self.files[path.name] = path


def _plain(target: str) -> str:
    """A target's name as part of a file name; other characters become ``-``."""
    from cytopipe.storage import slug

    return slug(target.lower())
