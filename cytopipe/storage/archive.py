"""The archive: artifacts at their places, each with a receipt.

1. `put` writes a value in its format into a draft, has it checked, and publishes it whole with its
   provenance.
2. `receipt` says what stands at a place, from its manifest alone.
3. `get` and `handle` read it back, its bytes compared with the manifest first.

Used alike by Dagster's IO managers, the plain commands and notebooks, so that all of them write the same
bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from cytopipe.errors import CytopipeError, DamagedError, ResumeError, StorageError
from cytopipe.provenance import Provenance
from cytopipe.storage.edits import FileState
from cytopipe.storage.files import sidecar_of
from cytopipe.storage.filesystem import Sync
from cytopipe.storage.formats import Format, SetFormat
from cytopipe.storage.manifest import digest_of_files
from cytopipe.storage.receipts import Receipt
from cytopipe.storage.remembered import Remembered, status_key
from cytopipe.storage.removal import files_of
from cytopipe.storage.sets import owned
from cytopipe.storage.store import Published, Store

__all__ = ["Archive", "ArtifactState", "Handle", "Place", "Receipt"]

_proved: Remembered[bool] = Remembered(100_000)
"""Files that this process published or compared with their manifests, by the status they had then. Steps of
one run hand gigabytes from one to the next; they are digested once."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Place:
    """Where one artifact lies.

    Parameters
    ----------
    path : str
        Relative to the archive's root, with ``/``: the file, the directory, or the folder of a set.
    set_name : str
        The name of the set in that folder; empty for files and directories.
    """

    path: str
    set_name: str = ""

    def __str__(self) -> str:
        return f"{self.path}/{self.set_name}.*" if self.set_name else self.path


@dataclass(frozen=True)
class ArtifactState:
    """What a look at a place found, person's edits included.

    Parameters
    ----------
    kind : {'absent', 'whole', 'edited', 'damaged'}
        Only a set of files that people may edit can be ``edited``.
    version : str
        Digest of what stands; empty where nothing does, or where it is damaged.
    words : str
        What differs from the publication, for a person.
    """

    kind: str
    version: str = ""
    words: str = ""


class Handle(Generic[Value]):
    """An artifact that stands, read when it is asked for: a function may take ten thousand of them."""

    def __init__(self, archive: Archive, place: Place, format: Format) -> None:
        self.archive, self.place, self.format = archive, place, format

    def __repr__(self) -> str:
        return f"Handle({str(self.place)!r}, {self.format.name})"

    def load(self) -> Value:
        """The value, its bytes compared with the manifest first."""
        return self.archive.get(self.place, self.format)

    @property
    def path(self) -> Path:
        """The file, the current version of the directory, or the folder of the set; compared with the
        manifest.
        """
        return self.archive.verified_path(self.place, self.format)

    @cached_property
    def receipt(self) -> Receipt:
        """Its receipt; a `StorageError` where nothing stands."""
        found = self.archive.receipt(self.place)
        if found is None:
            raise StorageError(
                "nothing was published here", where=str(self.place), next="Materialize it first."
            )
        return found


class Archive:
    """Artifacts below one root directory.

    Parameters
    ----------
    root : Path
        Created when something is first put.
    sync : Sync, default Sync.FULL
        How far publications are pushed towards the disk.
    """

    def __init__(self, root: Path | str, *, sync: Sync = Sync.FULL) -> None:
        self.root, self._sync = Path(root).absolute(), sync

    @cached_property
    def store(self) -> Store:
        return Store(self.root, sync=self._sync)

    def put(
        self,
        place: Place,
        format: Format,
        value: Any,
        provenance: Provenance | None = None,
        *,
        check: Callable[[Any], None] | None = None,
    ) -> Receipt:
        """Publish a value, whole or lazy, as the new version of the artifact at a place.

        Parameters
        ----------
        place, format, value, provenance
            `value` is one that `format` can write.
        check : callable, optional
            Called with a function that reads the finished draft; raises where the artifact must not be
            published.

        Raises
        ------
        InputError
            The format cannot hold the value.
        StorageError
            The disk is full, read-only or failing; the previous version stands.
        BusyError
            Somebody works in the folder of a set.
        """
        if isinstance(format, SetFormat):
            if check is not None:
                check(lambda: value)
            files, owns = format.files(place.set_name, value), format.owns(place.set_name)
            with format.alone(self.store.root / place.path):
                if not format.editable:
                    self._yield_place(place, owns)
                try:
                    return self._publish_set(place, format, files, value, provenance)
                except ResumeError:
                    if owned(self.root / place.path, owns):
                        raise
                # Nothing stands any more, so no edit can be lost.
                self.store.accept_set(place.path, place.set_name, owns=owns)
                return self._publish_set(place, format, files, value, provenance)

        def validate(draft: Path) -> None:
            format.validate(draft)
            if check is not None:
                check(lambda: format.read(draft))

        publish = self.store.publish_directory if format.layout == "directory" else self.store.publish_file
        published = publish(
            place.path, lambda draft: format.write(draft, value), validate=validate, provenance=provenance
        )
        if format.layout == "file":
            _proved.put(_key_of(self.root / place.path), True)
        return _receipt(published, provenance)

    def get(self, place: Place, format: Format) -> Any:
        """Read what stands at a place.

        Raises
        ------
        StorageError
            Nothing was published there.
        DamagedError
            Its bytes are not those that were published.
        """
        if isinstance(format, SetFormat):
            return format.parse(place.set_name, self._read_set(place), self.root / place.path)
        return format.read(self.verified_path(place, format))

    def remove(self, place: Place) -> None:
        """Take back the file or directory that was published at a place."""
        self.store.remove(place.path)

    def files_of(self, place: Place) -> list[Path]:
        """The files that a removal would take away."""
        return files_of(self.root / place.path)

    def handle(self, place: Place, format: Format) -> Handle:
        return Handle(self, place, format)

    def verified_path(self, place: Place, format: Format) -> Path:
        """The path to open, after its bytes were compared with the manifest; errors as :meth:`get`."""
        if isinstance(format, SetFormat):
            self._read_set(place)
            return self.root / place.path
        if format.layout == "directory":
            return self.store.open_directory(place.path)
        path = self.root / place.path
        if not _proved.get(key := _key_of(path)):
            self.store.open_file(place.path)
            _proved.put(key, True)
        return path

    def receipt(self, place: Place) -> Receipt | None:
        """What was published at a place, from its manifest; None where nothing was. No content is read."""
        if (place.set_name and not (self.root / place.path).is_dir()) or not self.root.is_dir():
            return None
        try:
            found = self.store.receipt(place.path, place.set_name or None)
            return found if found.n_files else None  # a set whose files were all removed
        except DamagedError:
            raise
        except StorageError:
            if place.set_name or not (self.root / place.path).exists():
                return None
            raise

    def made_by(self, place: Place, format: Format, provenance: Provenance) -> Receipt | None:
        """The receipt of what stands whole at a place and was made by the same code from the same inputs."""
        try:
            receipt = self.receipt(place)
            if receipt is None or receipt.provenance is None:
                return None
            made = receipt.provenance
            same = made.code_version == provenance.code_version and _versions(made) == _versions(provenance)
            return receipt if same and self.look(place, format).kind == "whole" else None
        except CytopipeError:
            return None  # what cannot be read is made again

    def look(self, place: Place, format: Format) -> ArtifactState:
        """Compare what stands at a place with what was published, record by record where people may edit."""
        if not self.root.is_dir():
            return ArtifactState("absent")
        if isinstance(format, SetFormat):
            return self._look_at_set(place, format)
        if not (self.root / place.path).exists():
            return ArtifactState("absent")
        differences = self.store.verify(place.path)
        if differences:
            return ArtifactState("damaged", words="; ".join(map(str, differences[:5])))
        return ArtifactState("whole", self.store.manifest(place.path).sha256)

    def accept(self, place: Place, format: SetFormat, provenance: Provenance | None = None) -> Receipt:
        """Take over a hand edit of a set as its new version, its files as the person left them.

        Raises
        ------
        DamagedError
            A file is damaged, which is no edit.
        BusyError
            Somebody works in the folder of the set.
        CytopipeError
            The edit breaks what must hold of the set; nothing was written.
        """
        folder = self.root / place.path
        with format.alone(folder):
            found = self.store.classify_set(place.path, place.set_name)
            if found.kind == "damaged":
                raise DamagedError(found.findings)
            files = format.accepted(place.set_name, found, folder)
            value = format.parse(place.set_name, files, folder)
            return self._publish_set(place, format, files, value, provenance)

    def scratch(self, recipe: str) -> Path:
        """A folder for checkpoints of work that follows `recipe`; another recipe gets another folder."""
        folder = self.store.root / ".scratch" / hashlib.sha256(recipe.encode()).hexdigest()[:24]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _yield_place(self, place: Place, owns: tuple[str, ...]) -> None:
        """Let a publication replace what stands in a set's place, written by hand or each file by itself."""
        folder = self.root / place.path
        if not folder.is_dir():
            return
        try:
            found = self.store.classify_set(place.path, place.set_name)
        except StorageError:
            return  # a manifest that cannot be read is told by the publication
        if found.kind == "edited" or (found.kind == "absent" and owned(folder, owns)):
            self.store.accept_set(place.path, place.set_name, owns=owns)
        for name in owned(folder, owns):
            sidecar_of(folder / name).unlink(missing_ok=True)

    def forget(self, recipe: str) -> None:
        """Remove the checkpoints of work that is finished."""
        shutil.rmtree(self.scratch(recipe))

    def _publish_set(
        self,
        place: Place,
        format: SetFormat,
        files: Mapping[str, bytes | None],
        value: Any,
        provenance: Provenance | None,
    ) -> Receipt:
        published = self.store.publish_set(
            place.path,
            place.set_name,
            files,
            owns=format.owns(place.set_name),
            extra=lambda manifest: format.beside(place.set_name, value, manifest, self.root / place.path),
            provenance=provenance,
        )
        return _receipt(published, provenance)

    def _read_set(self, place: Place) -> dict[str, bytes]:
        if not (self.root / place.path).is_dir():
            raise StorageError("nothing was published here", where=str(self.root / place.path))
        return self.store.read_set(place.path, place.set_name)

    def _look_at_set(self, place: Place, format: SetFormat) -> ArtifactState:
        folder = self.root / place.path
        if not folder.is_dir():
            return ArtifactState("absent")
        found = self.store.classify_set(place.path, place.set_name)
        if found.kind == "absent" or all(one.kind == "removed" for one in found.files):
            return ArtifactState("absent")
        if found.kind == "damaged":
            return ArtifactState("damaged", words="; ".join(map(str, found.findings[:5])))
        if found.kind == "whole":
            return ArtifactState("whole", self.store.manifest(place.path, place.set_name).sha256)
        words = "; ".join(map(_told, found.differing[:20]))
        return ArtifactState("edited", digest_of_files(found.contents), words)


def _key_of(path: Path) -> tuple:
    try:
        return (path, *status_key(path.lstat()))
    except OSError:
        return (path, uuid.uuid4())  # nothing that was proved


def _versions(made: Provenance) -> list[tuple[str, str]]:
    return sorted((one.asset, one.sha256) for one in made.inputs)


def _told(file: FileState) -> str:
    """A file that was edited, with its first records that came, went or changed."""
    records = [
        f"{sign}{record}"
        for sign, some in (("+", file.added), ("-", file.removed), ("~", file.changed))
        for record in some
    ]
    more = f" and {len(records) - 4} more" if len(records) > 4 else ""
    return f"{file.name} {file.kind}" + (f" ({' '.join(records[:4])}{more})" if records else "")


def _receipt(published: Published, provenance: Provenance | None) -> Receipt:
    return Receipt(published.path, published.sha256, published.size_bytes, published.files, provenance)
