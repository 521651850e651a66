"""What a format is: one kind of value, turned into bytes and back.

A format never decides where an artifact lies or when it is published. It writes a value into a draft, checks
the finished draft, reads a published artifact back and says in numbers what it holds.
`cytopipe.storage.archive` runs the write protocol around it; a Dagster IO manager is made of it by its name.

A format takes a value whole, or a lazy one in blocks: an artifact of gigabytes is written with flat memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from cytopipe.storage.edits import SetState
    from cytopipe.storage.manifest import Manifest

__all__ = ["DirectoryFormat", "FileFormat", "Format", "SetFormat"]

Layout = Literal["file", "directory", "set"]


class Format(ABC):
    """One kind of artifact.

    Attributes
    ----------
    name : str
        The name of its IO manager: ``h5ad``, ``ome_zarr``.
    suffix : str
        The end of its file names, with the dot; empty for a set.
    layout : {'file', 'directory', 'set'}
        How it is published; see `cytopipe.storage.Store`.
    version : str
        Of the format, with the options that change its bytes. It is part of the recipe: what was written by
        another version is stale.
    kinds : tuple of str
        What Dagster's page shows beside the asset, at most two.
    """

    name: str
    suffix: str
    layout: ClassVar[Layout]
    version: str = "1"
    kinds: tuple[str, ...] = ()

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """Say what a published artifact holds, from its head alone: shape, dtype, counts."""
        return {}


class _DraftedFormat(Format):
    @abstractmethod
    def read(self, path: Path) -> Any:
        """Read an artifact that was verified; lazily where it may be large."""

    @abstractmethod
    def write(self, draft: Path, value: Any) -> None:
        """Write `value` to `draft`, which does not exist yet and has the name of the artifact.

        Raises
        ------
        InputError
            The value is not one that this format can hold.
        """

    def validate(self, draft: Path) -> None:
        """Check the finished draft as a stranger would read it; raise where it is not whole."""


class FileFormat(_DraftedFormat):
    """A format of one file."""

    layout: ClassVar[Layout] = "file"


class DirectoryFormat(_DraftedFormat):
    """A format of a directory that is published as a new version behind a link."""

    layout: ClassVar[Layout] = "directory"


class SetFormat(Format):
    """A format of a set of flat files; several sets may share a folder.

    Attributes
    ----------
    editable : bool
        Whether people may edit the files: an edit is then taken up as a new version, and never overwritten.
        Otherwise it is damage, and the next publication replaces it.
    """

    layout: ClassVar[Layout] = "set"
    editable: ClassVar[bool] = True
    suffix: str = ""

    @abstractmethod
    def owns(self, name: str) -> tuple[str, ...]:
        """The patterns of file names that belong to the set `name`: ``initial.*.fasta``."""

    @abstractmethod
    def files(self, name: str, value: Any) -> Mapping[str, bytes | None]:
        """The complete content of the set `name`; None keeps a file as it stands."""

    @abstractmethod
    def parse(self, name: str, contents: Mapping[str, bytes], folder: Path) -> Any:
        """The value of the set `name`, from the verified content of its files."""

    def counts(self, value: Any) -> Mapping[str, int | float]:
        """What a person counts of a value: shown when it is made, and when an edit of it is taken up."""
        return {}

    def beside(self, name: str, value: Any, manifest: Manifest, folder: Path) -> Mapping[str, bytes]:
        """Files that are committed in the same transaction and belong to no set, such as ``state.json``.

        `manifest` is that of the set as it is about to be published: its digests need not be taken again.
        `folder` holds the files as they are before.
        """
        return {}

    def alone(self, folder: Path) -> AbstractContextManager[None]:
        """Keep out others who work for long in a folder of such sets; held while a set is written.

        Raises
        ------
        BusyError
            Somebody is at work there.
        """
        return nullcontext()

    def accepted(self, name: str, found: SetState, folder: Path) -> Mapping[str, bytes]:
        """The files of a set that was edited by hand, as they are to be published: as the person left them.

        A format may add files that the edit asks for.

        Raises
        ------
        CytopipeError
            The edit breaks what must hold of the set; the message says what to do. Nothing was written.
        """
        return found.contents
