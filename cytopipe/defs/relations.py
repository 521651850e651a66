"""Which partitions of an input a partition is made from, and which are made from it.

One relation per edge of the graph, decided by the two sets of partitions:

    the same set              the same key
    the input's is coarser    the whole to which the part belongs
    the input's is finer      all parts of the whole
    the input has none        the one artifact there is
    the artifact has none     all partitions of the input
    chosen                    the keys that the partition names itself

Where the settings of an entry do not use an artifact (`When`), it has no partition, and is no input.

The ledger, the runner and Dagster's own mappings (`cytopipe.defs.assets`) are all derived from it. The key
of an artifact without partitions is the empty text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from cytopipe.defs.artifact import Artifact, Graph, Partitions, Source, When
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
        self._unused: dict[When, dict[str, str]] = {}
        self._made: dict[Artifact, tuple[str, ...]] = {}
        self._made_sets: dict[Artifact | Source, frozenset[str]] = {}

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

    def made_keys(self, one: Artifact | Source) -> tuple[str, ...]:
        """The partitions of an artifact or source: the keys of its set, those left out that settings do not
        use.
        """
        if isinstance(one, Source):
            return self.keys(one.by) if self.is_used(one) else ()
        if one.when is None:
            return self.keys(one.by)
        if one not in self._made:
            self._made[one] = self._used(one.when, one.by)
        return self._made[one]

    def made_set(self, one: Artifact | Source) -> frozenset[str]:
        """The same, to ask whether there is one."""
        keys = self.made_keys(one)
        if keys is self.keys(one.by):
            return self.declared[one.by]
        if one not in self._made_sets:
            self._made_sets[one] = frozenset(keys)
        return self._made_sets[one]

    def is_used(self, one: Artifact | Source) -> bool:
        """Whether the settings of any entry use it; True where there is no entry. A source is used where
        something that is used is made from it.
        """
        if isinstance(one, Source):
            return any(self.is_used(step) for step, _ in self.graph.consumers[one.asset])
        return bool(self.made_keys(one)) or not self.keys(one.by)

    def in_use(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """Inputs by their asset, without those that the settings of no entry use: Dagster has no edge to
        them.
        """
        by_asset = self.graph.by_asset
        return {
            of: version for of, version in inputs.items() if of not in by_asset or self.is_used(by_asset[of])
        }

    def unused(self, when: When) -> dict[str, str]:
        """The keys of `when.of` where settings do not use something, with the reason in words."""
        if when not in self._unused:
            data_sets = self.project.data_sets.get(when.of.name, {})
            words = {key: when.unused(data_sets[key]) for key in self.keys(when.of)}
            self._unused[when] = {key: told for key, told in words.items() if told}
        return self._unused[when]

    def _used(self, when: When, by: Partitions | None) -> tuple[str, ...]:
        keys, unused = self.keys(by), self.unused(when)
        if not unused or by is None:
            return keys
        if len(unused) == len(self.keys(when.of)):
            return ()
        whole = {key: key for key in keys} if by is when.of else self.whole(by, when.of)
        return tuple(key for key in keys if whole[key] not in unused)

    def is_read(self, step: Artifact, name: str, key: str) -> bool:
        """Whether settings let partition `key` of an artifact read its input `name`."""
        when = step.reads_when.get(name)
        if when is None or not (unused := self.unused(when)):
            return True
        of = key if step.by is when.of else self.whole(step.by, when.of).get(key) if step.by else ""
        return of not in unused

    def parents(self, step: Artifact, name: str, key: str) -> Sequence[str]:
        """The keys of the input `name` that partition `key` of an artifact is made from."""
        if not self.is_read(step, name, key):
            return ()
        upstream = self.graph.by_asset[step.inputs[name]]
        return self._among(upstream, self._parents(step, name, key))

    def parents_of_all(self, step: Artifact, name: str, keys: set[str]) -> set[str]:
        """The keys of the input `name` that any of these partitions is made from."""
        upstream = self.graph.by_asset[step.inputs[name]]
        if upstream.by is step.by and name not in step.chosen and name not in step.reads_when:
            return keys & self.made_set(upstream)
        return {parent for key in keys for parent in self.parents(step, name, key)}

    def children(self, step: Artifact, name: str, key: str) -> Sequence[str]:
        """The partitions of an artifact that are made from partition `key` of its input `name`."""
        found = self._among(step, self._children(step, name, key))
        return (
            found if name not in step.reads_when else [one for one in found if self.is_read(step, name, one)]
        )

    def _among(self, one: Artifact | Source, keys: Sequence[str]) -> Sequence[str]:
        """Those of `keys` of which there is a partition."""
        if isinstance(one, Source) or one.when is None or not self.unused(one.when):
            return keys
        made = self.made_set(one)
        return [key for key in keys if key in made]

    def _parents(self, step: Artifact, name: str, key: str) -> Sequence[str]:
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

    def _children(self, step: Artifact, name: str, key: str) -> Sequence[str]:
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
