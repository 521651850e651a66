"""The web UI of a project: three processes of this machine, and the fence before them.

    code server   loads the definitions and starts runs; listens on a socket that only this user can open
    daemon        sensors, schedules, queue, backfills, watch over runs
    web server    this process: Dagster's application and our pages, behind `cytopipe.serve.fence`

They start together and end together: the other two die with this process however it ends, and runs at work
are told to save and stop first. This is the one file outside `cytopipe.defs` that imports a package of
Dagster's: `dagster_webserver`, to start it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.defs.serving import (
    code_server_command,
    daemon_command,
    environment_of,
    reloading,
    stop_runs,
    workspace_context,
    workspace_text,
)
from cytopipe.errors import EngineError
from cytopipe.project import Project
from cytopipe.serve.fence import Fence, hosts_of
from cytopipe.serve.listener import LOOPBACK, server_of
from cytopipe.serve.only_one import only_one
from cytopipe.serve.project_state import state_reader
from cytopipe.serve.site import Site

if TYPE_CHECKING:
    from dagster import DagsterInstance

__all__ = ["Served", "new_token", "serve"]

_START_S = 60.0
_STOP_S = 20.0
_POST_WHEN_READ_ONLY = ("/graphql",)  # Dagster's own read-only mode refuses mutations there


@dataclass(frozen=True)
class Served:
    """How the web UI is reached, and how it is guarded."""

    port: int
    token: str = ""
    read_only: bool = False
    hosts: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """What a person opens; it leads to the start page."""
        query = f"?token={self.token}" if self.token else ""
        return f"http://{LOOPBACK}:{self.port}/{query}"


def serve(project: Project, instance: DagsterInstance, served: Served, *, ready: Callable[[], None]) -> None:
    """Serve a project until interrupted.

    Parameters
    ----------
    project, instance
        What is shown.
    served : Served
        Port and guards. The server listens on loopback and on nothing else.
    ready : callable
        Called when requests are answered.

    Raises
    ------
    BusyError
        If the project has a web UI already. One that is read-only has no daemon, and may stand beside it.
    EngineError
        If the code server does not start.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ended_by_signals())
        if not served.read_only:
            stack.enter_context(only_one(project.home, served.address))
        folder = stack.enter_context(_runtime_folder(project.home, served))
        workspace, code_socket = folder / "workspace.yaml", folder / "code.sock"
        workspace.write_text(workspace_text(code_socket))
        log = stack.enter_context((project.home / "ui.log").open("ab"))
        environment = environment_of(project, instance)
        code = stack.enter_context(_child(code_server_command(code_socket), environment, log))
        _wait_for(code_socket, code, project)
        stack.callback(stop_runs, instance)
        if not served.read_only:
            stack.enter_context(_child(daemon_command(workspace), environment, log))
        _serve_web(project, instance, served, workspace, ready)


def new_token() -> str:
    """A secret for the address: 128 random bits."""
    return secrets.token_urlsafe(16)


def _serve_web(
    project: Project, instance: DagsterInstance, served: Served, workspace: Path, ready: Callable[[], None]
) -> None:
    from dagster_webserver.app import create_app_from_workspace_process_context

    with (
        workspace_context(instance, workspace, read_only=served.read_only) as context,
        reloading(context, project.file),
    ):
        site = Site(
            create_app_from_workspace_process_context(context),
            output=project.output,
            name=project.directory.name,
            read_state=state_reader(project, instance),
        )
        fence = Fence(
            site,
            hosts=hosts_of(served.port, served.hosts),
            token=served.token,
            post_paths=_POST_WHEN_READ_ONLY if served.read_only else None,
        )
        server = server_of(fence, port=served.port)
        threading.Thread(target=_tell_when_started, args=(server, ready), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.run()


def _tell_when_started(server, ready: Callable[[], None]) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.05)
    ready()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end the block as Ctrl-C does: by an exception, which unwinds everything.

    uvicorn raises the signal that stopped it once more when it is done.
    """
    before = {
        number: signal.signal(number, _interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _runtime_folder(home: Path, served: Served) -> Iterator[Path]:
    """A folder that only this user can enter, for the socket and the workspace file.

    It lies in the project, so that what a killed web UI leaves is found and replaced by the next one. Where
    that path is too long for a socket, or its file system has none, it lies in the system's temporary folder,
    under a name that is the same each time.
    """
    kind = f"ui-{served.port}" if served.read_only else "ui"
    folder = home / kind
    if not _takes_sockets(folder):
        name = hashlib.sha256(f"{home.resolve()} {kind}".encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"cytopipe-{os.getuid()}-{name}"
        _make_private(folder)
    try:
        yield folder
    finally:
        _empty(folder)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _takes_sockets(folder: Path) -> bool:
    try:
        _make_private(folder)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(folder / "code.sock"))
        (folder / "code.sock").unlink()
    except OSError:
        with contextlib.suppress(OSError):
            folder.rmdir()
        return False
    return True


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if folder.is_symlink() or state.st_uid != os.getuid():
        raise EngineError("this folder belongs to somebody else", where=str(folder), next="Remove it.")
    folder.chmod(0o700)
    _empty(folder)


def _empty(folder: Path) -> None:
    for name in ("code.sock", "workspace.yaml"):
        (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _child(command: list[str], environment: dict[str, str], log) -> Iterator[subprocess.Popen]:
    """A process that ends when the block does, and also when this process is killed."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C reaches this process only, which then ends the others in order
        preexec_fn=functools.partial(_begin_child, os.getpid()),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _begin_child(parent: int) -> None:
    # Dagster answers SIGTERM as it does SIGINT, and a shell sets that to be ignored in what it puts into the
    # background: such a child could not be ended.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before that was set
            os._exit(1)


def _wait_for(code_socket: Path, process: subprocess.Popen, project: Project) -> None:
    deadline = time.monotonic() + _START_S
    while not code_socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise EngineError(
                "the code server did not start",
                where=str(project.home / "ui.log"),
                next="The end of that file says why.",
            )
        time.sleep(0.05)
