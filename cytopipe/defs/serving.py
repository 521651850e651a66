"""The web interface of a project: three processes on this machine, and the fence before them.

    code server   loads the definitions and starts runs; listens on a socket only this user can open
    daemon        sensors, schedules, queue, backfills, run monitoring
    web server    this process; Dagster's application behind `cytopipe.defs.fence`

They start together and end together: the children die with this process however it ends, runs at work
are told to save and stop first.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
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

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from cytopipe.defs.fence import Fence, allowed_hosts
from cytopipe.defs.running import LOCATION, MODULE
from cytopipe.errors import EngineError, UserError
from cytopipe.project import Project

__all__ = ["Served", "free_port", "serve"]

_START_S = 60.0
_STOP_S = 20.0
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Served:
    """How the interface is reached, and how it is guarded."""

    port: int
    token: str = ""
    read_only: bool = False
    hosts: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        query = f"?token={self.token}" if self.token else ""
        return f"http://{_LOOPBACK}:{self.port}/{query}"


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
    """
    with tempfile.TemporaryDirectory(prefix="cytopipe-") as folder:  # mode 0700: the socket is this user's
        workspace = Path(folder) / "workspace.yaml"
        code_socket = Path(folder) / "code.sock"
        workspace.write_text(
            f"load_from:\n  - grpc_server:\n      socket: {code_socket}\n      location_name: {LOCATION}\n"
        )
        with contextlib.ExitStack() as stack:
            log = stack.enter_context((project.home / "ui.log").open("ab"))
            environment = _environment(project, instance)
            code = stack.enter_context(_child(_code_server(code_socket), environment, log))
            _wait_for(code_socket, code, project)
            stack.callback(_stop_runs, instance)
            if not served.read_only:
                stack.enter_context(_child(_daemon(workspace), environment, log))
            _serve_web(project, instance, served, workspace, ready)


def free_port(wanted: int | None) -> int:
    """`wanted` if it is free; without a wish, 3000 or the next free one.

    Raises
    ------
    UserError
        If `wanted` is taken.
    """
    for port in [wanted] if wanted else range(3000, 3100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_LOOPBACK, port))
            except OSError:
                continue
            return port
    raise UserError(f"port {wanted} is taken", where="--port", next="Name another, or leave it out.")


def new_token() -> str:
    """A secret for the address: 128 random bits."""
    return secrets.token_urlsafe(16)


def _serve_web(
    project: Project, instance: DagsterInstance, served: Served, workspace: Path, ready: Callable[[], None]
) -> None:
    import uvicorn
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context

    target = WorkspaceFileTarget([str(workspace)])
    with WorkspaceProcessContext(instance, target, read_only=served.read_only) as context:
        fence = Fence(
            create_app_from_workspace_process_context(context),
            hosts=allowed_hosts(served.port, served.hosts),
            output=project.output,
            token=served.token,
            read_only=served.read_only,
        )
        config = uvicorn.Config(
            fence,
            host=_LOOPBACK,
            port=served.port,
            log_level="warning",
            access_log=False,
            server_header=False,
        )
        server = uvicorn.Server(config)
        started = threading.Thread(target=_tell_when_started, args=(server, ready), daemon=True)
        started.start()
        # uvicorn raises the signal that stopped it once more; as an exception it unwinds what was opened.
        before = signal.signal(signal.SIGTERM, _interrupt)
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
        signal.signal(signal.SIGTERM, before)


def _tell_when_started(server, ready: Callable[[], None]) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.05)
    ready()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _code_server(code_socket: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "dagster", "api", "grpc"),
        *("--module-name", MODULE, "--socket", str(code_socket), "--location-name", LOCATION),
        *("--log-level", "warning", "--use-python-environment-entry-point"),
    ]


def _daemon(workspace: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "dagster._daemon",
        "run",
        "--workspace",
        str(workspace),
        "--log-level",
        "warning",
    ]


def _environment(project: Project, instance: DagsterInstance) -> dict[str, str]:
    return {
        **os.environ,
        "DAGSTER_HOME": instance.root_directory,
        "CYTOPIPE_PROJECT": str(project.file),
        "PYTHONWARNINGS": "ignore",
    }


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


def _stop_runs(instance: DagsterInstance) -> None:
    """Ask runs of our code server to save and stop, and give them a moment to."""
    live = RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.STARTING])
    ours = [run for run in instance.get_runs(live) if run.tags.get(".dagster/grpc_info")]
    for run in ours:
        with contextlib.suppress(
            Exception
        ):  # one that ended meanwhile, or whose server is gone, needs no more
            instance.run_launcher.terminate(run.run_id)
    deadline = time.monotonic() + _STOP_S
    while ours and time.monotonic() < deadline:
        ours = [run for run in ours if not instance.get_run_by_id(run.run_id).is_finished]
        time.sleep(0.1)
