"""Which columns are markers, and what they are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Column", "clean", "is_technical", "known_column", "named_columns"]

# Not a property of a cell's phenotype: time, light scatter, lengths and shapes of pulses, DNA and barcodes.
_TECHNICAL = re.compile(
    r"(time|event[ _]?(length|id|number|#)?|cell[ _]?length|width|center|offset|residual|amplitude"
    r"|(fsc|ssc|bsc)\b.*|hdr-.*|bead.*|bc\d+|barcode.*|dna([ _-]?\d+.*)?|(ir)?19[13](ir|di)?|iridium.*"
    r"|dapi.*|hoechst.*|cis(platin|pt)?|(19[4568])?(pt|cisplatin)|live[ /_-]*dead.*|l[/_]d|viab.*"
    r"|.*_?empty|blank.*)",
    re.IGNORECASE,
)
# Elements that label antibodies; Ki67 is none of their isotopes.
_ELEMENT = (
    "(?:Y|Rh|Ru|Pd|Ag|Cd|In|Sn|Te|I|Xe|Cs|Ba|La|Ce|Pr|Nd|Sm|Eu|Gd|Tb|Dy|Ho|Er|Tm|Yb|Lu|Os|Ir|Pt|Au|Pb|Bi)"
)
_ISOTOPE_FIRST = re.compile(rf"\d{{2,3}}{_ELEMENT}(?:Di)?[_-](?=\S)")  # 170Er_CD3
_ISOTOPE = re.compile(rf"(\d{{2,3}}{_ELEMENT}|{_ELEMENT}\d{{2,3}})(Di|Dd)?")  # 170Er, Er170Di

# What tables of cells call what is no marker. Names are compared in small letters, without signs.
_KNOWN = {
    "label": ("label", "object", "objectid", "cellid", "cell", "id", "cellnumber", "objectnumber"),
    "x": ("x", "xcentroid", "centroid1", "centroidx", "posx", "xposition", "locationcenterx"),
    "y": ("y", "ycentroid", "centroid0", "centroidy", "posy", "yposition", "locationcentery"),
    "fov": ("fov", "image", "imageid", "imagenumber", "imagename", "roi"),
    "sample": ("sample", "sampleid", "samplename"),
    "area": ("area", "cellsize", "size"),
}
_ALSO_KNOWN = frozenset(
    re.findall(
        r"\w+",
        """
    batch patient patientid donor condition group filename file source time eventlength population
    celltype cluster clusterid metacluster metaclusterid cellmetacluster cellcluster phenotype gate
    gates lineage node majoraxislength minoraxislength axismajorlength axisminorlength eccentricity
    solidity extent orientation perimeter convexarea areabbox areaconvex areafilled equivalentdiameter
    nuclearsize ncratio majorminoraxisratio perimsquareoverarea majoraxisequivdiamratio convexhullresid
    centroiddif numconcavities spatialx spatialy umap1 umap2 tsne1 tsne2 unnamed0 index rowindex
    """,
    )
)


@dataclass(frozen=True)
class Column:
    """One measured channel: the name people know, the one of the detector, and whether it is a marker."""

    marker: str
    channel: str
    is_marker: bool


def clean(name: object) -> str:
    """A name without control characters and runs of blanks."""
    text = "".join(sign if sign.isprintable() else " " for sign in str(name))
    return " ".join(text.split())


def is_technical(name: str) -> bool:
    """Whether a channel of this name says nothing of a cell's phenotype: Time, FSC-A, DNA1, beads."""
    return _TECHNICAL.fullmatch(name) is not None


def known_column(name: str) -> str | None:
    """What a column of this name is, where it is no marker: label, x, y, fov, sample, area, or other."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    for known, spellings in _KNOWN.items():
        if plain in spellings:
            return known
    return "other" if plain in _ALSO_KNOWN or plain == "" else None


def named_columns(channels: Sequence[str], labels: Sequence[str] | None = None) -> tuple[Column, ...]:
    """Channels with unique names.

    Parameters
    ----------
    channels : sequence of str
        Names of detectors.
    labels : sequence of str, optional
        What people call each of them; empty where nothing was stained. If any is given, a channel without
        one is no marker.

    Returns
    -------
    tuple of Column
        A label such as ``170Er_CD3`` gives the marker CD3. Names that two channels share get the name of
        the channel, ``CD3 (FITC-A)``, or a number, ``FL1 2``.
    """
    channels = _numbered([clean(one) or "channel" for one in channels])
    labels = [clean(one) for one in labels] if labels is not None else [""] * len(channels)
    short = [_ISOTOPE_FIRST.sub("", one, count=1) for one in labels]
    shared = Counter(short)
    short = [full if shared[one] > 1 else one for full, one in zip(labels, short, strict=True)]
    any_label = any(one and one != channel for one, channel in zip(short, channels, strict=True))
    shared = Counter(short)
    names = [
        channel if not label else f"{label} ({channel})" if shared[label] > 1 else label
        for label, channel in zip(short, channels, strict=True)
    ]
    columns = []
    for name, label, channel in zip(_numbered(names), short, channels, strict=True):
        stained = bool(label) and _ISOTOPE.fullmatch(label) is None if any_label else True
        # Height and width of a pulse say nothing that its area does not.
        again = channel[-2:] in ("-H", "-W") and f"{channel[:-2]}-A" in channels
        technical = again or is_technical(label) or is_technical(channel)
        columns.append(Column(name, channel, stained and not technical))
    return tuple(columns)


def _numbered(names: Sequence[str]) -> list[str]:
    """Names in which a repeated one has a number: FL1, FL1 2."""
    taken, result = set(names), []
    seen: set[str] = set()
    for name in names:
        unique, number = name, 1
        while unique in seen or (number > 1 and unique in taken):
            number += 1
            unique = f"{name} {number}"
        seen.add(unique)
        result.append(unique)
    return result
