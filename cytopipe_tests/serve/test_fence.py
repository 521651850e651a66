"""The fence: a page of another site, a rebound name or a form changes nothing and reads nothing."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDisconnect

from cytopipe.serve.fence import LARGEST_BODY_BYTES, Fence, hosts_of

HERE = "http://127.0.0.1:3000"


async def _said(request):
    return PlainTextResponse(f"{request.method} {request.url.path}")


async def _socket(websocket):
    await websocket.accept()
    await websocket.send_text("open")
    await websocket.close()


@pytest.fixture
def fenced():
    """A client of a fenced application: ``fenced(token=..., post_paths=...)``."""

    def build(**options) -> TestClient:
        methods = ["GET", "HEAD", "POST", "PUT", "DELETE"]
        app = Starlette(
            routes=[WebSocketRoute("/graphql", _socket), Route("/{path:path}", _said, methods=methods)]
        )
        fence = Fence(app, hosts=hosts_of(3000, ("lab.example",)), **options)
        return TestClient(fence, base_url=HERE, follow_redirects=False)

    return build


def raw(app, target: str, *, method: str = "GET", headers=(), body: bytes = b"") -> tuple[int, dict, bytes]:
    """A request as uvicorn hands it over, for targets that a client would tidy up first."""
    sent = []

    async def note(message) -> None:
        sent.append(message)

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    raw_path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1:3000"), *headers],
        "server": ("127.0.0.1", 3000),
        "scheme": "http",
        "root_path": "",
    }
    asyncio.run(app(scope, receive, note))
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, b"".join(one.get("body", b"") for one in sent[1:])


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


def test_only_the_paths_that_may_be_posted_to_take_a_post(fenced):
    """Read-only: GraphQL passes, because Dagster's own read-only mode refuses its mutations."""
    client = fenced(post_paths=("/graphql",))
    assert client.post("/graphql", json={}).status_code == 200
    assert client.post("/report_asset_materialization/a", json={}).status_code == 403
    assert fenced(post_paths=()).post("/graphql", json={}).status_code == 405


def test_a_post_states_its_length_and_is_bounded(fenced):
    client = fenced()
    json = {"content-type": "application/json"}
    assert client.post("/graphql", content=iter([b"{}"]), headers=json).status_code == 411
    for length in (str(LARGEST_BODY_BYTES + 1), "9" * 5000):
        headers = [(b"content-type", b"application/json"), (b"content-length", length.encode())]
        assert raw(client.app, "/graphql", method="POST", headers=headers)[0] == 413


def test_another_site_may_link_here_and_include_nothing(fenced):
    client = fenced()
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/runs", headers=link).status_code == 200
    for mode in ("no-cors", "cors", "websocket", ""):
        headers = {"sec-fetch-site": "same-site", "sec-fetch-mode": mode}
        assert client.get("/artifacts/p.png", headers=headers).status_code == 403


def test_answers_cannot_be_framed_or_sniffed(fenced):
    headers = fenced(content_policy="default-src 'none'").get("/").headers
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'"


def test_a_refusal_is_a_problem_for_programs_and_a_sentence_for_people(fenced):
    client = fenced(token="s3cret")
    answer = client.get("/x")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 401 and answer.json()["instance"] == "/x"
    answer = client.get("/x", headers={"accept": "text/html,*/*"})
    assert answer.text == "Open the address that the command printed: it has the token.\n"


@pytest.mark.parametrize("port", ["", ":9", ":8787"])
def test_a_server_of_any_port_answers_loopback_names_only(port):
    client = TestClient(Fence(Starlette(), hosts=hosts_of(None)), base_url=HERE)
    assert client.get("/", headers={"host": f"LocalHost{port}"}).status_code == 404
    assert client.get("/", headers={"host": f"localhost.evil.example{port}"}).status_code == 421
    same, other = f"http://localhost{port}", "http://localhost:1234"
    assert client.get("/", headers={"host": f"localhost{port}", "origin": same}).status_code == 404
    assert client.get("/", headers={"host": f"localhost{port}", "origin": other}).status_code == 403


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


@pytest.mark.parametrize(
    "path",
    [
        *(
            "//evil.example/",
            "/%2fevil.example/",
            "/%5cevil.example",
            "/\\evil.example",
            "/%5c%2fevil.example",
        ),
        *("/%09/evil.example", "/%0d%0a/evil.example", "/%0d%0aSet-Cookie:%20a=b", "/%00//evil.example"),
        *("/.//evil.example", "/%2e%2e//evil.example", "/http://evil.example", "/%E2%80%8B/evil.example"),
        *("//%5c/evil.example", "/ %5cevil.example", "/%ff%fe", "/assets/a%20b"),
    ],
)
def test_the_token_is_never_sent_to_another_site(fenced, path):
    status, headers, _ = raw(fenced(token="s3cret").app, f"{path}?token=s3cret&x=")
    location = headers["location"]
    assert status == 303
    assert location.isascii() and location.isprintable() and "\\" not in location and " " not in location
    assert urlsplit(urljoin(HERE, location)).netloc == "127.0.0.1:3000"
    assert not location.startswith(("//", "/%2f", "/%2F")) and location.endswith("?x=")


def test_two_servers_of_one_machine_keep_their_own_cookies(fenced):
    first, second = (fenced(token=token).get(f"/?token={token}").headers for token in ("one", "two"))
    assert first["set-cookie"].split("=")[0] != second["set-cookie"].split("=")[0]
