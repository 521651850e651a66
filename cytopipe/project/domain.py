"""What a domain brings to the project file and to the command line, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cytopipe.project.entry import Entry

__all__ = ["Domain"]


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A registration: plain names only, so that listing the domains imports none of them.

    Parameters
    ----------
    name : str
        Key of its entries in ``cytopipe.yaml``, its command ``cytopipe NAME`` and first part of its assets.
    help : str
        What it does, in one sentence.
    package : str
        The package of its registration; its ``starter.yaml`` holds commented example entries.
    entry : str
        The pydantic model of one entry, as ``module:Class``; derives from
        :class:`cytopipe.project.entry.Entry`.
    commands : str
        Its group of commands, as ``module:group``.
    graph : str
        Its sources and artifacts, as ``module:GRAPH``; empty while it has commands alone.
    parameters : tuple of str
        Its sets of parameters, as ``module:Class``, for the documentation.
    sets : tuple of str
        Names of its sets of partitions, coarser before finer; an entry says what it has in each
        (:meth:`cytopipe.project.entry.Entry.sets`). By default one set, named like the domain. Where there
        are several, the first holds the entries themselves; a key means one thing in all the others together.
    grids : tuple of str
        Those of the sets whose keys have two dimensions, ``a|b``.
    """

    name: str
    help: str
    package: str
    entry: str
    commands: str
    graph: str = ""
    parameters: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    grids: tuple[str, ...] = ()

    @property
    def all_sets(self) -> tuple[str, ...]:
        """Names of its sets of partitions, coarser before finer."""
        return self.sets or (self.name,)

    def entry_model(self) -> type[Entry]:
        """The model of one entry, imported."""
        return _attribute(self.entry)

    def parameter_sets(self) -> list[type]:
        """The sets of parameters, imported."""
        return [_attribute(one) for one in self.parameters]

    def starter(self) -> str:
        """YAML for a new project file: what the domain is for, its key, and example entries as comments."""
        return files(self.package).joinpath("starter.yaml").read_text(encoding="utf-8")


def _attribute(target: str) -> type:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
