"""Every error cytopipe raises on purpose, as one tree.

A user's mistake, a damaged file and a missing tool are values, not tracebacks: each error carries
*findings* that say what is wrong, where, what was expected, what was found and what to do next.
A validator collects all its findings and raises once. The command line prints them and exits with
the code of the class; anything outside this tree is a bug of ours and keeps its traceback.

    CytopipeError                          exit code
    ├── UserError                          2   something the user wrote, chose or passed
    │   ├── ProjectError                       cytopipe.yaml, or no project where one is needed
    │   ├── InputError (ValueError)            a file or table that cannot be used as it is
    │   ├── ParameterError (ValueError)        a value out of its range, or two that contradict
    │   ├── ResumeError                        a directory that cannot be continued like this
    │   └── UnsafeNameError (ValueError)       a name that must not reach the file system
    ├── StorageError (OSError)             3   bytes on disk
    │   ├── DamagedError                       content differs from its manifest
    │   ├── RefusedError                       a foreign file with something we will not follow
    │   ├── BudgetError (MemoryError)          needs more memory or disk than it may have
    │   ├── BusyError                          another process holds the lock
    │   └── UnsupportedFilesystemError         the file system cannot keep the promise
    ├── MissingToolError (ImportError)     4   an optional program, package or device is absent
    ├── EngineError (RuntimeError)         5   a worker died or an engine cannot be reached
    └── Interrupted                        130 stopped on request; the work done so far is saved
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "BudgetError",
    "BusyError",
    "CytopipeError",
    "DamagedError",
    "EngineError",
    "Finding",
    "InputError",
    "Interrupted",
    "MissingToolError",
    "ParameterError",
    "ProjectError",
    "RefusedError",
    "ResumeError",
    "StorageError",
    "UnsafeNameError",
    "UnsupportedFilesystemError",
    "UserError",
]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    what : str
        The fault in one clause, without a full stop: ``column 'donor_id' is absent from obs``.
    where : str, optional
        File (with ``:line`` where there is one), asset and partition, or option name.
    expected, found : str, optional
        What would have been right, and what was there instead.
    next : str, optional
        What the user can do about it, as an imperative sentence.
    """

    what: str
    where: str = ""
    expected: str = ""
    found: str = ""
    next: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.expected:
            text += f"; expected {self.expected}"
        if self.found:
            text += f"; found {self.found}"
        if not self.next:
            return text
        return f"{text}{'' if text.endswith(('.', '?', '!')) else '.'} {self.next}"


class CytopipeError(Exception):
    """Base of the tree.

    Parameters
    ----------
    what : str or Finding or iterable of Finding
        One sentence, one finding, or all findings of a validator.
    where, expected, found, next : str, optional
        As in :class:`Finding`, when `what` is a sentence.
    """

    exit_code = 1

    def __init__(
        self,
        what: str | Finding | Iterable[Finding],
        *,
        where: str = "",
        expected: str = "",
        found: str = "",
        next: str = "",
    ) -> None:
        if isinstance(what, str):
            findings: tuple[Finding, ...] = (
                Finding(what=what, where=where, expected=expected, found=found, next=next),
            )
        elif isinstance(what, Finding):
            findings = (what,)
        else:
            findings = tuple(what)
        self.findings = findings
        super().__init__("\n".join(str(finding) for finding in findings))

    def __str__(self) -> str:  # OSError as second parent would print its errno form
        return "\n".join(str(finding) for finding in self.findings)

    def __reduce__(self):  # travels whole between the processes of an engine
        return type(self), (self.findings,)


class UserError(CytopipeError):
    """Something the user wrote, chose or passed."""

    exit_code = 2


class ProjectError(UserError):
    """The project file, or a project where one is needed."""


class InputError(UserError, ValueError):
    """A file or table that cannot be used as it is."""


class ParameterError(UserError, ValueError):
    """A value out of its range, or two that contradict each other."""


class ResumeError(UserError):
    """A directory that cannot be continued in the way that was asked."""


class UnsafeNameError(UserError, ValueError):
    """A name that must not reach the file system."""


class StorageError(CytopipeError, OSError):
    """Bytes on disk."""

    exit_code = 3


class DamagedError(StorageError):
    """Content differs from its manifest, and not by a hand edit we can follow."""


class RefusedError(StorageError):
    """A foreign file holds something we will not follow: an external link, a pickle, a bomb."""


class BudgetError(StorageError, MemoryError):
    """The work needs more memory or disk than it may have; both numbers are in the message."""


class BusyError(StorageError):
    """Another process holds the lock."""


class UnsupportedFilesystemError(StorageError):
    """The file system lacks what the write protocol needs."""


class MissingToolError(CytopipeError, ImportError):
    """An optional program, package or device is absent."""

    exit_code = 4


class EngineError(CytopipeError, RuntimeError):
    """A worker died, or the engine cannot be reached."""

    exit_code = 5


class Interrupted(CytopipeError):
    """Stopped on request (SIGINT, SIGTERM); the work done so far is saved."""

    exit_code = 130
