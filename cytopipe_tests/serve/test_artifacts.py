"""The output root in a browser: everything in it can be looked at and had, nothing outside it can be seen."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import textwrap
import zipfile
import zlib
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.testclient import TestClient

from cytopipe.serve.artifacts import PREFIX, Artifacts
from cytopipe_tests.serve.test_fence import raw

SECRET = "what nobody may read"


@pytest.fixture
def outputs(tmp_path) -> Path:
    """An output root as the platform leaves it, with things beside it that nobody may see."""
    root = tmp_path / "outputs"
    (root / "decompose" / "meadow" / ".checkpoints").mkdir(parents=True)
    (root / "decompose" / "meadow" / "cluster_001.fasta").write_text(">a\nACGT\n")
    (root / "decompose" / "meadow" / ".cluster_001.fasta.manifest.json").write_text(SECRET)
    (root / "decompose" / "meadow" / ".checkpoints" / "point.json").write_text(SECRET)
    (root / "atlas").mkdir()
    (root / "atlas" / "blood.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(5000))
    Image.new("RGB", (1200, 600), "red").save(root / "decompose" / "meadow" / "final.png")
    # a published folder: a link to one of its versions, which is hidden
    (root / ".plate.zarr.versions" / "v1" / "0").mkdir(parents=True)
    (root / ".plate.zarr.versions" / "v1" / "0" / "c").write_bytes(b"chunk")
    (root / "plate.zarr").symlink_to(".plate.zarr.versions/v1")
    (root / ".staging").mkdir()
    (root / ".staging" / "draft.txt").write_text(SECRET)
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key.txt").write_text(SECRET)
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "outside").symlink_to(tmp_path / "secrets")
    (root / "draft.txt").symlink_to(".staging/draft.txt")
    (root / "up").symlink_to("..")
    (root / "circle").symlink_to("circle")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def client(outputs) -> TestClient:
    return TestClient(Artifacts(outputs, "demo"), base_url="http://127.0.0.1:3000")


def test_a_folder_is_a_page_with_a_link_to_everything_in_it(client):
    page = client.get("/artifacts/")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    for address in ("./decompose/", "./atlas/", "./plate.zarr/"):
        assert f'href="{address}"' in page.text
    page = client.get("/artifacts/decompose/meadow/").text
    assert 'href="./cluster_001.fasta"' in page and "sequences (FASTA)" in page and "8 B" in page
    assert '<a href="./final.png"><img' in page and 'src="./final.png?width=' in page
    page = client.get("/artifacts/atlas/").text
    assert 'href="./blood.h5ad"' in page and "5.0 kB" in page and "AnnData" in page


def test_a_folder_without_its_slash_leads_to_the_page(client):
    answer = client.get("/artifacts/decompose/meadow", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/artifacts/decompose/meadow/")


def test_a_page_holds_no_script_and_may_load_none(client):
    answer = client.get("/artifacts/decompose/")
    assert "<script" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert (
        policy.startswith("default-src 'none'") and "unsafe" not in policy and "form-action 'none'" in policy
    )


def test_names_are_escaped_and_their_links_work(client, outputs):
    names = [
        "<img src=x onerror=alert(1)>",
        "a'b\"c&d.txt",
        "100% µ #1?.txt",
        "javascript:alert(1)",
        "ä b.txt",
    ]
    for name in names:
        (outputs / "atlas" / name).write_text(name)
    page = client.get("/artifacts/atlas/").text
    assert "<img src=x" not in page and 'href="javascript:' not in page
    for name in names:
        assert f'href="./{quote(name)}"' in page
        assert client.get(f"/artifacts/atlas/{quote(name)}").text == name
    (outputs / "atlas" / os.fsdecode(b"\xff\xfe")).mkdir()  # a name that is not UTF-8 spoils no page
    assert client.get("/artifacts/atlas/").status_code == 200


@pytest.mark.parametrize(
    ("name", "kind", "saved"),
    [
        ("x.fasta", "text/plain; charset=utf-8", False),
        ("x.tsv", "text/plain; charset=utf-8", False),
        ("x.json", "application/json", False),
        ("x.png", "image/png", False),
        ("x.svg", "image/svg+xml", False),
        ("x.html", "text/html; charset=utf-8", False),
        ("x.h5ad", "application/octet-stream", True),
        ("x.tiff", "application/octet-stream", True),
        ("x.fasta.gz", "application/octet-stream", True),
        ("x.exe", "application/octet-stream", True),
        ("x", "application/octet-stream", True),
    ],
)
def test_files_are_shown_or_saved_by_their_kind_and_cannot_act(client, outputs, name, kind, saved):
    (outputs / name).write_bytes(b"<script>alert(1)</script>")
    answer = client.get(f"/artifacts/{name}")
    assert answer.content == b"<script>alert(1)</script>" and answer.headers["content-type"] == kind
    policy = answer.headers["content-security-policy"]
    if name.endswith(".html"):  # the script of our own history pages, known by its digest
        policy, allowed = policy.replace("sandbox allow-scripts;", "sandbox;").split("; script-src ")
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", allowed)
    assert policy.startswith("sandbox; default-src 'none'") and "script" not in policy
    disposition = f"attachment; filename*=UTF-8''{name}"
    assert answer.headers.get("content-disposition") == (disposition if saved else None)
    assert client.get(f"/artifacts/{name}?download").headers["content-disposition"] == disposition
    assert client.head(f"/artifacts/{name}").headers["content-length"] == "25"


def test_a_text_too_long_for_a_browser_is_saved(client, outputs):
    with (outputs / "long.fasta").open("wb") as file:
        file.truncate(1 << 30)
    assert "attachment" in client.head("/artifacts/long.fasta").headers["content-disposition"]


def test_a_download_that_broke_off_goes_on_where_it_was(client, outputs):
    data = os.urandom(700_000)
    (outputs / "x.h5ad").write_bytes(data)
    whole = client.get("/artifacts/x.h5ad")
    rest = client.get(
        "/artifacts/x.h5ad", headers={"range": "bytes=300000-", "if-range": whole.headers["etag"]}
    )
    assert whole.content == data
    assert rest.status_code == 206 and rest.headers["content-range"] == "bytes 300000-699999/700000"
    assert rest.content == data[300_000:]
    assert client.get("/artifacts/x.h5ad", headers={"range": "bytes=5-9"}).content == data[5:10]
    for bad in (
        "bytes=9-5",
        "bytes=900000-",
        "bytes=-",
        "bytes=0-1,3-4",
        "lines=1-2",
        f"bytes={'9' * 5000}-",
    ):
        assert client.get("/artifacts/x.h5ad", headers={"range": bad}).content == data, bad
    (outputs / "x.h5ad").write_bytes(data[::-1])  # another version: the beginning that was had is of no use
    again = {"range": "bytes=300000-", "if-range": whole.headers["etag"]}
    assert client.get("/artifacts/x.h5ad", headers=again).status_code == 200
    etag = client.get("/artifacts/x.h5ad").headers["etag"]
    assert client.get("/artifacts/x.h5ad", headers={"if-none-match": etag}).status_code == 304


def test_a_folder_comes_as_one_archive_of_what_may_be_seen(client):
    answer = client.get("/artifacts/?zip")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''results.zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert sorted(archive.namelist()) == [
        "results/atlas/blood.h5ad",
        "results/decompose/meadow/cluster_001.fasta",
        "results/decompose/meadow/final.png",
        "results/plate.zarr/0/c",
    ]
    assert archive.read("results/decompose/meadow/cluster_001.fasta") == b">a\nACGT\n"
    part = zipfile.ZipFile(io.BytesIO(client.get("/artifacts/plate.zarr/?zip").content))
    assert part.namelist() == ["plate.zarr/0/c"] and SECRET.encode() not in answer.content


@pytest.mark.long
def test_an_archive_of_gigabytes_is_sent_with_little_memory(tmp_path):
    """4.2 GB, beyond what the older ZIP form can hold, in a process that may use 600 MB."""
    script = """
        import resource, sys
        from pathlib import Path
        from cytopipe.serve.zip_stream import zip_of_folder
        resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))
        root = Path(sys.argv[1])
        with (root / "large.h5ad").open("wb") as file:
            file.truncate(4_200_000_000)
        last = b""
        size = 0
        for piece in zip_of_folder(root, ""):
            size += len(piece)
            last = (last + piece)[-200:]
        print(size, last.count(b"PK\\x06\\x06"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    size, zip64 = map(int, done.stdout.split())
    assert size > 4_200_000_000 and zip64 == 1


PATHS = [
    *("../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "decompose/../../secret.txt", "..", "../"),
    *("out.txt", "outside/", "outside/key.txt", "draft.txt", "up/", "up/secret.txt", "circle", "pipe"),
    *(".staging/", ".staging/draft.txt", "decompose/meadow/.checkpoints/point.json", "gone", "a%00b"),
    *("decompose/meadow/.cluster_001.fasta.manifest.json", ".plate.zarr.versions/v1/0/c", "/etc/passwd"),
    *("%2fetc%2fpasswd", "decompose//meadow/", "./atlas/", "atlas/blood.h5ad/", "atlas/blood.h5ad/x", "%ff"),
    *("x" * 5000, "/".join(["a"] * 3000), "..%5csecret.txt", "\u2025/secret.txt"),
]


@pytest.mark.parametrize("query", ["", "?zip", "?width=100", "?download"])
@pytest.mark.parametrize("path", PATHS, ids=[path[:40] for path in PATHS])
def test_nothing_outside_the_output_root_and_nothing_hidden_is_shown(client, path, query):
    status, headers, body = raw(client.app, f"{PREFIX}{path}{query}")
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert SECRET.encode() not in body


def test_what_is_not_shown_is_not_listed(client):
    page = client.get("/artifacts/").text
    for name in ("out.txt", "outside", "draft.txt", "up", "circle", "pipe", ".staging", "versions"):
        assert f">{name}" not in page, name
    assert "manifest" not in client.get("/artifacts/decompose/meadow/").text


def test_a_project_without_results_says_so(tmp_path):
    client = TestClient(Artifacts(tmp_path / "outputs", "demo"))
    answer = client.get("/artifacts/")
    assert answer.status_code == 404 and "Nothing was made yet" in answer.text
    assert client.post("/artifacts/").status_code == 405


# --------------------------------------------------------------------------- small pictures


def png_header(width: int, height: int) -> bytes:
    """The first bytes of a PNG picture that declares these pixels."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")


def test_pictures_are_made_narrow_on_request(client, outputs):
    answer = client.get("/artifacts/decompose/meadow/final.png?width=300")
    assert Image.open(io.BytesIO(answer.content)).size == (300, 150)
    Image.new("RGB", (400, 600), "blue").save(outputs / "decompose" / "meadow" / "final.png")
    answer = client.get("/artifacts/decompose/meadow/final.png?width=300")  # drawn anew, shown anew
    assert Image.open(io.BytesIO(answer.content)).size == (300, 450)


@pytest.mark.parametrize(
    "width",
    ["9" * 5000, "0", "-1", "2001", "1e3", "", "%C2%B2", "%D9%A3", "0x10", "+5", "5.0", "%0a5", "5%0a"],
)
def test_a_width_that_is_no_width_is_refused(client, width):
    answer = client.get(f"/artifacts/decompose/meadow/final.png?width={width}")
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert "expected 1 to 2000 pixels" in answer.json()["detail"] and len(answer.text) < 300


def test_what_cannot_be_made_narrow_is_refused(client, outputs):
    (outputs / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (outputs / "bomb.png").write_bytes(png_header(50_000, 50_000))
    for path in ("bad.png", "bomb.png", "atlas/blood.h5ad"):
        answer = client.get(f"/artifacts/{path}?width=300")
        assert answer.status_code == 415 and "without a width" in answer.json()["detail"]


def test_many_small_versions_of_a_large_picture_take_the_memory_of_one(tmp_path):
    """Eight requests at the same time, in different widths, for the largest picture that is decoded."""
    script = """
        import os, resource, sys
        from concurrent.futures import ThreadPoolExecutor
        from PIL import Image
        from cytopipe.serve import thumbnails
        Image.new("RGB", (4, 4)).save(sys.argv[1] + ".png")
        thumbnails.Thumbnails().of(os.open(sys.argv[1] + ".png", os.O_RDONLY), 2)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        descriptor = os.open(sys.argv[1], os.O_RDONLY)
        small = thumbnails.Thumbnails()
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda width: small.of(descriptor, width), range(300, 308)))
        assert all(made)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    from cytopipe.serve.thumbnails import MOST_PIXELS

    Image.new("RGBA", (8000, MOST_PIXELS // 8000), "red").save(tmp_path / "large.png")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "large.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 450, f"{done.stdout} MB"
