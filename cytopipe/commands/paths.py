"""Paths on the command line: absolute as soon as they are read.

A person types a path relative to where they stand; the store and the project read a relative path as one
below their own root. One type for every option and argument keeps the two apart, and what a command prints
can be pasted from any directory.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from cytopipe.errors import ParameterError

__all__ = ["FILE", "PATH", "AbsolutePath", "absolute", "paste", "publish"]


class AbsolutePath(click.Path):
    """A path argument; commands receive it absolute."""

    def __init__(self, **rules: bool) -> None:
        super().__init__(path_type=Path, **rules)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        full = absolute(super().convert(value, param, ctx))
        try:
            str(full).encode()
        except UnicodeEncodeError as error:
            raise ParameterError(
                "the path is not UTF-8, and could not be written into any document",
                where=param.opts[0] if param and param.opts[0].startswith("-") else "",
                found=ascii(str(full)),
                next="Rename it.",
            ) from error
        return full


def absolute(path: Path) -> Path:
    """`path` seen from the working directory, ``..`` followed as the system follows it.

    The last component stays as it is: it may be the link by which a published directory is named.
    """
    full = path.absolute()
    if ".." not in full.parts:
        return full
    return full.resolve() if full.name == ".." else full.parent.resolve() / full.name


def paste(path: Path) -> str:
    """`path` as a shell reads it back, for commands that are printed to be pasted."""
    return shlex.quote(str(path))


def publish(path: Path, content: bytes) -> None:
    """Write a file that a command was asked for, whole or not at all."""
    from cytopipe.storage.store import Store

    Store(path.parent).publish_bytes(path.name, content)


PATH = AbsolutePath()
FILE = AbsolutePath(dir_okay=False)
