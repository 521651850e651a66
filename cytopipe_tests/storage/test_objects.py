"""The commit on an object store, against a real server (moto) over HTTP."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cytopipe.errors import DamagedError, StorageError, UnsafeNameError
from cytopipe.storage.objects import ObjectStore, connect

boto3 = pytest.importorskip("boto3")
moto_server = pytest.importorskip("moto.server")
BUCKET = "lab"


@pytest.fixture(scope="module")
def endpoint():
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint, request, monkeypatch) -> ObjectStore:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    store = connect(
        f"s3://{BUCKET}/{request.node.name.replace('[', '-').replace(']', '')}",
        endpoint_url=endpoint,
        region_name="us-east-1",
    )
    store.client.create_bucket(Bucket=BUCKET)
    return store


def parts(version: int) -> dict[str, bytes]:
    return {f"c/{i}": f"{version}".encode() * 50 for i in range(4)} | {"zarr.json": b"{}"}


def test_what_was_published_is_read_back(store, tmp_path):
    (tmp_path / "part").write_bytes(b"from a file")
    made = store.publish("plates/p.zarr", {"a/b": b"bytes", "c": tmp_path / "part"})
    assert store.read("plates/p.zarr") == {"a/b": b"bytes", "c": b"from a file"}
    assert store.verify("plates/p.zarr") == []
    assert made.manifest.version == 1
    assert store.publish("plates/p.zarr", {"a": b"2"}).manifest.version == 2
    assert store.read("plates/p.zarr") == {"a": b"2"}


def test_what_is_not_there_is_told(store):
    with pytest.raises(StorageError, match="no such artifact"):
        store.read("nothing")


@pytest.mark.parametrize("name", ["../x", "a//b", ".hidden", "a/..", "a\nb"])
def test_no_name_leaves_the_prefix(store, name):
    with pytest.raises(UnsafeNameError):
        store.publish(name, {"a": b""})


def test_a_reader_that_resolved_once_keeps_its_version_until_it_is_aged(store):
    store.publish("p", parts(1))
    old = store.resolve("p")
    store.publish("p", parts(2))
    assert store.sweep("p", 3600).versions == 0
    assert store._compare(old) == (parts(1), [])
    assert store.sweep("p", 0).versions == 1
    assert store.read("p") == parts(2)


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing", "extra", "manifest"])
def test_damage_is_found_and_not_read(store, damage):
    made = store.publish("p", parts(1))
    key = made.prefix + "c/1"
    if damage == "changed":
        store.client.put_object(Bucket=BUCKET, Key=key, Body=b"x" * 50)
    elif damage == "truncated":
        store.client.put_object(Bucket=BUCKET, Key=key, Body=b"1")
    elif damage == "missing":
        store.client.delete_object(Bucket=BUCKET, Key=key)
    elif damage == "extra":
        store.client.put_object(Bucket=BUCKET, Key=made.prefix + "c/9", Body=b"x")
    else:
        store.client.delete_object(Bucket=BUCKET, Key=made.prefix.rstrip("/") + ".manifest.json")
    assert [difference.kind for difference in store.verify("p")] == [damage]
    with pytest.raises(DamagedError):
        store.read("p")


class Failing:
    """A client whose k-th request is never sent, or whose k-th answer is lost."""

    def __init__(self, client, at: int, lose_answer: bool) -> None:
        self.client, self.at, self.lose_answer, self.count = client, at, lose_answer, 0

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def request(**arguments):
            self.count += 1
            if self.count != self.at:
                return method(**arguments)
            if self.lose_answer:
                method(**arguments)
            raise ConnectionError("the connection broke")

        return request


@pytest.mark.parametrize("lose_answer", [False, True], ids=["not sent", "answer lost"])
def test_a_broken_connection_at_any_request_leaves_the_old_or_the_new_version(store, lose_answer):
    store.publish("p", parts(0))
    version = 0
    for at in range(1, 100):
        client = Failing(store.client, at, lose_answer)
        broken = ObjectStore(client, store.bucket, store.prefix)
        try:
            broken.publish("p", parts(version + 1))
            told = False
        except StorageError:
            told = True
        found = next(v for v in (version, version + 1) if store.read("p") == parts(v))
        assert found == version + 1 or told, "a version that was acknowledged is not there"
        version = found
        if client.count < at:
            break
    else:
        pytest.fail("publishing never got by with fewer than 100 requests")
    assert store.verify("p") == []


def test_writers_at_once_all_publish_and_readers_read_whole_versions(store):
    store.publish("p", parts(0))
    stop, faults = threading.Event(), []

    def write(index: int) -> None:
        try:
            for round_ in range(4):
                store.publish("p", parts(100 * (index + 1) + round_))
        except Exception as error:
            faults.append(error)

    def read() -> None:
        while not stop.is_set():
            try:
                found = store.read("p")
                if found != parts(int(found["c/0"][:3]) if len(found["c/0"]) > 50 else 0):
                    faults.append(found)
            except Exception as error:
                faults.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(index,)) for index in range(5)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert faults == []
    assert store.resolve("p").manifest.version == 21


def test_numbers_are_claimed_once(store):
    claimed: list[int] = []
    threads = [
        threading.Thread(target=lambda: claimed.extend(store.claim("log", b"{}") for _ in range(4)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(1, 17))


def test_a_claim_whose_answer_was_lost_is_known_as_our_own(store):
    client = Failing(store.client, 2, True)
    with pytest.raises(StorageError):
        ObjectStore(client, store.bucket, store.prefix).claim("log", b"{}")
    assert store.claim("log", b"{}") == 2


def test_a_store_that_cannot_be_reached_is_told(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    from botocore.config import Config

    store = connect(
        "s3://lab",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}, connect_timeout=1),
    )
    with pytest.raises(StorageError, match="cannot be reached"):
        store.read("p")


def test_the_path_of_a_file_is_read_in_pieces(store, tmp_path: Path):
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    store.publish("big", {"big": tmp_path / "big"})
    assert len(store.read("big")["big"]) == 3_000_000
