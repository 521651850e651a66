"""Which partitions of an input a partition is made from, and which are made from it.

One relation per edge of the graph, decided by the two sets of partitions:

    the same set              the same key
    the input's is coarser    the whole to which the part belongs
    the input's is finer      all parts of the whole
    the input has none        the one artifact there is
    the artifact has none     all partitions of the input
    chosen                    the keys that the partition names itself

The ledger, the runner and Dagster's own mappings (`cytopipe.defs.assets`) are all derived from it. The key
of an artifact without partitions is the empty text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from cytopipe.defs.artifact import Artifact, Graph, Partitions
from cytopipe.project import Project

__all__ = ["Relations"]


class Relations:
    """The relations of a graph over the partitions that a project declares."""

    def __init__(self, project: Project, graph: Graph) -> None:
        self.project, self.graph = project, graph
        self._keys: dict[Partitions, tuple[str, ...]] = {}
        self._wholes: dict[tuple[Partitions, Partitions], dict[str, str]] = {}
        self._parts: dict[tuple[Partitions, Partitions], dict[str, list[str]]] = {}
        self._choices: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}

    def keys(self, by: Partitions | None) -> tuple[str, ...]:
        """The keys of a set, in the order of the project file."""
        if by is None:
            return ("",)
        if by not in self._keys:
            self._keys[by] = tuple(by.keys(self.project))
        return self._keys[by]

    @cached_property
    def declared(self) -> dict[Partitions | None, frozenset[str]]:
        """The keys of every set, to ask whether one is declared."""
        return {by: frozenset(self.keys(by)) for by in (None, *self.graph.partitions)}

    def parents(self, step: Artifact, name: str, key: str) -> Sequence[str]:
        """The keys of the input `name` that partition `key` of an artifact is made from."""
        of, upstream = step.by, self.graph.by_asset[step.inputs[name]].by
        if name in step.chosen:
            return self._chosen(step, name).get(key, ())
        if upstream is None:
            return ("",)
        if of is None:
            return self.keys(upstream)
        if of is upstream:
            return (key,)
        if upstream in of.within:
            return (self.whole(of, upstream)[key],)
        return self.parts(upstream, of).get(key, ())

    def children(self, step: Artifact, name: str, key: str) -> Sequence[str]:
        """The partitions of an artifact that are made from partition `key` of its input `name`."""
        of, upstream = step.by, self.graph.by_asset[step.inputs[name]].by
        if name in step.chosen:
            return [child for child, parents in self._chosen(step, name).items() if key in parents]
        if of is None:
            return ("",)
        if upstream is None:
            return self.keys(of)
        if of is upstream:
            return (key,)
        if upstream in of.within:
            return self.parts(of, upstream).get(key, ())
        whole = self.whole(upstream, of).get(key)
        return () if whole is None else (whole,)

    def is_many(self, step: Artifact, name: str) -> bool:
        """Whether a partition may be made from several partitions of an input."""
        of, upstream = step.by, self.graph.by_asset[step.inputs[name]].by
        return upstream is not None and (
            name in step.chosen or of is None or (of is not upstream and upstream not in of.within)
        )

    def whole(self, finer: Partitions, coarser: Partitions) -> dict[str, str]:
        """For each key of the finer set, the key of the coarser one to which it belongs."""
        if (finer, coarser) not in self._wholes:
            belongs, declared = finer.within[coarser], self.project.data_sets.get(finer.name, {})
            self._wholes[finer, coarser] = {key: belongs(declared[key]) for key in self.keys(finer)}
        return self._wholes[finer, coarser]

    def parts(self, finer: Partitions, coarser: Partitions) -> dict[str, list[str]]:
        """For each key of the coarser set, the keys of the finer one that belong to it, in their order."""
        if (finer, coarser) not in self._parts:
            found: dict[str, list[str]] = {}
            for key, whole in self.whole(finer, coarser).items():
                found.setdefault(whole, []).append(key)
            self._parts[finer, coarser] = found
        return self._parts[finer, coarser]

    def _chosen(self, step: Artifact, name: str) -> dict[str, tuple[str, ...]]:
        if (step.asset, name) not in self._choices:
            choose = step.chosen[name]
            declared = self.project.data_sets.get(step.by.name, {}) if step.by else {"": self.project}
            self._choices[step.asset, name] = {
                key: tuple(choose(declared[key])) for key in self.keys(step.by)
            }
        return self._choices[step.asset, name]
