"""``ui``: the project in a browser, for this machine and nobody else."""

from __future__ import annotations

import click

from cytopipe.cli import Options
from cytopipe.commands.options import PORT

__all__ = ["ui"]


@click.command()
@click.option("--port", type=PORT, metavar="N", help="Port on loopback [default: 3000 or the next].")
@click.option("--read-only", is_flag=True, help="Look, and change nothing; no daemon either.")
@click.option("--token", is_flag=True, help="Ask for a secret that is part of the printed address.")
@click.option("--host-name", "hosts", multiple=True, help="A name under which a proxy shows this server.")
@click.pass_obj
def ui(options: Options, port: int | None, read_only: bool, token: bool, hosts: tuple[str, ...]) -> None:
    """Serve the project's web UI on this machine until Ctrl-C.

    It opens at a page that says what is done, missing or stale, and links to the results, the graph, runs and
    schedules. The daemon runs beside it. The server listens on 127.0.0.1 only; from elsewhere, use
    ssh -L 3000:127.0.0.1:3000. On a machine with other users add --token.
    """
    from cytopipe.commands.project_context import open_project
    from cytopipe.serve.listener import free_port
    from cytopipe.serve.web_ui import Served, new_token, serve

    with open_project(options) as opened:
        served = Served(
            port=free_port(port), token=new_token() if token else "", read_only=read_only, hosts=hosts
        )
        click.echo(f"starting the web UI of {opened.project.directory} ...")
        serve(
            opened.project,
            opened.instance,
            served,
            ready=lambda: click.echo(f"open {served.address}   (Ctrl-C stops it)"),
        )
        click.echo("stopped")
