"""The verbs of the room: publish, read, verify, recover, sweep, below one root.

Every path is checked before it is used. Every reading is verified against its manifest. Every fault of the
operating system is told as a StorageError. The protocol itself is in `files`, `trees` and `sets`, each with
its steps.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import DamagedError, ResumeError, StorageError
from cytopipe.faults import explained, reason_of
from cytopipe.storage import edits, files, janitor, journal, receipts, removal, sets, trees
from cytopipe.storage.draft import STAGING, drafting, write_draft
from cytopipe.storage.edits import SetState
from cytopipe.storage.filesystem import FileSystem, Sync, kind_at, make_folder, probe, walk
from cytopipe.storage.manifest import Difference, Manifest, provenance_json, read_manifests
from cytopipe.storage.names import check_file_name, inside
from cytopipe.storage.receipts import Receipt

if TYPE_CHECKING:
    from cytopipe.provenance import Provenance

__all__ = ["Published", "Store"]

RETIRE_AFTER_S = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Published:
    """What a publication left behind.

    Parameters
    ----------
    path : Path
        The file, the link to the directory, or the folder of the set.
    sha256 : str
        Digest of the content: of a file its own; of directories and sets, of the sorted names and digests.
        Independent of time.
    size_bytes : int
    files : int
        Number of files.
    manifest_path : Path
    version : int
        1 for the first publication under this name.
    """

    path: Path
    sha256: str
    size_bytes: int
    files: int
    manifest_path: Path
    version: int = 1


class Store:
    """A directory in which artifacts are published whole.

    Parameters
    ----------
    root : Path or str
        Created if absent. Drafts stand in ``<root>/.staging``. Its file system is probed once; where
        something is missing, `filesystem.shortcomings()` says what happens instead.
    sync : Sync, default Sync.FULL
        How far publications are pushed towards the disk.

    Raises
    ------
    UnsupportedFilesystemError
        The file system cannot replace a file by renaming.
    """

    def __init__(self, root: Path | str, *, sync: Sync = Sync.FULL) -> None:
        root = Path(root).absolute()
        with explained("opening the store", root):
            make_folder(root, sync)
            self.root = root.resolve()
            self.sync = sync
            self.filesystem: FileSystem | None = _probed(self.root, self.root.stat().st_dev)
            if self.filesystem is not None and kind_at(self.root / STAGING) == "directory":
                age = 0.0 if self.filesystem.locks else RETIRE_AFTER_S
                janitor.sweep_staging(self.root / STAGING, age, sync=sync)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r}, sync={self.sync})"

    # ----------------------------------------------------------------- publish

    def publish_file(
        self,
        path: Path | str,
        write: Callable[[Path], None],
        *,
        validate: Callable[[Path], None] | None = None,
        provenance: Provenance | None = None,
    ) -> Published:
        """Publish one file.

        Parameters
        ----------
        path : Path or str
            Below the root; its directory is created if absent.
        write : callable
            Called with the path of a draft that has the name of the file; must leave one regular file there,
            closed.
        validate : callable, optional
            Called with the finished draft; raises where the file is not what it should be. Nothing is
            published then.
        provenance : Provenance, optional

        Returns
        -------
        Published

        Raises
        ------
        StorageError
            The disk is full, read-only or failing; the previous version stands.
        UnsafeNameError
            The path leaves the root.
        """
        target = self._target(path)
        with explained("publishing", target):
            make_folder(target.parent, self.sync)
            with drafting(self.root / STAGING) as draft:
                staged = write_draft(draft, target.name, "file", write, validate)
                manifest = files.commit_file(draft, staged, target, provenance_json(provenance), self.sync)
        return _published(target, manifest, files.sidecar_of(target))

    def publish_bytes(
        self,
        path: Path | str,
        data: bytes,
        *,
        validate: Callable[[Path], None] | None = None,
        provenance: Provenance | None = None,
    ) -> Published:
        """Publish bytes as one file; as :meth:`publish_file`."""
        return self.publish_file(
            path, lambda draft: _write_bytes(draft, data), validate=validate, provenance=provenance
        )

    def publish_directory(
        self,
        path: Path | str,
        write: Callable[[Path], None],
        *,
        validate: Callable[[Path], None] | None = None,
        provenance: Provenance | None = None,
    ) -> Published:
        """Publish a directory as a new version, named by a symbolic link.

        Parameters
        ----------
        path : Path or str
            Becomes a link into ``.<name>.versions/``. Resolve it once (:meth:`open_directory`) and read
            there.
        write : callable
            Called with a path that does not exist yet; must leave a directory there.
        validate, provenance
            As :meth:`publish_file`.

        Raises
        ------
        RefusedError
            Something that is not ours stands at `path`, or the writer left a link or a special file.
        """
        target = self._target(path)
        with explained("publishing", target):
            make_folder(target.parent, self.sync)
            with drafting(self.root / STAGING) as draft:
                staged = write_draft(draft, target.name, "directory", write, validate)
                manifest = trees.commit_tree(draft, staged, target, provenance_json(provenance), self.sync)
            return _published(target, manifest, trees.manifest_path(trees.resolve_tree(target)))

    def publish_set(
        self,
        folder: Path | str,
        name: str,
        files: Mapping[str, bytes | None],
        *,
        owns: str | tuple[str, ...],
        extra: sets.Extra | None = None,
        provenance: Provenance | None = None,
    ) -> Published:
        """Publish the complete content of a set of hand-editable files in one transaction.

        Parameters
        ----------
        folder : Path or str
            Flat folder below the root; several sets may share it.
        name : str
            Of the set: ``initial``, ``refined`` ...
        files : mapping of file name to bytes or None
            After this, exactly these exist among the names the set owns. None keeps a file as it was
            published. Files whose bytes did not change are not rewritten.
        owns : str or tuple of str
            Patterns (``initial.*.fasta``) of the names that belong to the set.
        extra : mapping of file name to bytes, or callable, optional
            Committed in the same transaction without belonging to the set: ``state.json``. Each gets a
            sidecar of its own, so that :meth:`read_bytes` can verify it. A callable makes them of the new
            manifest of the set, which knows the digests already.
        provenance : Provenance, optional

        Raises
        ------
        ResumeError
            A file of the set was edited, added or removed by hand since it was published, and this would undo
            that. Nothing was written. Call :meth:`accept_set` first.
        DamagedError
            The manifest of the set is damaged.
        """
        directory = self._target(folder)
        owns = (owns,) if isinstance(owns, str) else tuple(owns)
        with explained("publishing", directory):
            manifest = sets.publish_set(
                directory,
                name,
                files,
                owns=owns,
                extra=extra or {},
                provenance=provenance_json(provenance),
                sync=self.sync,
            )
        return _published(directory, manifest, sets.set_manifest_path(directory, name))

    def remove(self, path: Path | str) -> None:
        """Take back a published file or directory; where nothing stands, that is no error.

        Raises
        ------
        RefusedError
            What stands there was not published.
        StorageError
            The disk is read-only or failing; what was published stands, or nothing does.
        """
        target = self._target(path)
        with explained("removing", target):
            if kind_at(target.parent) is None:
                return
            if kind_at(target) == "link" or kind_at(trees.versions_of(target)) is not None:
                removal.remove_directory(target, self.sync)
                return
            with drafting(self.root / STAGING) as draft:
                removal.remove_file(draft, target, self.sync)

    # ----------------------------------------------------------------- read

    def read_bytes(self, path: Path | str) -> bytes:
        """Read a published file, verified against its manifest.

        Raises
        ------
        StorageError
            There is no such artifact.
        DamagedError
            The content is not what was published.
        """
        target = self._target(path)
        with explained("reading", target):
            journal.recover(target.parent, self.sync)
            return files.verified_bytes(target, self.sync)[0]

    def open_file(self, path: Path | str) -> Path:
        """Prove a published file against its manifest and return its path, for a library to open.

        Errors as :meth:`read_bytes`. Never open it for writing.
        """
        target = self._target(path)
        with explained("reading", target):
            journal.recover(target.parent, self.sync)
            files.verified_file(target, self.sync)
        return target

    def open_directory(self, path: Path | str, *, check: bool = True) -> Path:
        """Resolve a published directory to its current version, for a library to open.

        The version does not change and stays for a week after it was replaced. With `check`, every file is
        proved against the manifest first.
        """
        target = self._target(path)
        with explained("reading", target):
            return trees.verified_tree(target)[0] if check else trees.resolve_tree(target)

    def read_set(
        self, folder: Path | str, name: str, *, extra: str | tuple[str, ...] = ()
    ) -> dict[str, bytes]:
        """Read a whole set, proved against its manifest.

        Parameters
        ----------
        folder, name
            As :meth:`publish_set`.
        extra : str or tuple of str
            Files committed along with the set, such as ``state.json``, to be read in the same moment.

        Raises
        ------
        StorageError
            The set was never published.
        DamagedError
            It differs from its manifest; :meth:`classify_set` says how.
        """
        directory = self._target(folder)
        with explained("reading", directory):
            extra = (extra,) if isinstance(extra, str) else tuple(extra)
            return sets.read_set(directory, name, extra, self.sync)[0]

    def manifest(self, path: Path | str, name: str | None = None) -> Manifest:
        """The manifest of the version that stands at `path`; with `name`, of that set in the folder `path`.

        Raises
        ------
        StorageError
            There is none.
        """
        target = self._target(path)
        with explained("reading", target):
            if name is not None:
                journal.recover(target, self.sync)
                manifest = sets.set_manifest(target, name)
            elif kind_at(target) == "link":
                manifest = trees.tree_manifest(trees.resolve_tree(target))
            else:
                journal.recover(target.parent, self.sync)
                manifest = files.current_manifest(target, self.sync)
        if manifest is None:
            raise StorageError("there is no manifest", where=str(target if name is None else target / name))
        return manifest

    def receipt(self, path: Path | str, name: str | None = None) -> Receipt:
        """What was published at `path`, who made it and from what, from its manifest alone.

        No content is read; parameters and errors as :meth:`manifest`. A :class:`InputError` where its
        provenance was written by another version and cannot be read.
        """
        found, key = receipts.known(os.path.join(self.root, path), name)  # noqa: PTH118 (five times faster)
        if found is not None:
            return found
        receipt = receipts.of_manifest(self._target(path), self.manifest(path, name))
        return receipts.keep(key if self._is_final(receipt.path, name) else None, receipt)

    def _is_final(self, target: Path, name: str | None) -> bool:
        """Whether the manifest lists one version, not two as in the middle of the publication of a file."""
        if name is not None or kind_at(target) == "link":
            return True
        return len(read_manifests(files.sidecar_of(target))) == 1

    # ----------------------------------------------------------------- sets and hands

    def recover(self, folder: Path | str) -> bool:
        """Finish the transaction a dead writer left in `folder`; True where there was one.

        Every verb of the store does this by itself; call it before reading the files directly.
        """
        directory = self._target(folder)
        with explained("recovering", directory):
            return journal.recover(directory, self.sync)

    def classify_set(self, folder: Path | str, name: str, *, owns: tuple[str, ...] | None = None) -> SetState:
        """Tell whether a set is absent, whole, edited by hand (record by record) or damaged (file and
        line).

        With patterns of names in `owns`, its manifest is not asked: every file is one that was added.
        """
        directory = self._target(folder)
        with explained("reading", directory):
            return edits.classify_set(directory, name, owns, self.sync)

    def accept_set(
        self,
        folder: Path | str,
        name: str,
        provenance: Provenance | None = None,
        *,
        owns: str | tuple[str, ...] | None = None,
    ) -> Published:
        """Take over a hand edit: a new manifest for what stands in the folder.

        Parameters
        ----------
        folder, name, provenance
            As :meth:`publish_set`.
        owns : str or tuple of str, optional
            Needed where the set has no manifest yet, or a damaged one.

        Raises
        ------
        DamagedError
            A file is damaged; nothing was accepted.
        """
        directory = self._target(folder)
        check_file_name(name)
        patterns = (owns,) if isinstance(owns, str) else owns
        with explained("accepting an edit", directory):
            manifest = edits.accept_set(directory, name, provenance_json(provenance), patterns, self.sync)
        return _published(directory, manifest, sets.set_manifest_path(directory, name))

    # ----------------------------------------------------------------- look after

    def verify(self, path: Path | str | None = None) -> list[Difference]:
        """List every difference between what was published and what is there.

        Parameters
        ----------
        path : Path or str, optional
            A file, a published directory, or a folder, with everything below it; the whole root by default.

        Returns
        -------
        list of Difference
            Empty where all is whole.
        """
        target = self.root if path is None else self._target(path)
        with explained("verifying", target):
            if kind_at(target) == "link":
                return trees.verify_tree(target)
            if kind_at(target) == "directory":
                return _verify_folder(target, self.sync)
            return _told(target, lambda: files.verify_file(target, self.sync))

    def sweep(self, older_than_s: float = RETIRE_AFTER_S) -> janitor.Swept:
        """Remove drafts of dead writers, and versions retired longer ago than `older_than_s` seconds."""
        locks = self.filesystem is None or self.filesystem.locks
        with explained("sweeping", self.root):
            return janitor.sweep(self.root, older_than_s, locks=locks, sync=self.sync)

    def _target(self, path: Path | str) -> Path:
        with explained("looking for the artifact", self.root):
            return inside(self.root, path)


@functools.lru_cache(maxsize=64)
def _probed(root: Path, device: int) -> FileSystem | None:
    """What the file system of a root does; None where nothing may be written, which a reader does not
    mind.
    """
    try:
        with drafting(root / STAGING) as draft:
            return probe(draft.folder)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return None
        raise


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _published(path: Path, manifest: Manifest, manifest_path: Path) -> Published:
    return Published(
        path, manifest.sha256, manifest.size_bytes, len(manifest.files), manifest_path, manifest.version
    )


def _verify_folder(root: Path, sync: Sync) -> list[Difference]:
    """Every artifact below a folder, found by its manifest; what others remove meanwhile is passed over."""
    differences: list[Difference] = []
    for here, folders, names in walk(root, may_vanish=True):
        unfinished = _told(here / journal.JOURNAL, lambda here=here: _recovered(here, sync))
        differences += unfinished
        for name in folders:
            if name.startswith(".") and name.endswith(".versions"):
                differences += trees.verify_tree(here / name[1 : -len(".versions")])
        for name in (*folders, *names) if not unfinished else ():
            if name.startswith(".") and name.endswith(".manifest.json"):
                differences += _told(here / name, lambda at=here, name=name: _verify_manifest(at, name, sync))
        folders[:] = [n for n in folders if n != STAGING and not n.endswith((".versions", ".manifest.json"))]
    return differences


def _recovered(folder: Path, sync: Sync) -> list[Difference]:
    journal.recover(folder, sync)
    return []


def _verify_manifest(folder: Path, sidecar: str, sync: Sync) -> list[Difference]:
    name = sidecar[1 : -len(".manifest.json")]
    if next(version.kind for version in read_manifests(folder / sidecar) if version is not None) == "set":
        return edits.verify_set(folder, name, sync)
    return files.verify_file(folder / name, sync)


def _told(path: Path, verify: Callable[[], list[Difference]]) -> list[Difference]:
    """What `verify` finds, a fault on the way being a difference too: the rest is still looked at."""
    try:
        return verify()
    except FileNotFoundError:  # removed since the folder was listed
        return []
    except ResumeError as error:
        return [Difference("unfinished", path, "a finished checkpoint", str(error))]
    except DamagedError as error:
        return [Difference("manifest", path, "what was written", str(error))]
    except OSError as error:
        return [Difference("unreadable", path, "a manifest", reason_of(error))]
