"""Values between assets, through storage: the artifacts of chains, and small tables and documents.

Dagster's own path manager is not used: it writes straight to the final path, a hostile key escapes its
directory, asset ``x`` of partition ``y/z`` overwrites asset ``x/y`` of partition ``z``, and a fan-in over one
partition gives a bare value where over two it gives a mapping. Here every name is a slug, every write is
published whole with its manifest, and a shape is a shape: an input of the same single partition is a
value, any other partitioned input is a dictionary by key, however many keys there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dagster import DagsterInvariantViolationError, InputContext, IOManager, OutputContext

from cytopipe.defs.graph import Graph
from cytopipe.defs.resources import ProjectResource
from cytopipe.errors import StorageError
from cytopipe.project import Project
from cytopipe.storage import Store, slug

__all__ = ["ArtifactIOManager", "content_bytes"]

_VALUES = "values"


class ArtifactIOManager(IOManager):
    """Loads what chains made and stores what other assets return.

    The form of a stored value is said in the asset's metadata: ``{"format": "json"}`` (the default) for
    documents, ``"tsv"`` or ``"parquet"`` for data frames. It lies in ``<output>/values/<domain>/<name>/``.

    Parameters
    ----------
    graph : Graph
        The chains; their partitions are loaded as `Made` values, vouched for when they are read.
    project : ProjectResource
    """

    def __init__(self, graph: Graph, project: ProjectResource) -> None:
        self._graph = graph
        self._project = project

    def handle_output(self, context: OutputContext, value: object) -> None:
        if value is None:
            return
        project = self._project.read(context.step_context.instance)
        form = _form(context.definition_metadata)
        store = Store(project.output)
        if not context.has_asset_partitions:
            published = store.publish_bytes(_path(project, context, None, form), content_bytes(value, form))
            context.add_output_metadata(_facts(project, published))
            return
        keys = list(context.asset_partition_keys)
        values = {keys[0]: value} if len(keys) == 1 else value
        if not isinstance(values, Mapping) or set(values) != set(keys):
            raise DagsterInvariantViolationError(
                f"{context.asset_key.to_user_string()}: a run of {len(keys)} partitions returns a mapping "
                "with exactly their keys"
            )
        for key in keys:
            store.publish_bytes(_path(project, context, key, form), content_bytes(values[key], form))

    def load_input(self, context: InputContext) -> object:
        project = self._project.read(context.step_context.instance)
        if not context.has_asset_partitions:
            return self._load(project, context, None)
        keys = list(context.asset_partition_keys)
        if len(keys) == 1 and context.has_partition_key and context.partition_key == keys[0]:
            return self._load(project, context, keys[0])
        found = {key: self._load(project, context, key, optional=True) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    def _load(
        self, project: Project, context: InputContext, key: str | None, *, optional: bool = False
    ) -> object:
        """One value. A fan-in passes by partitions that were never made or are no longer declared."""
        asset = "/".join(context.asset_key.path)
        if asset in self._graph.steps and key is not None:
            data = project.data_sets.get(self._graph.chain_with(asset).partitions, {}).get(key)
            found = self._graph.steps[asset].standing(data) if data is not None else None
            if found is None and not optional:
                raise StorageError(
                    "has nothing whole on disk", where=f"{asset} [{key}]", next="Materialize it first."
                )
            return found
        form = _form(context.upstream_output.definition_metadata if context.upstream_output else None)
        path = _path(project, context, key, form)
        if optional and not path.exists():
            return None
        return _value(Store(project.output).read_bytes(path), form)


def content_bytes(value: object, form: str) -> bytes:
    """The bytes of a value in a form; equal values give equal bytes."""
    if form == "json":
        from cytopipe.storage.state import format_json

        return format_json(value)
    if form == "tsv":
        return value.to_csv(sep="\t", index=False, lineterminator="\n").encode()  # type: ignore[attr-defined]
    import io

    stream = io.BytesIO()
    value.to_parquet(stream, index=False, compression="zstd")  # type: ignore[attr-defined]
    return stream.getvalue()


def _value(content: bytes, form: str) -> object:
    if form == "json":
        from cytopipe.storage.state import parse_json

        return parse_json(content)
    import io

    import pandas

    stream = io.BytesIO(content)
    return pandas.read_csv(stream, sep="\t") if form == "tsv" else pandas.read_parquet(stream)


def _form(metadata: Mapping[str, object] | None) -> str:
    form = str((metadata or {}).get("format", "json"))
    if form not in ("json", "tsv", "parquet"):
        raise DagsterInvariantViolationError(f"format {form!r} is none of json, tsv, parquet")
    return form


def _path(project: Project, context: InputContext | OutputContext, key: str | None, form: str) -> Path:
    folder = project.output.joinpath(_VALUES, *(slug(part) for part in context.asset_key.path[:-1]))
    name = slug(context.asset_key.path[-1])
    return folder / f"{name}.{form}" if key is None else folder / name / f"{slug(key)}.{form}"


def _facts(project: Project, published) -> dict[str, object]:
    return {
        "path": project.relative(published.path),
        "size_bytes": published.size_bytes,
        "sha256": published.sha256,
    }
