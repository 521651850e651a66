"""IO managers: a format at Dagster's door.

Any asset may use one: ``@dg.asset(io_manager_key="h5ad")`` writes through the same format, the same protocol
and to a place of the same kind as ours, and loads our artifacts by its annotation, `Handle` or the value.

Dagster's own path manager is not used: it writes straight to the final path, a hostile key escapes its
directory, and a fan-in over one partition gives a bare value where over two it gives a mapping. Here an
input of the same single partition is a value, and any other partitioned input a mapping by key, however many
keys there are.
"""

# No `from __future__ import annotations` here: Dagster reads annotations of resources.
from collections.abc import Callable, Mapping
from typing import Any

from dagster import DagsterInvariantViolationError, DataVersion, InputContext, IOManager, OutputContext

from cytopipe.defs.artifact import Graph
from cytopipe.defs.places import Places
from cytopipe.defs.resources import ProjectResource
from cytopipe.project import Project
from cytopipe.provenance import Provenance
from cytopipe.storage.archive import Archive, Handle, Place, Receipt
from cytopipe.storage.formats import FORMATS, Format
from cytopipe.storage.names import slug

__all__ = ["FormatIOManager", "io_managers"]


class FormatIOManager(IOManager):
    """Stores and loads what one format can hold."""

    def __init__(self, format: Format, graph: Graph, project: ProjectResource) -> None:
        self.format, self._graph, self._project = format, graph, project

    def save(
        self,
        archive: Archive,
        place: Place,
        value: Any,
        provenance: Provenance,
        *,
        check: Callable[[Any], None] | None = None,
    ) -> Receipt:
        """Publish a value at a place; the door of our own runner."""
        return archive.put(place, self.format, value, provenance, check=check)

    def handle_output(self, context: OutputContext, value: Any) -> None:
        if value is None:
            return
        project = self._project.read(context.step_context.instance)
        archive, asset = Archive(project.output), "/".join(context.asset_key.path)
        keys = list(context.asset_partition_keys) if context.has_asset_partitions else [""]
        values = {keys[0]: value} if len(keys) == 1 else value
        if not isinstance(values, Mapping) or set(values) != set(keys):
            raise DagsterInvariantViolationError(
                f"{asset}: a run of {len(keys)} partitions returns a mapping with exactly their keys"
            )
        for key in keys:
            provenance = Provenance(what=asset, asset=asset, partition=key, run_id=context.run_id or "")
            receipt = archive.put(self._place(project, asset, key), self.format, values[key], provenance)
            if len(keys) == 1:
                context.step_context.set_data_version(context.asset_key, DataVersion(receipt.version))
                context.add_output_metadata(
                    {"path": project.relative(receipt.path), "size_bytes": receipt.size_bytes}
                )

    def load_input(self, context: InputContext) -> Any:
        project = self._project.read(context.step_context.instance)
        archive, asset = Archive(project.output), "/".join(context.asset_key.path)
        keys = list(context.asset_partition_keys) if context.has_asset_partitions else [""]
        handles: dict[str, Handle] = {
            key: archive.handle(self._place(project, asset, key), self._format_of(asset)) for key in keys
        }
        alone = keys == [""] or (
            len(keys) == 1 and context.has_partition_key and context.partition_key == keys[0]
        )
        if not alone:
            present = {key: one for key, one in handles.items() if archive.receipt(one.place) is not None}
            return present
        wants_handle = getattr(context.dagster_type, "typing_type", None) is Handle
        return handles[keys[0]] if wants_handle else handles[keys[0]].load()

    def _format_of(self, asset: str) -> Format:
        maker = self._graph.makers.get(asset)
        return maker.makes[asset] if maker else self.format

    def _place(self, project: Project, asset: str, key: str) -> Place:
        if asset in self._graph.makers:
            return Places(project, self._graph).place(asset, key)
        folder = "/".join(["values", *(slug(part) for part in asset.split("/"))])
        tail = f"/{slug(key)}" if key else ""
        return Place(f"{folder}{tail}{self.format.suffix}", "values" if self.format.layout == "set" else "")


def io_managers(graph: Graph, project: ProjectResource) -> dict[str, FormatIOManager]:
    """An IO manager per format, by its name."""
    formats = {format.name: format for step in graph.artifacts for format in step.makes.values()}
    return {name: FormatIOManager(format, graph, project) for name, format in {**FORMATS, **formats}.items()}
