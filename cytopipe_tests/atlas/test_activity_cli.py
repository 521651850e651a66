"""The verbs of the command line, from pseudobulk files to a served answer."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import click
import httpx
import pytest

from cytopipe.commands.atlas_results import RESULT_COMMANDS
from cytopipe_tests.atlas.made_results import ATLASES, write_pseudobulk, write_signature

RUN = """
import sys, click
from cytopipe.commands.atlas_results import RESULT_COMMANDS
from cytopipe.errors import CytopipeError
group = click.Group("atlas", commands={command.name: command for command in RESULT_COMMANDS})
try:
    group.main(args=sys.argv[1:], standalone_mode=False)
except CytopipeError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def atlas(*words: object) -> subprocess.CompletedProcess:
    """Run a verb in a process of its own, as a shell would."""
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, words)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    for name in ATLASES:
        write_pseudobulk(folder / "results", name)
    return folder / "results", write_signature(folder / "mine.tsv")


def test_from_pseudobulk_to_a_served_answer(made):
    """activity, validate, compare and serve, one after the other; a second activity writes nothing."""
    root, table = made
    words = ("activity", root, "-s", "mine", "--source", table, "--permutations", 20)
    first = atlas(*words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("written") == 6
    assert atlas(*words, "--workers", 1).stdout.count("unchanged") == 6
    validated = atlas("validate", root, "-s", "mine", "--source", table, "--no-figures")
    assert validated.returncode == 0, validated.stderr
    assert re.search(r"^aa l1: quality 0\.\d\d, median rho 0\.\d\d over 4 targets$", validated.stdout, re.M)
    compared = atlas("compare", root, "aa=L1", "bb=l1", "cc=l1", "-s", "mine")
    assert compared.returncode == 0, compared.stderr
    assert "highly_conserved: 3" in compared.stdout or "highly_conserved: 4" in compared.stdout
    assert "no place in the vocabulary for cluster 9" in compared.stdout
    command = [sys.executable, "-c", RUN, "serve", str(root), "--port", "0"]
    refused = atlas("serve", root, "--host", "0.0.0.0")
    assert refused.returncode == 2 and "loopback only" in refused.stderr
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        try:
            address = _address_of(server.pid)
            answer = httpx.get(f"{address}/api/v1/cross-atlas/mine/coarse/conserved")
            assert answer.status_code == 200 and answer.json()["total"] == 5
        finally:
            server.terminate()


def _address_of(pid: int) -> str:
    """Where a process listens: with port 0 the system chose it."""
    import psutil

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for one in psutil.Process(pid).net_connections("tcp4"):
            if one.status == psutil.CONN_LISTEN:
                assert one.laddr.ip == "127.0.0.1"
                return f"http://127.0.0.1:{one.laddr.port}"
        time.sleep(0.1)
    raise AssertionError("the server does not listen")


def test_signatures_says_what_was_found_and_how_to_get_the_rest(made, tmp_path):
    found = atlas("signatures", "--source", made[1].parent, "--table", tmp_path / "types.tsv")
    assert found.returncode == 0, found.stderr
    assert "cytosig" in found.stdout and "pip install --no-deps secactpy==0.3.1" in found.stdout
    assert (tmp_path / "types.tsv").read_text().startswith("# Cell types of all atlases")
    again = atlas("signatures", "--source", made[1].parent, "--table", tmp_path / "types.tsv")
    assert again.returncode == 2 and "is there already" in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("activity", "absent"), 2, "there are no results"),
        (("activity", "ROOT", "--atlas", "zz", "-s", "mine", "--source", "TABLE"), 2, "found aa, bb, cc"),
        (("activity", "ROOT", "-s", "mine"), 4, "choose one of cytosig"),
        (("activity", "ROOT", "--permutations", "-1"), 2, "n-permutations"),
        (("activity", "ROOT", "--atlas", "../aa", "-s", "mine", "--source", "TABLE"), 2, "cannot stand in a"),
        (("compare", "ROOT", "aa=l1", "bb"), 2, "ATLAS=LEVEL"),
        (("compare", "ROOT", "aa=l1", "aa=l1"), 2, "each once"),
        (("serve", "absent"), 2, "there are no results"),
    ],
)
def test_a_mistake_is_one_clear_line_and_its_exit_code(made, words, code, said):
    given = [{"ROOT": made[0], "TABLE": made[1]}.get(word, word) for word in words]
    found = atlas(*given)
    assert found.returncode == code, found.stderr
    assert said in found.stderr and "Traceback" not in found.stderr


def test_every_verb_explains_itself():
    for command in RESULT_COMMANDS:
        assert command.help and command.get_help(click.Context(command))
