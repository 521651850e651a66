"""The fence: a page of another site, a rebound name or a form changes nothing and reads nothing."""

from __future__ import annotations

import asyncio
import os

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDisconnect

from cytopipe.defs.fence import Fence, allowed_hosts

HERE = "http://127.0.0.1:3000"


async def _said(request):
    return PlainTextResponse(f"{request.method} {request.url.path}")


async def _socket(websocket):
    await websocket.accept()
    await websocket.send_text("open")
    await websocket.close()


@pytest.fixture
def fenced(tmp_path):
    """A client of a fenced application: ``fenced(token=..., read_only=...)``."""
    (tmp_path / "outputs").mkdir()

    def build(**options) -> TestClient:
        methods = ["GET", "HEAD", "POST", "PUT", "DELETE"]
        app = Starlette(
            routes=[WebSocketRoute("/graphql", _socket), Route("/{path:path}", _said, methods=methods)]
        )
        fence = Fence(
            app, hosts=allowed_hosts(3000, ("lab.example",)), output=tmp_path / "outputs", **options
        )
        return TestClient(fence, base_url=HERE, follow_redirects=False)

    return build


def raw(app, path: str, query: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """A request as a server hands it over, for paths that a client would tidy up first."""
    sent = []

    async def note(message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query}
    asyncio.run(app(scope | {"headers": [(b"host", b"127.0.0.1:3000")]}, None, note))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(one.get("body", b"") for one in sent[1:])


@pytest.mark.parametrize(
    "host", ["127.0.0.1:3000", "localhost:3000", "[::1]:3000", "lab.example", "LOCALHOST:3000"]
)
def test_our_own_names_pass(fenced, host):
    assert fenced().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1:80", "127.0.0.1.evil.example:3000", "", "evil@localhost:3000"]
)
def test_a_rebound_name_is_refused(fenced, host):
    assert fenced().get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:8000", "https://lab.example.evil"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_origin_is_refused_even_for_questions(fenced, origin, method):
    answer = fenced().request(method, "/graphql", json={}, headers={"origin": origin})
    assert answer.status_code == 403


def test_our_own_page_may_post_json(fenced):
    assert fenced().post("/graphql", json={"query": "{a}"}, headers={"origin": HERE}).status_code == 200


def test_a_mutation_by_get_is_refused_and_a_page_is_not(fenced):
    """Dagster's server runs a mutation that is asked by plain GET."""
    assert fenced().get("/graphql", params={"query": "mutation{x}"}).status_code == 405
    assert fenced().get("/graphql/", params={"a": "1", "query": "{x}"}).status_code == 405
    assert fenced().get("/assets", params={"asset-selection": "query"}).status_code == 200


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""]
)
def test_what_a_form_can_send_is_refused(fenced, kind):
    assert fenced().post("/graphql", content=b"query=x", headers={"content-type": kind}).status_code == 415


def test_a_cross_site_fetch_and_other_methods_are_refused(fenced):
    client = fenced()
    assert client.post("/graphql", json={}, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.put("/graphql", json={}).status_code == 405
    assert client.delete("/x").status_code == 405


def test_web_sockets_need_our_origin(fenced):
    client = fenced()
    host = {"host": "127.0.0.1:3000"}  # the client would name a host of its own
    with client.websocket_connect("/graphql", headers={**host, "origin": HERE}) as socket:
        assert socket.receive_text() == "open"
    for headers in ({**host, "origin": "http://evil.example"}, host, {"host": "evil", "origin": HERE}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/graphql", headers=headers):
            pass


def test_read_only_takes_questions_and_nothing_else(fenced):
    """GraphQL passes here: Dagster's own read-only mode refuses its mutations."""
    client = fenced(read_only=True)
    assert client.post("/graphql", json={}).status_code == 200
    assert client.post("/report_asset_materialization/a", json={}).status_code == 403


def test_a_token_is_needed_where_one_is_set(fenced):
    client = fenced(token="s3cret")
    assert client.get("/").status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    assert client.get("/", headers={"authorization": "Bearer s3cret"}).status_code == 200
    answer = client.get("/assets?token=s3cret&view=x")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/assets?view=x"
    assert "HttpOnly" in answer.headers["set-cookie"] and "SameSite=Strict" in answer.headers["set-cookie"]
    assert client.get("/").status_code == 200  # the cookie came along


def test_the_token_is_never_sent_to_another_site(fenced):
    status, headers, _ = raw(fenced(token="s3cret").app, "//evil.example/", b"token=s3cret")
    assert (status, headers["location"]) == (303, "/evil.example/")


def test_artifacts_are_shown_and_cannot_act(fenced, tmp_path):
    (tmp_path / "outputs" / "a b.svg").write_text("<svg><script>alert(1)</script></svg>")
    (tmp_path / "outputs" / "t.tsv").write_text("a\tb\n")
    (tmp_path / "outputs" / "empty.txt").write_text("")
    client = fenced()
    answer = client.get("/artifacts/a%20b.svg")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/artifacts/t.tsv").text == "a\tb\n"
    assert client.get("/artifacts/empty.txt").text == ""
    assert client.head("/artifacts/t.tsv").headers["content-length"] == "4"


def test_nothing_outside_the_output_root_is_shown(fenced, tmp_path):
    outputs = tmp_path / "outputs"
    (tmp_path / "secret.txt").write_text("what nobody may read")
    (outputs / ".hidden").write_text("what nobody may read")
    (outputs / "link.txt").symlink_to(tmp_path / "secret.txt")
    (outputs / "folder").mkdir()
    os.mkfifo(outputs / "pipe")
    client = fenced()
    for path in (
        "../secret.txt",
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        "folder/../../secret.txt",
        "link.txt",
        ".hidden",
        "folder",
        "pipe",
        "gone",
        "",
        "a%00b",
        "//etc/passwd",
        "%2fetc%2fpasswd",
    ):
        assert "nobody may read" not in client.get(f"/artifacts/{path}").text, path
        status, _, body = raw(client.app, f"/artifacts/{path}")
        assert (status, body) == (404, b"No such artifact.\n"), path


def test_pictures_are_made_narrow_on_request_and_bombs_are_not_opened(fenced, tmp_path):
    import io

    from PIL import Image

    Image.new("RGB", (1200, 600), "red").save(tmp_path / "outputs" / "p.png")
    (tmp_path / "outputs" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 50)
    client = fenced()
    shown = Image.open(io.BytesIO(client.get("/artifacts/p.png?width=300").content))
    assert shown.size == (300, 150)
    assert client.get("/artifacts/bad.png?width=300").status_code == 415
    assert client.get("/artifacts/p.png?width=-1").status_code == 200
    header = (50_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    bomb = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + b"IHDR" + header
    import zlib

    bomb += zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    (tmp_path / "outputs" / "bomb.png").write_bytes(bomb)
    assert client.get("/artifacts/bomb.png?width=300").status_code == 415
