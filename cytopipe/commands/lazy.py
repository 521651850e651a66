"""A group of commands whose modules are imported when a command runs, not when the group is listed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

import click

__all__ = ["Command", "LazyGroup", "refuse_unknown"]


class Command(NamedTuple):
    """A line of a group's table.

    Parameters
    ----------
    target : str
        Where the command lives: ``cytopipe.commands.materialize:materialize``.
    help : str
        What it does, in one sentence.
    heading : str
        The heading under which ``--help`` lists it.
    """

    target: str
    help: str
    heading: str = "Commands"


class LazyGroup(click.Group):
    """A group over a table of commands.

    Parameters
    ----------
    table : mapping of name to Command
    """

    def __init__(self, *, table: Mapping[str, Command], **given: object) -> None:
        super().__init__(**given)  # type: ignore[arg-type]
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        module, _, attribute = self.table[name].target.partition(":")
        return getattr(import_module(module), attribute)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and not args[0].startswith("-") and args[0] not in self.table:
            refuse_unknown(args[0], self.table, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.table.items():
            headings.setdefault(command.heading, []).append((name, command.help))
        for heading, rows in headings.items():
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=14)


def refuse_unknown(name: str, known: Mapping[str, object], ctx: click.Context) -> None:
    """Refuse a word that is no command, with the command that was probably meant.

    Raises
    ------
    click.UsageError
    """
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise click.UsageError(f"No such command '{name}'.{hint}", ctx)
