"""A partition in the formats other programs read: `.uc` of usearch and vsearch, SPART, and a plain TSV.

Each format is read back by the function beside the one that writes it, with the same clusters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from cytopipe.errors import InputError

__all__ = ["FORMATS", "Assignment", "format_spart", "format_tsv", "format_uc", "parse_spart", "parse_uc"]


@dataclass(frozen=True)
class Assignment:
    """One record in the result.

    Parameters
    ----------
    record : str
        Its id.
    cluster : str
        Name of its cluster; "" for an unassigned record.
    length : int
        Length of its sequence, bases.
    medoid : str
        The record that represents its cluster.
    identity : float
        Identity to that record, from 0 to 1.
    """

    record: str
    cluster: str
    length: int
    medoid: str
    identity: float


def format_tsv(assignments: Sequence[Assignment], *, project: str, date: str) -> str:
    """Two columns, record and cluster; an unassigned record has the cluster ``unassigned``."""
    rows = (f"{one.record}\t{one.cluster or 'unassigned'}\n" for one in assignments)
    return "record\tcluster\n" + "".join(rows)


def format_uc(assignments: Sequence[Assignment], *, project: str, date: str) -> str:
    """The ten columns of usearch: S for a medoid, H for a member, C for a cluster, N for the rest.

    References
    ----------
    https://drive5.com/usearch/manual/opt_uc.html
    """
    number = {name: index for index, name in enumerate(_clusters(assignments))}
    sizes: dict[str, int] = dict.fromkeys(number, 0)
    medoids: dict[str, str] = {}
    seeds, hits, rest = [], [], []
    for one in assignments:
        if not one.cluster:
            rest.append(["N", "*", "*", "*", ".", "*", "*", "*", one.record, "*"])
            continue
        place = str(number[one.cluster])
        sizes[one.cluster] += 1
        medoids[one.cluster] = one.medoid
        if one.record == one.medoid:
            seeds.append(["S", place, str(one.length), "*", "*", "*", "*", "*", one.record, "*"])
        else:
            identity = f"{100 * one.identity:.1f}"
            hits.append(["H", place, str(one.length), identity, "+", "0", "0", "*", one.record, one.medoid])
    totals = [
        ["C", str(number[name]), str(sizes[name]), "*", "*", "*", "*", "*", medoids[name], "*"]
        for name in number
    ]
    return "".join("\t".join(row) + "\n" for row in [*seeds, *hits, *rest, *totals])


def parse_uc(text: str, *, where: str = "uc") -> dict[str, str]:
    """Cluster number of every S and H record of a `.uc` file.

    Raises
    ------
    InputError
        If a line has not ten columns.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != 10:
            raise InputError(
                "not a line of a .uc file",
                where=f"{where}:{number}",
                expected="10 columns separated by tabs",
                found=f"{len(columns)}",
            )
        if columns[0] in ("S", "H"):
            found[columns[8].split()[0] if columns[8].split() else columns[8]] = columns[1]
    return found


def format_spart(assignments: Sequence[Assignment], *, project: str, date: str) -> str:
    """The matricial SPART block; unassigned records are left out, as the format has no word for them.

    SPART names hold letters, digits and underscores only: other characters become underscores, and a
    comment says which record such a name stands for.

    References
    ----------
    Miralles A. et al. (2022) SPART: a versatile and standardized data exchange format for species
    partition information. Molecular Ecology Resources 22:430-438.
    """
    number = {name: index for index, name in enumerate(_clusters(assignments), start=1)}
    placed = [one for one in assignments if one.cluster]
    names = _spart_names([one.record for one in placed])
    lines = [
        "begin spart;",
        "",
        f"Project_name = {_spart_name(project)};",
        f"Date = {date};",
        f"N_spartitions = 1 : {_spart_name(project)}_cytopipe;",
        f"N_individuals = {len(placed)};",
        f"N_subsets = {len(number)};",
        "[Subsets by number: "
        + ", ".join(f"{index} {_spart_name(name)}" for name, index in number.items())
        + "]",
    ]
    lines += [f"[{name} stands for {quote(record)}]" for record, name in names.items() if name != record]
    lines.append("Individual_assignment =")
    lines += [f"{names[one.record]} : {number[one.cluster]}" for one in placed]
    return "\n".join([*lines, ";", "", "end;", ""])


def parse_spart(text: str, *, where: str = "spart") -> dict[str, str]:
    """Subset number of every individual in the first partition of a matricial SPART file.

    Raises
    ------
    InputError
        If there is no such block in it.
    """
    original = {
        match[1]: unquote(match[2]) for match in re.finditer(r"\[(\w+) stands for ([^\s\]]+)\]", text)
    }
    plain = re.sub(r"\[[^\]]*\]", "", text)
    block = re.search(r"individual_assignment\s*=(.*?);", plain, re.IGNORECASE | re.DOTALL)
    if block is None:
        raise InputError("holds no Individual_assignment", where=where, expected="a matricial SPART file")
    found = {}
    for line in filter(None, map(str.strip, block[1].splitlines())):
        name, _, subsets = line.rpartition(":")
        if not name:
            raise InputError(
                "not an assignment", where=where, expected="individual : subset", found=repr(line)
            )
        name = name.strip()
        found[original.get(name, name)] = subsets.split("/")[0].strip()
    return found


#: What `cytopipe decompose export` can write: the function, and the ending of its file.
FORMATS = {"tsv": (format_tsv, ".tsv"), "uc": (format_uc, ".uc"), "spart": (format_spart, ".spart")}


def _clusters(assignments: Sequence[Assignment]) -> list[str]:
    """Names of the clusters in the order in which they first appear."""
    return list(dict.fromkeys(one.cluster for one in assignments if one.cluster))


def _spart_names(records: Sequence[str]) -> Mapping[str, str]:
    """A valid and distinct name for every record: itself, wherever it is one."""
    taken = {record for record in records if record == _spart_name(record)}
    names = {}
    for record in records:
        name = record if record in taken else _spart_name(record)
        suffix = 1
        while record != name and name in taken:
            suffix += 1
            name = f"{_spart_name(record)}_{suffix}"
        taken.add(name)
        names[record] = name
    return names


def _spart_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", text)
