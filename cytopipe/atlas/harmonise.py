"""One vocabulary of cell types for atlases that were annotated separately.

A table that users can edit maps the label of an atlas (``CD4+/CD25 T Reg``) to one of 8 lineages and one of
32 fine types. The table is read from top to bottom and the first row that fits wins; a label that no row
fits is reported, never guessed. A row fits when it names the atlas (``*``: any) and each word of its
pattern is a word of the label. Words are runs of letters and digits; case is ignored, and ``*`` in a word
stands for any letters.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Literal

from cytopipe.errors import Finding, InputError

__all__ = [
    "Granularity",
    "Harmonisation",
    "HarmonisationRule",
    "default_harmonisation",
    "joined_harmonisation",
    "read_harmonisation",
]

Granularity = Literal["coarse", "fine"]
COLUMNS = ("atlas", "pattern", "coarse", "fine")
MAX_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class HarmonisationRule:
    """One row of the table: labels of `atlas` that have all words of `pattern` are `coarse` and `fine`.

    `fine` is empty where a label tells the lineage only.
    """

    atlas: str
    pattern: str
    coarse: str
    fine: str

    def fits(self, atlas: str, words: Sequence[str]) -> bool:
        """Whether this row speaks about a label with these words."""
        if self.atlas not in ("*", atlas):
            return False
        return all(any(fnmatchcase(word, wanted) for word in words) for wanted in self.pattern.split())


@dataclass(frozen=True)
class Harmonisation:
    """The whole table."""

    rules: tuple[HarmonisationRule, ...]
    source: str = field(default="", compare=False)

    @property
    def sha256(self) -> str:
        """Digest of the rules, whatever the file they stand in looks like."""
        rows = [(rule.atlas, rule.pattern, rule.coarse, rule.fine) for rule in self.rules]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def of(self, atlas: str, label: str, granularity: Granularity = "coarse") -> str | None:
        """The harmonised type of one label; None where no row fits or the row has no fine type.

        Examples
        --------
        >>> default_harmonisation().of("any", "CD4+/CD25 T Reg", "fine")
        'Treg'
        """
        words = _words(label)
        for rule in self.rules:
            if rule.fits(atlas, words):
                return getattr(rule, granularity) or None
        return None

    def types(self, granularity: Granularity) -> tuple[str, ...]:
        """The vocabulary, in the order of the table."""
        return tuple(dict.fromkeys(name for rule in self.rules if (name := getattr(rule, granularity))))


def joined_harmonisation(tables: Mapping[str, Harmonisation]) -> Harmonisation:
    """One table in which every atlas keeps the rules of its own.

    Parameters
    ----------
    tables : mapping of str to Harmonisation
        By atlas.
    """
    rules = [
        replace(rule, atlas=atlas)
        for atlas, table in tables.items()
        for rule in table.rules
        if rule.atlas in ("*", atlas)
    ]
    return Harmonisation(tuple(rules), source=", ".join(sorted({one.source for one in tables.values()})))


def default_harmonisation() -> Harmonisation:
    """The table that comes with cytopipe."""
    name = "cell_types.tsv"
    return _parse((files("cytopipe.atlas") / name).read_text(encoding="utf-8").splitlines(), name)


def read_harmonisation(path: str | Path) -> Harmonisation:
    """Read a user's table: TSV with a header of atlas, pattern, coarse, fine; ``#`` begins a comment line.

    Raises
    ------
    InputError
        With every finding, each with its line.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError("this is no table of cell types: it is too large", where=str(path))
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the table of cell types cannot be read: {error}", where=str(path)) from error
    return _parse(text.splitlines(), str(path))


def _parse(lines: Iterable[str], where: str) -> Harmonisation:
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not numbered or tuple(numbered[0][1].strip().split("\t")) != COLUMNS:
        raise InputError(
            "the header of the table of cell types is not as expected",
            where=f"{where}:{numbered[0][0] if numbered else 1}",
            expected="tab-separated: " + ", ".join(COLUMNS),
            found=repr(numbered[0][1][:80]) if numbered else "an empty table",
        )
    rules: list[HarmonisationRule] = []
    findings: list[Finding] = []
    lineage_of: dict[str, tuple[str, int]] = {}
    seen: dict[tuple[str, str], int] = {}
    for number, line in numbered[1:]:
        fields = [part.strip() for part in line.split("\t")]
        here = f"{where}:{number}"
        fields += [""] * (len(fields) == 3)  # an editor may have dropped the last tab
        if len(fields) != 4 or not all(fields[:3]):
            findings.append(
                Finding(
                    what="a row needs an atlas, a pattern and a lineage",
                    where=here,
                    expected="4 tab-separated fields, only the last may be empty",
                    found=repr(line[:80]),
                )
            )
            continue
        atlas, pattern, coarse, fine = fields
        pattern = " ".join(_words(pattern, keep="*"))
        if not pattern.replace("*", "").strip():
            findings.append(Finding(what="this pattern fits every label", where=here, found=repr(fields[1])))
        if (first := seen.setdefault((atlas, pattern), number)) != number:
            findings.append(
                Finding(what=f"the pattern of line {first} is repeated", where=here, found=repr(pattern))
            )
        if fine:
            lineage, first = lineage_of.setdefault(fine, (coarse, number))
            if lineage != coarse:
                findings.append(
                    Finding(
                        what=f"fine type {fine!r} belongs to two lineages",
                        where=here,
                        expected=f"{lineage!r}, as in line {first}",
                        found=repr(coarse),
                    )
                )
        rules.append(HarmonisationRule(atlas=atlas, pattern=pattern, coarse=coarse, fine=fine))
    if findings:
        raise InputError(findings)
    return Harmonisation(tuple(rules), source=where)


def _words(label: str, keep: str = "") -> list[str]:
    return [word for word in re.split(rf"[^\w{re.escape(keep)}]+|_+", label.casefold()) if word]
