"""The web UI as processes: one for a project, reached and guarded as it says, gone without a trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psutil
import pytest

from cytopipe.errors import BusyError, UserError
from cytopipe.serve.listener import free_port
from cytopipe.serve.only_one import only_one
from cytopipe_tests.cli.conftest import spawned
from cytopipe_tests.defs.example import make_project
from cytopipe_tests.ui.browser import ui_process

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return make_project(tmp_path_factory.mktemp("served") / "lab", "meadow").directory


@pytest.fixture(scope="module")
def running(project):
    with ui_process(project, "--token") as (process, address):
        yield process, address


def children_of(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def has_daemon(processes: list[psutil.Process]) -> bool:
    return any("dagster._daemon" in one.cmdline() for one in processes)


def test_the_printed_address_leads_to_a_page_of_the_project(running):
    with httpx.Client(follow_redirects=True) as client:
        assert client.get(running[1].partition("?")[0]).status_code == 401
        page = client.get(running[1])
        base = running[1].partition("/?")[0]
        assert str(page.url) == f"{base}/start" and "meadow" in page.text and "missing" in page.text
        assert client.get(base).text == page.text  # Dagster's own first page is not the first
        assert "dagster" in client.get(f"{base}/assets").text.lower()
        asked = client.post(f"{base}/graphql", json={"query": "{__typename}"})
        assert asked.json() == {"data": {"__typename": "Query"}}
        assert client.get(f"{base}/graphql?%71uery=%7B__typename%7D").status_code == 405


def test_a_second_web_ui_is_refused_and_names_the_first(running, project):
    said = spawned("--project", str(project), "ui", at=project)
    assert said.code == 3 and "is open already" in said.err and running[1] in said.err
    assert children_of(running[0])  # the first one goes on


def test_one_that_only_looks_may_stand_beside_it(running, project):
    with ui_process(project, "--read-only") as (process, address):
        assert children_of(process) and not has_daemon(children_of(process))
        base = address.rstrip("/")
        mutation = {"query": "mutation{reloadWorkspace{__typename}}"}
        answer = httpx.post(f"{base}/graphql", json=mutation).json()
        assert answer["data"]["reloadWorkspace"]["__typename"] == "UnauthorizedError"
        assert httpx.post(f"{base}/report_asset_materialization/a", json={}).status_code == 403


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, marks=pytest.mark.long),
    ],
)
def test_nothing_stays_behind_however_it_ends(tmp_path, monkeypatch, number):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    project = make_project(tmp_path / "lab", "meadow").directory
    with ui_process(project) as (process, _):
        others = children_of(process)
        assert len(others) == 3 and has_daemon(others)  # the code server and its worker, and the daemon
        process.send_signal(number)
        process.wait(60)
        assert psutil.wait_procs(others, timeout=60)[1] == []
    assert [one.name for one in temporary.iterdir() if one.name.startswith("cytopipe-")] == []
    left = {one.name for one in (project / ".cytopipe").iterdir() if one.name.startswith("ui")}
    assert left == {"ui.lock", "ui.log"} | ({"ui"} if number == signal.SIGKILL else set())
    with only_one(project / ".cytopipe", ""):
        pass  # the next one may start


def test_a_project_with_a_long_path_is_served_and_leaves_nothing(tmp_path, monkeypatch):
    """A socket's path has at most 107 bytes."""
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(temporary))
    project = make_project(tmp_path / ("deep" * 30) / "lab", "meadow").directory
    with ui_process(project) as (_, address):
        assert httpx.get(f"{address}start").status_code == 200
        assert len(list(temporary.glob("cytopipe-*"))) == 1
    assert list(temporary.iterdir()) == []
    temporary.rmdir()


def test_a_lock_of_a_dead_process_hinders_nobody(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from cytopipe.serve.only_one import only_one\n"
        "with only_one(Path(sys.argv[1]), 'http://a/'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert (tmp_path / "ui.lock").read_text()
    with only_one(tmp_path, "http://b/"):
        with pytest.raises(BusyError, match="http://b/"), only_one(tmp_path, "http://c/"):
            pass
        assert (tmp_path / "ui.lock").stat().st_mode & 0o077 == 0  # the address may hold a token
    with only_one(tmp_path, "http://d/"):
        pass


def test_where_there_are_no_locks_the_process_is_looked_for(tmp_path, monkeypatch):
    import fcntl
    import json

    def no_locks(*given) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    holder = {"address": "http://a/", "host": socket.gethostname(), "pid": os.getpid()}
    (tmp_path / "ui.lock").write_text(json.dumps(holder))
    with pytest.raises(BusyError, match="http://a/"), only_one(tmp_path, "http://b/"):
        pass
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "ui.lock").write_text(json.dumps(holder | {"pid": dead.pid}))
    with only_one(tmp_path, "http://b/"):
        pass


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is taken"):
            free_port(port)


def test_make_ui_takes_a_port():
    makefile = Path(__file__).resolve().parents[2]
    for given, expected in (("PORT=3456", "ui --port 3456"), ("", "ui ")):
        command = ["make", "--dry-run", "--always-make", "-C", str(makefile), "ui", *filter(None, [given])]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert expected.strip() in said and (given or "--port" not in said)
