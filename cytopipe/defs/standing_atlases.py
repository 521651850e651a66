"""What the results folder of an atlas says of itself: what stands, vouched for, and what it was made from.

Read from the manifests of the files, which name the recipe and the digests of inputs, never from names
alone. Files written by `cytopipe atlas` are read the same as those of a run. Files reach gigabytes and this
is asked every half minute, so a digest is taken once per content and remembered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.defs.steps import Made
from cytopipe.errors import CytopipeError, DamagedError, StorageError
from cytopipe.project import DataSet, Project
from cytopipe.project.digests import Digests
from cytopipe.provenance import sha256_bytes

if TYPE_CHECKING:
    from cytopipe.atlas.catalogue import Catalogue
    from cytopipe.storage.manifest import Manifest

__all__ = [
    "CODE",
    "TABLES",
    "catalogue_of",
    "cells_version",
    "digest_of",
    "inference_of",
    "published",
    "recipe_parameters",
    "recipe_version",
    "signature_version",
    "standing_activity",
    "standing_profiles",
    "standing_resamples",
    "standing_validation",
    "vocabulary_of",
    "vocabulary_version",
]

# As CODE_VERSION of pseudobulk, inference and validation_tables, which a test compares: importing those costs
# every process that loads the definitions seconds of numba, anndata and pandas.
CODE = "1"
TABLES = ("expression.tsv", "points.parquet", "biology.tsv", "quality.json")
_UNKNOWN = "unknown"


def catalogue_of(data: DataSet) -> Catalogue:
    """Where results of the atlas domain lie: the layout of the plain commands."""
    from cytopipe.atlas.catalogue import Catalogue

    return Catalogue(data.folder)


# --------------------------------------------------------------------------- sources


def cells_version(project: Project, data: DataSet) -> str | None:
    """Identity of the cells; None where there is no file."""
    from cytopipe.atlas.identity import input_identity

    path = data.resolve(data.entry.path)
    if path.is_dir():
        return input_identity(path)
    return Digests(project.home).of(path, input_identity, "cells")


def recipe_parameters(data: DataSet) -> dict[str, object]:
    """What decides a level's files besides the cells, as their provenance says it."""
    entry = data.entry
    return entry.settings.as_json() | {
        "level": str(entry.level),
        "sample": entry.sample,
        "counts": entry.counts,
        "duplicate_genes": entry.duplicate_genes,
    }


def recipe_version(project: Project, data: DataSet) -> str:
    """Digest of :func:`recipe_parameters`."""
    return digest_of([recipe_parameters(data), CODE])


def signature_version(project: Project, data: DataSet) -> str | None:
    """Digest of a signature's table and of how its activity is inferred; None where there is no table."""
    table = _table_digest(data)
    return None if table is None else digest_of([table, inference_of(data), CODE])


def vocabulary_version(project: Project, data: DataSet) -> str | None:
    """Digest of the table of cell types; None where it cannot be read."""
    try:
        return digest_of([vocabulary_of(data).sha256, CODE])
    except CytopipeError:
        return None


def vocabulary_of(data: DataSet):
    """The table that brings the atlas's labels to one vocabulary."""
    from cytopipe.atlas.harmonise import default_harmonisation, read_harmonisation

    table = data.entry.cell_types
    return read_harmonisation(data.resolve(table)) if table else default_harmonisation()


def _table_digest(data: DataSet) -> str | None:
    from cytopipe.atlas.signatures import find_signature, table_digest

    name, source = data.entry.signature, data.entry.signature_table
    try:
        found = find_signature(name, data.resolve(source) if source else None)
        return Digests(data.base / ".cytopipe").of(
            found.path, lambda path: table_digest(found), f"table {found.member}"
        )
    except CytopipeError:
        return None


def inference_of(data: DataSet) -> dict[str, object]:
    """How a signature's activity is inferred, as its file's provenance says it, the penalty filled in."""
    from cytopipe.atlas.signatures import regularization_of

    settings = data.entry.activity.as_json()
    if settings["method"] == "ridge" and settings["regularization"] is None:
        settings["regularization"] = regularization_of(data.entry.signature)
    return {"signature": data.entry.signature, **settings}


# --------------------------------------------------------------------------- steps


def standing_profiles(data: DataSet) -> Made | None:
    """What stands of a level's profiles (and of its sample profiles, where they are asked for)."""
    catalogue, entry = catalogue_of(data), data.entry
    path = catalogue.pseudobulk(entry.atlas, entry.level.name)
    found = published(data, path)
    if found is None:
        return None
    tables = {}
    if entry.sample_profiles:
        samples = catalogue.pseudobulk(entry.atlas, entry.level.name, "samples")
        if published(data, samples) is None:
            return None
        tables["samples"] = samples
    return _profiles_made(data, path, found, tables)


def standing_resamples(data: DataSet) -> Made | None:
    """What stands of a level's resamples; an empty artifact where none are asked for."""
    entry = data.entry
    if not entry.n_bootstrap:
        return _nothing(data, "no resamples are asked for")
    path = catalogue_of(data).pseudobulk(entry.atlas, entry.level.name, "resampled")
    found = published(data, path)
    return None if found is None else _profiles_made(data, path, found, {})


def standing_activity(data: DataSet) -> Made | None:
    """What stands of the activity of one signature at a level, main file and resamples."""
    catalogue, entry = catalogue_of(data), data.entry
    files: dict[str, Manifest] = {}
    made_from: dict[str, str] = {}
    main = catalogue.activity(entry.atlas, entry.level.name, entry.signature)
    for kind in ("", "resampled") if entry.n_bootstrap else ("",):
        path = catalogue.activity(entry.atlas, entry.level.name, entry.signature, kind)
        found = published(data, path)
        if found is None:
            return None
        files[path.name] = found
        made = found.provenance or {}
        used = [str(one["sha256"]) for one in made.get("inputs", ())] + [_UNKNOWN] * 2
        made_from[f"atlas/{kind or 'pseudobulk'}"] = used[0]
        if not kind:
            recipe = [used[1], dict(made.get("parameters", {})), str(made.get("code_version", ""))]
            made_from["atlas/signatures"] = digest_of(recipe)
    n_groups, n_targets = _shape(main, files[main.name].sha256)
    return Made(
        path=main,
        sha256=digest_of({name: one.sha256 for name, one in files.items()}),
        size_bytes=sum(one.size_bytes for one in files.values()),
        counts={"n_groups": n_groups, "n_targets": n_targets},
        parameters=inference_of(data),
        made_from=made_from,
        reused=True,
    )


def standing_validation(data: DataSet) -> Made | None:
    """What stands of the validation of one signature at a level: the tables, not the figures."""
    catalogue, entry = catalogue_of(data), data.entry
    atlas, level, signature = entry.atlas, entry.level.name, entry.signature
    files: dict[str, Manifest] = {}
    for what in TABLES:
        path = catalogue.validation(atlas, level, signature, what)
        found = published(data, path)
        if found is None:
            return None
        files[path.name] = found
    quality = catalogue.validation(atlas, level, signature, "quality.json")
    made = files[quality.name].provenance or {}
    read = {str(one["path"]): str(one["sha256"]) for one in made.get("inputs", ())}
    activities = {}
    made_from = {}
    for kind in ("", "resampled"):
        profiles = catalogue.pseudobulk(atlas, level, kind).name
        if profiles in read:
            made_from[f"atlas/{kind or 'pseudobulk'}"] = read[profiles]
        activity = catalogue.activity(atlas, level, signature, kind).name
        if activity in read:
            activities[activity] = read[activity]
    vocabulary = dict(made.get("parameters", {})).get("cell_types_sha256", _UNKNOWN)
    made_from |= {
        "atlas/activity": digest_of(activities),
        "atlas/cell_types": digest_of([vocabulary, made.get("code_version", "")]),
    }
    return Made(
        path=quality.parent,
        sha256=digest_of({name: one.sha256 for name, one in files.items()}),
        size_bytes=sum(one.size_bytes for one in files.values()),
        counts={"quality": round(_score(quality, files[quality.name].sha256), 4)},
        parameters={"signature": signature, "cell_types": entry.cell_types or "packaged"},
        made_from=made_from,
        reused=True,
    )


def published(data: DataSet, path: Path) -> Manifest | None:
    """The manifest of a file that stands as it was published; None where there is none, or no manifest.

    Raises
    ------
    DamagedError
        If the content is not what was published.
    """
    from cytopipe.storage import Store

    if not path.is_file():
        return None
    try:
        manifest = Store(data.folder).manifest(path)
    except DamagedError:
        raise
    except StorageError:
        return None  # a file that nobody published proves nothing
    found = Digests(data.base / ".cytopipe").sha256(path)
    if found != manifest.sha256:
        raise DamagedError(
            "its content is not what was published",
            where=str(path),
            expected=f"sha256 {manifest.sha256[:12]}",
            found=(found or "nothing")[:12],
            next="Materialize it again.",
        )
    return manifest


def digest_of(value: object) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return sha256_bytes(json.dumps(value, sort_keys=True).encode())


def _profiles_made(data: DataSet, path: Path, manifest: Manifest, tables: Mapping[str, Path]) -> Made:
    made = manifest.provenance or {}
    inputs = list(made.get("inputs", ()))
    used = dict(made.get("parameters", {}))
    if data.entry.counts == "auto" and "counts" in used:
        used["counts"] = "auto"  # the file says which matrix was found to hold counts
    n_rows, n_genes = _shape(path, manifest.sha256)
    if data.entry.n_bootstrap and path.name.endswith("_resampled.h5ad"):
        counts = {"n_groups": n_rows // data.entry.n_bootstrap, "n_resamples": data.entry.n_bootstrap}
    else:
        counts = {"n_groups": n_rows}
    return Made(
        path=path,
        sha256=manifest.sha256,
        size_bytes=manifest.size_bytes,
        counts={**counts, "n_genes": n_genes},
        parameters=recipe_parameters(data),
        tables=tables,
        made_from={
            "atlas/cells": str(inputs[0]["sha256"]) if inputs else _UNKNOWN,
            "atlas/recipe": digest_of([used, str(made.get("code_version", ""))]),
        },
        reused=True,
    )


def _nothing(data: DataSet, words: str) -> Made:
    """The artifact of a step for which the project file asks nothing."""
    return Made(
        path=data.folder,
        sha256=sha256_bytes(words.encode()),
        size_bytes=0,
        notes={"nothing": words},
        reused=True,
    )


@lru_cache(maxsize=512)
def _shape(path: Path, sha256: str) -> tuple[int, int]:
    import h5py  # the file is the one we published: its digest was compared

    with h5py.File(path) as file:
        rows, columns = file["X"].shape
        return int(rows), int(columns)


@lru_cache(maxsize=512)
def _score(path: Path, sha256: str) -> float:
    return float(json.loads(path.read_text(encoding="utf-8"))["score"])
