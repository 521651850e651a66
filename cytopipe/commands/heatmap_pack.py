"""``cytopipe heatmap pack | unpack``: a history in a fraction of its space, and back."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import click

from cytopipe.commands.paths import PATH, paste
from cytopipe.commands.words import counted

__all__ = ["pack", "unpack"]

_NAMES = "names.json"
"""In a packed history: the path of every checkpoint, by its identifier."""


@click.command(epilog="\b\nExamples:\n  cytopipe heatmap pack runs/blood packed/blood")
@click.argument("folder", type=PATH)
@click.argument("packed", type=PATH, metavar="PACKED")
def pack(folder: Path, packed: Path) -> None:
    """Put the checkpoints of FOLDER into PACKED, where what they share lies once.

    Nothing is lost: unpack gives the same files, byte for byte. FOLDER stays as it is; its cells and recipe
    are not packed. Packing again adds what is new.
    """
    from cytopipe.errors import InputError
    from cytopipe.heatmap import RunFolder, load_heatmap_state, open_history
    from cytopipe.heatmap.history import CELLS
    from cytopipe.storage.state import format_json
    from cytopipe.storage.store import Store

    history = open_history(folder)
    packable = {one: entry for one, entry in history.by_id.items() if entry.path.endswith(".h5ad")}
    if not packable:
        raise InputError("holds no checkpoint", where=str(folder), expected=".h5ad files")
    for entry in history.by_id.values():
        if entry.id not in packable:
            click.echo(f"cytopipe: left out {entry.path}: Zarr checkpoints are not packed", err=True)
    for fault in (one for one in history.faults if one.path != CELLS):
        click.echo(f"cytopipe: left out {fault.path}: {fault.fault}", err=True)
    run, names = RunFolder(packed), _names_in(packed)
    for one in history.ids:
        entry = packable.get(one)
        if entry is not None:
            run.put(load_heatmap_state(folder / entry.path))
            names[one] = entry.path
    Store(packed).publish_bytes(_NAMES, format_json(names, where=_NAMES))
    before, after = sum(one.size for one in packable.values()), run.size_bytes()
    click.echo(f"{counted(len(packable), 'checkpoint')}: {before / 1e6:.2f} MB -> {after / 1e6:.2f} MB")
    click.echo(f"  {packed}")
    click.echo(f"get them back: cytopipe heatmap unpack {paste(packed)} FOLDER")


@click.command(epilog="\b\nExamples:\n  cytopipe heatmap unpack packed/blood runs/again")
@click.argument("packed", type=PATH, metavar="PACKED")
@click.argument("folder", type=PATH)
def unpack(packed: Path, folder: Path) -> None:
    """Write the checkpoints of PACKED as files of their own into FOLDER."""
    from cytopipe.errors import InputError
    from cytopipe.heatmap import RunFolder

    run, names = RunFolder(packed), _names_in(packed)
    if not run.ids():
        raise InputError("holds no packed checkpoint", where=str(packed))
    places = {one: folder / names.get(one, f"{one}.h5ad") for one in run.ids()}
    if taken := [place for place in places.values() if place.exists()]:
        raise InputError("is there already", where=str(taken[0]), next="Choose another folder.")
    for one, place in places.items():
        run.export(one, place)
    click.echo(f"{counted(len(places), 'checkpoint')} unpacked")
    click.echo(f"  {folder}")


def _names_in(packed: Path) -> dict[str, str]:
    """The paths that are known, checked: none leads out of a folder."""
    from cytopipe.errors import InputError
    from cytopipe.storage.names import check_file_name
    from cytopipe.storage.state import read_json

    file = packed / _NAMES
    if not file.is_file():
        return {}
    names = read_json(file)
    if not isinstance(names, dict) or not all(isinstance(one, str) for one in names.values()):
        raise InputError("is no list of names", where=str(file), expected="a path for each identifier")
    for one in names.values():
        for part in PurePosixPath(one).parts:
            check_file_name(part)
    return names
