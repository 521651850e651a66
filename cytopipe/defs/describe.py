"""What a materialization shows of an artifact, in the order in which a person asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from dagster import MetadataValue

from cytopipe.defs.artifact import Described, Nothing
from cytopipe.defs.ledger import Ledger
from cytopipe.storage.archive import Receipt
from cytopipe.storage.names import slug

__all__ = ["address", "described", "picture_of"]

_PICTURE_PX = 520
_INPUTS_SHOWN = 200
_VIEWED = (".tiff", ".ome.zarr")


def described(
    ledger: Ledger,
    asset: str,
    key: str,
    receipt: Receipt | None,
    shown: Described,
    *,
    picture: MetadataValue | None,
    parameters: Mapping[str, object],
    inputs: Mapping[str, Mapping[str, str]],
    code_version: str,
    how: str,
    duration_s: float,
) -> dict[str, object]:
    """The metadata of one materialization.

    Parameters
    ----------
    inputs : mapping of asset to mapping of key to str
        The version of every partition it was made from; at most 200 are shown, all stand in the manifest.
    """
    metadata: dict[str, object] = {"picture": picture} if picture is not None else {}
    metadata |= dict(shown.counts)
    metadata |= dict(shown.notes)
    if isinstance(shown.value, Nothing):
        metadata["nothing"] = shown.value.words
    if receipt is not None:
        maker = ledger.graph.makers[asset]
        format = maker.makes[asset]
        metadata |= {} if format.layout == "set" else dict(format.describe(receipt.path))
        if picture is not None:
            full = ledger.project.output / picture_path(asset, key)
            metadata["full_picture"] = MetadataValue.url(address(ledger.project.output, full))
        if format.suffix in _VIEWED:
            there = address(ledger.project.output, receipt.path, "/view/")
            metadata["view"] = MetadataValue.url(there)
        metadata["open"] = MetadataValue.url(address(ledger.project.output, receipt.path))
        metadata["path"] = MetadataValue.path(ledger.project.relative(receipt.path))
        metadata["size_bytes"] = receipt.size_bytes
        metadata["sha256"] = receipt.version
    if parameters:
        metadata["parameters"] = dict(parameters)
    parts = [
        {"asset": one, "partition": part, "sha256": version}
        for one, versions in inputs.items()
        for part, version in versions.items()
    ]
    metadata["inputs"] = parts[:_INPUTS_SHOWN]
    if len(parts) > _INPUTS_SHOWN:
        metadata["n_inputs"] = len(parts)
    return metadata | {"code_version": code_version, "how": how, "duration_s": round(duration_s, 3)}


def picture_of(ledger: Ledger, asset: str, key: str, png: bytes | None, version: str) -> MetadataValue | None:
    """Publish a picture beside the artifacts, and show it."""
    if png is None:
        return None
    published = ledger.archive.store.publish_bytes(picture_path(asset, key), png)
    # Markdown beyond some 130 characters hides behind a dialog; an address keeps it in sight. The version
    # makes a browser ask again for a picture that was drawn anew.
    where = f"{address(ledger.project.output, published.path)}?width={_PICTURE_PX}&v={version[:6]}"
    return MetadataValue.md(f"![{asset.split('/')[-1]}]({where})")


def picture_path(asset: str, key: str) -> str:
    """Where the picture of a partition lies, relative to the output root."""
    return f"pictures/{asset}" + (f"/{slug(key)}.png" if key else ".png")


def address(output: Path, path: Path, under: str = "/artifacts/") -> str:
    """Where our web server shows a file of the output root."""
    return f"{under}{quote(path.relative_to(output).as_posix())}"
