"""From what a person calls a thing to one safe name on disk, and back.

`slug` turns a partition key into one path component. Two different keys never share one, and a name that is
safe as it is, capital letters included, stays as it is: `Russula_INxx` lies in ``Russula_INxx``. A slug is
never empty, hidden, ``.`` or ``..``. `key_of` is the inverse, and `case_collisions` says which keys of a
project would meet on a file system that takes ``A`` and ``a`` for the same (macOS, Windows, SMB).
`check_file_name` and `inside` refuse names and paths that would leave the directory they were given.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from cytopipe.errors import UnsafeNameError

__all__ = ["case_collisions", "check_file_name", "check_key", "former_slug", "inside", "key_of", "slug"]

MAX_KEY_CHARACTERS = 1000
MAX_SLUG_BYTES = 120  # leaves room for the affixes of sidecars and versions within 255 bytes
MAX_FILE_NAME_BYTES = 255 - len("..manifest.json")

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}")
_CLEAN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?<!\.)")
_TAGGED = re.compile(r".*--[a-z2-7]{20}", re.IGNORECASE)
_DEVICES = re.compile(  # what Windows and SMB take for devices
    r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE
)


def slug(key: str) -> str:
    """Turn a key into one path component, injectively.

    A key made of ``[A-Za-z0-9._-]`` is its own slug. Whenever anything has to be changed, a tag of 100 bits
    of the key's SHA-256 is appended after ``--``, so that `x/y` and `x_y` stay apart. A key that looks
    tagged, or like a device of Windows, is tagged itself.

    Raises
    ------
    UnsafeNameError
        As :func:`check_key`.

    Examples
    --------
    >>> slug("Russula_INxx")
    'Russula_INxx'
    >>> slug("../../etc/passwd")
    'etc-passwd--g5knnsz2hdqrqxs3hawv'
    """
    check_key(key)
    return key if _is_its_own(key) else _tagged(key)


def key_of(component: str, keys: Iterable[str] = ()) -> str | None:
    """The key whose slug is `component`: the inverse of :func:`slug`.

    Parameters
    ----------
    component : str
        One name in a directory.
    keys : iterable of str, optional
        Keys that are known. A tagged slug cannot be read back and is looked up among them.

    Returns
    -------
    str or None
        None where `component` is the slug of no key, or of none that is known.

    Examples
    --------
    >>> key_of("Russula_INxx")
    'Russula_INxx'
    >>> key_of("etc-passwd--g5knnsz2hdqrqxs3hawv", ["../../etc/passwd"])
    '../../etc/passwd'
    """
    if _is_its_own(component) and "..." not in component:
        return component
    if not _TAGGED.fullmatch(component):
        return None
    return next((key for key in keys if not _is_its_own(key) and _tagged(key) == component), None)


def case_collisions(keys: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of keys whose slugs differ in nothing but case, sorted; none on most projects.

    They are apart on Linux, and one folder on macOS, Windows and SMB.

    Examples
    --------
    >>> case_collisions(["Amanita", "amanita", "Russula"])
    [('Amanita', 'amanita')]
    """
    groups: dict[str, list[str]] = {}
    for key in sorted(set(keys)):
        groups.setdefault(key.lower(), []).append(key)
    # a tag tells two keys apart whatever their case, so only names that are their own slugs can meet
    same = (tuple(filter(_is_its_own, group)) for group in groups.values() if len(group) > 1)
    return [group for group in same if len(group) > 1]


def former_slug(key: str) -> str:
    """The slug of a key before 0.1.0, when capital letters were folded; to find what lies under it."""
    check_key(key)
    return key if _is_its_own(key) and key == key.lower() else _tagged(key).lower()


def _is_its_own(key: str) -> bool:
    return bool(
        _CLEAN.fullmatch(key)
        and len(key) <= MAX_SLUG_BYTES
        and not _TAGGED.fullmatch(key)
        and not _DEVICES.fullmatch(key)
    )


def _tagged(key: str) -> str:
    tag = base64.b32encode(hashlib.sha256(key.encode()).digest()).decode().lower()[:20]
    plain = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode()
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-")[: MAX_SLUG_BYTES - 22].strip("-")
    return f"{readable or 'key'}--{tag}"


def check_key(key: str) -> None:
    """Refuse a key that no artifact may be called.

    Raises
    ------
    UnsafeNameError
        The key is not text, is blank, holds a control or formatting character (NUL, newline, bidirectional
        override ...), cannot be encoded as UTF-8, holds ``...`` (Dagster reads it as a range), or is longer
        than 1000 characters.
    """
    if not isinstance(key, str):
        raise UnsafeNameError("a name must be text", expected="a string", found=type(key).__name__)
    fault = _fault_of_text(key)
    if fault is None and "..." in key:
        fault = "holds '...', which Dagster reads as a range of keys"
    if fault is None and len(key) > MAX_KEY_CHARACTERS:
        fault = f"is {len(key)} characters long; at most {MAX_KEY_CHARACTERS} are allowed"
    if fault:
        raise UnsafeNameError(f"the name {_shown(key)} {fault}", next="Choose another name.")


def check_file_name(name: str, *, hidden: bool = False) -> None:
    """Refuse a file name that is not one plain, visible component.

    Parameters
    ----------
    name : str
        As it would stand in a directory.
    hidden : bool, default False
        Allow a leading full stop.

    Raises
    ------
    UnsafeNameError
        The name holds a separator or a control character, is ``.``, ``..`` or blank, is hidden, or is longer
        than 240 bytes (255 less what its sidecar adds).
    """
    if isinstance(name, str) and _PLAIN.fullmatch(name):
        return  # nearly every name there is, without a look at each character
    if not isinstance(name, str):
        raise UnsafeNameError("a file name must be text", expected="a string", found=type(name).__name__)
    fault = _fault_of_text(name)
    if fault is None and ("/" in name or "\\" in name):
        fault = "holds a path separator"
    if fault is None and name in {".", ".."}:
        fault = "is a directory, not a file"
    if fault is None and name.startswith(".") and not hidden:
        fault = "begins with a full stop, which is kept for manifests and drafts"
    if fault is None and len(name.encode()) > MAX_FILE_NAME_BYTES:
        fault = f"is {len(name.encode())} bytes long; at most {MAX_FILE_NAME_BYTES} are allowed"
    if fault:
        raise UnsafeNameError(f"the file name {_shown(name)} {fault}", next="Choose another file name.")


def inside(root: Path, path: Path | str) -> Path:
    """Resolve `path` against `root` and refuse what lies, or leads, outside of it.

    Parameters
    ----------
    root : Path
        Absolute directory.
    path : Path or str
        Absolute or relative to `root`. Only its last component may be a link.

    Returns
    -------
    Path
        Absolute, with every parent resolved.

    Raises
    ------
    UnsafeNameError
        A component is unsafe or ``..``, or the path leaves `root`, as text or through a link.
    """
    given = Path(path)
    if ".." in given.parts:
        raise UnsafeNameError(
            f"the path {_shown(str(given))} holds '..'",
            expected=f"a path inside {root}",
            next="Spell it out.",
        )
    full = given if given.is_absolute() else root / given
    real_root = root.resolve()
    if full in (root, real_root):
        return real_root
    for part in full.parts[1:]:
        check_file_name(part, hidden=True)
    real = full.parent.resolve() / full.name
    if not real.is_relative_to(real_root):
        raise UnsafeNameError(
            f"the path {_shown(str(given))} leaves its root",
            expected=f"a path inside {real_root}",
            found=str(real),
        )
    return real


def _fault_of_text(text: str) -> str | None:
    if not text.strip():
        return "is blank"
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":
            return "holds a lone surrogate and cannot be encoded"
        if category in {"Cc", "Cf", "Zl", "Zp"}:
            return f"holds the control character U+{ord(character):04X}"
    return None


def _shown(text: str, limit: int = 80) -> str:
    shown = ascii(text)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
