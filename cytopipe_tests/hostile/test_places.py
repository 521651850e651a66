"""What may stand in the place of a file of ours, and places where nothing can be written: each one clear
error, without a hang, and nothing of others is touched.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cytopipe.cli import run
from cytopipe.errors import BudgetError, BusyError, CytopipeError, DamagedError, InputError, StorageError
from cytopipe.faults import explained
from cytopipe.storage import Store, Sync
from cytopipe.storage.filesystem import lock_file
from cytopipe.storage.state import read_json

pytestmark = pytest.mark.timeout(60)
OWNS = "initial.*.fasta"


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "out", sync=Sync.NONE)
    store.publish_bytes("f/one.json", b"1")
    store.publish_bytes("f/two.json", b"2")
    store.publish_set("s", "initial", {"initial.1.fasta": b">a\nAC\n"}, owns=OWNS)
    store.publish_set("s", "refined", {"refined.1.fasta": b">a\nAC\n"}, owns="refined.*.fasta")
    store.publish_directory("t/p.zarr", lambda path: (path.mkdir(), (path / "0").write_bytes(b"x")))
    store.publish_directory("t/q.zarr", lambda path: (path.mkdir(), (path / "0").write_bytes(b"y")))
    return store


def manifests(store: Store) -> dict[str, Path]:
    version = store.open_directory("t/p.zarr")
    return {
        "file": store.root / "f/.one.json.manifest.json",
        "set": store.root / "s/.initial.manifest.json",
        "directory": version.with_name(f"{version.name}.manifest.json"),
    }


READERS = {
    "file": [
        lambda store: store.read_bytes("f/one.json"),
        lambda store: store.open_file("f/one.json"),
        lambda store: store.manifest("f/one.json"),
    ],
    "set": [
        lambda store: store.read_set("s", "initial"),
        lambda store: store.classify_set("s", "initial"),
        lambda store: store.manifest("s", "initial"),
    ],
    "directory": [
        lambda store: store.open_directory("t/p.zarr"),
        lambda store: store.manifest("t/p.zarr"),
    ],
}

IN_ITS_PLACE = {
    "a directory": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a link": lambda path: path.symlink_to("/dev/zero"),
    "a socket": lambda path: _bind(path),
    "nothing in it": lambda path: path.write_bytes(b""),
}


def _bind(path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # the address of a socket is at most 107 bytes long
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize("instead", IN_ITS_PLACE)
@pytest.mark.parametrize("kind", READERS)
def test_what_stands_in_the_place_of_a_manifest_is_told_by_every_reader(store, kind, instead):
    path = manifests(store)[kind]
    path.unlink()
    IN_ITS_PLACE[instead](path)
    for reader in READERS[kind]:
        with pytest.raises(DamagedError):
            reader(store)
    assert [(one.kind) for one in store.verify()] == ["manifest"]


@pytest.mark.parametrize("kind", READERS)
def test_manifests_of_two_artifacts_that_were_swapped_are_told(store, kind):
    one = manifests(store)[kind]
    if kind == "file":
        other = store.root / "f/.two.json.manifest.json"
    elif kind == "set":
        other = store.root / "s/.refined.manifest.json"
    else:
        version = store.open_directory("t/q.zarr")
        other = version.with_name(f"{version.name}.manifest.json")
    swap = one.with_name("swap")
    one.rename(swap), other.rename(one), swap.rename(other)
    for reader in READERS[kind]:
        with pytest.raises(DamagedError, match="something else"):
            reader(store)
    assert len(store.verify()) == 2


@pytest.mark.parametrize("instead", ["a directory", "a pipe", "a link", "a socket"])
@pytest.mark.parametrize("name", ["f/one.json", "s/initial.1.fasta"])
def test_what_stands_in_the_place_of_a_published_file_is_told(store, name, instead):
    (store.root / name).unlink()
    IN_ITS_PLACE[instead](store.root / name)
    with pytest.raises(DamagedError):
        store.read_bytes(name) if name.startswith("f") else store.read_set("s", "initial")
    assert len(store.verify()) == 1
    if name.startswith("s"):
        assert store.classify_set("s", "initial").kind == "damaged"


def test_a_journal_that_is_a_pipe_is_told_and_the_rest_is_still_verified(store):
    os.mkfifo(store.root / "s/.cytopipe-journal.json")
    (store.root / "f/one.json").write_bytes(b"wrong")
    with pytest.raises(DamagedError, match="is not a file; found a pipe"):
        store.read_set("s", "initial")
    assert [one.kind for one in store.verify()] == ["changed", "manifest"]


@pytest.mark.parametrize("instead", ["a directory", "a pipe", "a socket"])
def test_a_state_file_that_is_none_is_told(tmp_path, instead):
    IN_ITS_PLACE[instead](tmp_path / "state.json")
    with pytest.raises(InputError, match=r"state\.json: is not a file; found a (directory|pipe|socket)"):
        read_json(tmp_path / "state.json")


# --------------------------------------------------------------------------- locks


def test_a_lock_that_is_a_link_leaves_its_target_alone(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "soft").symlink_to("precious")
    (tmp_path / "hard").hardlink_to(tmp_path / "precious")
    (tmp_path / "dangling").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    for name in ("soft", "hard", "dangling", "pipe", "."):
        with pytest.raises(DamagedError), lock_file(tmp_path / name):
            pass
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "nothing").exists()


def test_a_lock_names_its_holder_and_is_free_afterwards(tmp_path):
    busy = pytest.raises(BusyError, match=f"found process {os.getpid()}")
    with lock_file(tmp_path / "lock"), busy, lock_file(tmp_path / "lock"):
        pass
    with lock_file(tmp_path / "lock"):
        pass


# --------------------------------------------------------------------------- places


def long_path(tmp_path: Path) -> Path:
    return tmp_path.joinpath(*["d" * 200] * 22)


PLACES = {
    "a name of 256 bytes": lambda tmp: tmp / ("x" * 256),
    "a path of 4,300 characters": long_path,
    "a dangling link": lambda tmp: tmp / "dangling",
    "below a dangling link": lambda tmp: tmp / "dangling" / "out",
    "below a file": lambda tmp: tmp / "file" / "out",
    "a file": lambda tmp: tmp / "file",
    "a circle of links": lambda tmp: tmp / "circle" / "out",
    "not UTF-8": lambda tmp: Path(os.fsdecode(bytes(tmp) + b"/caf\xe9")),
}


@pytest.fixture
def traps(tmp_path) -> Path:
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "in.fasta").write_bytes(b">a\nACGTACGTAC\n>b\nACGTACGTAA\n")
    return tmp_path


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_that_cannot_be_made_is_one_clear_error(traps, place):
    with pytest.raises(CytopipeError) as caught:
        Store(PLACES[place](traps)).publish_bytes("x", b"1")
    assert len(caught.value.findings) == 1 and len(str(caught.value)) < 1000
    assert not (traps / "nothing").exists() and (traps / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("place", PLACES)
def test_the_command_says_so_without_a_traceback(traps, place, capfd):
    assert run(["decompose", str(traps / "in.fasta"), "-o", str(PLACES[place](traps))]) in (2, 3)
    told = capfd.readouterr().err
    assert "Traceback" not in told and "cytopipe: " in told


INPUTS = {
    "/dev/zero": ("/dev/zero", "is not a file; found a device"),
    "a name that is not UTF-8": (os.fsdecode(b"caf\xe9.fasta"), "the path is not UTF-8"),
    "aligned": ("aligned.fasta", "the sequences are aligned: 2 of 2 records hold gaps"),
    "a folder": (".", "is not a file; found a directory"),
    "a dangling link": ("dangling", "is not a file; found nothing"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_that_is_none_is_told_without_a_traceback(traps, name, capfd, monkeypatch):
    monkeypatch.chdir(traps)
    given, told = INPUTS[name]
    Path(os.fsdecode(b"caf\xe9.fasta")).write_bytes(b">a\nACGT\n")
    Path("aligned.fasta").write_bytes(b">a\nAC-GTACGTAC\n>b\nACGTAC..GTAA\n")
    assert run(["decompose", given, "-o", "out"]) == 2
    assert told in capfd.readouterr().err
    assert not Path("out").exists()


def test_a_lock_of_a_decomposition_that_is_a_link_leaves_its_target_alone(traps, capfd):
    (traps / "out").mkdir()
    (traps / "out" / ".decompose.lock").symlink_to(traps / "file")
    assert run(["decompose", str(traps / "in.fasta"), "-o", str(traps / "out")]) == 3
    assert ".decompose.lock: is not a file; found a symbolic link" in capfd.readouterr().err
    assert (traps / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("most", [12, 16, 24])
def test_a_process_that_may_open_few_files_says_so(traps, most):
    script = (
        "import sys; from cytopipe.cli import run; import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))\n"
        "held = [open('/dev/null') for _ in range(3)]\n"
        "try:\n    while True: held.append(open('/dev/null'))\n"
        "except OSError: pass\n"
        "sys.exit(run(['decompose', sys.argv[1], '-o', sys.argv[2]]))"
    )
    command = [sys.executable, "-c", script, str(traps / "in.fasta"), str(traps / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr
    assert "too many files are open" in done.stderr


def test_memory_that_is_not_there_is_told_with_what_to_do(tmp_path):
    with pytest.raises(BudgetError, match="there is not enough memory"), explained("publishing", tmp_path):
        raise MemoryError("Unable to allocate 3.00 TiB")


def test_a_manifest_that_is_a_directory_does_not_stop_a_new_publication_with_a_traceback(store):
    sidecar = manifests(store)["file"]
    sidecar.unlink()
    sidecar.mkdir()
    with pytest.raises(StorageError, match="a folder stands where a file is needed"):
        store.publish_bytes("f/one.json", b"3")
    shutil.rmtree(sidecar)
    store.publish_bytes("f/one.json", b"3")
    assert store.read_bytes("f/one.json") == b"3"


def test_a_compressed_input_gives_the_clusters_of_the_plain_one(traps):
    (traps / "in.fasta.gz").write_bytes(gzip.compress((traps / "in.fasta").read_bytes()))
    clusters = {}
    for name in ("in.fasta", "in.fasta.gz"):
        out = traps / f"out-{name}"
        assert run(["decompose", str(traps / name), "-o", str(out), "-q"]) == 0
        assert run(["decompose", "--resume", str(out), "-q", "--finalize"]) == 0
        clusters[name] = {file.name: file.read_bytes() for file in out.glob("*.fasta")}
    assert clusters["in.fasta"] == clusters["in.fasta.gz"] and len(clusters["in.fasta"]) > 1
