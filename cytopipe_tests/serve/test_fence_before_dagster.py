"""Before Dagster's own web server: nothing but a POST of JSON from its own page can ask for a mutation.

The server behind is Dagster's, with its routes, its decoding and its parsing. It notes what it was told to
execute; the first test shows that, without the fence, it executes what a page of any site can ask for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.webserver import DagsterWebserver
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.responses import JSONResponse

from cytopipe.serve.fence import Fence, hosts_of
from cytopipe_tests.serve.test_fence import raw

MUTATION = "mutation{setNuxSeen}"
OURS = b"http://127.0.0.1:3000"


@dataclass
class Behind:
    """Dagster's application, and what it was told to execute."""

    app: object = None
    executed: list[str] = field(default_factory=list)

    @property
    def fenced(self) -> Fence:
        return Fence(self.app, hosts=hosts_of(3000))


@pytest.fixture(scope="module")
def behind():
    noted = Behind()

    class Noting(DagsterWebserver):
        async def execute_graphql_request(self, request, query, variables, operation_name):
            noted.executed.append(query)
            return JSONResponse({"data": None})

    with (
        DagsterInstance.local_temp() as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context,
    ):
        noted.app = Noting(context).create_asgi_app()
        yield noted


@st.composite
def spelt(draw, text: str) -> str:
    """`text` with any of its letters percent-encoded, in either case of the digits."""
    pieces = []
    for letter in text:
        code = f"%{ord(letter):02x}"
        pieces.append(draw(st.sampled_from([letter, code, code.upper()])))
    return "".join(pieces)


@st.composite
def targets(draw) -> str:
    """Spellings of ``/graphql?query=mutation...``, and what lies near them."""
    before = draw(st.sampled_from(["/", "//", "/%2f", "/./", "/x/../", "/%2e/"]))
    name = draw(st.sampled_from(["graphql", "graphql", "graphql", "GraphQL"]))
    after = draw(st.sampled_from(["", "", "", "/", "//", "%2f", ";a=b", "%3bx", "%00", "%20", "/."]))
    pairs = [f"{draw(spelt('query'))}={quote(MUTATION)}"]
    others = st.sampled_from(
        ["query=", "query={version}", "a", "=", "%26query=x", "query%3Dx", "operationName=x"]
    )
    pairs += draw(st.lists(others, max_size=3))
    joined = draw(st.sampled_from(["&", "&", ";", "&&", "&;"])).join(draw(st.permutations(pairs)))
    return f"{before}{draw(spelt(name))}{after}{draw(st.sampled_from(['?', '??', '?&']))}{joined}"


def test_without_the_fence_any_page_can_ask_for_a_mutation(behind):
    behind.executed.clear()
    raw(behind.app, f"/graphql?%71uery={quote(MUTATION)}")
    raw(behind.app, f"/%67raphql?a=1&query={quote(MUTATION)}")
    form = [(b"content-type", b"application/x-www-form-urlencoded")]
    raw(behind.app, f"/graphql?query={quote(MUTATION)}", method="POST", headers=form)
    assert behind.executed == [MUTATION] * 3


@settings(max_examples=400, deadline=None)
@given(
    target=targets(),
    method=st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "get"]),
    accept=st.sampled_from([b"*/*", b"application/json", b"image/avif,image/webp"]),
)
@example(target=f"/graphql?%71uery={quote(MUTATION)}", method="GET", accept=b"*/*")
def test_no_spelling_of_a_mutation_by_get_is_executed(behind, target, method, accept):
    behind.executed.clear()
    raw(behind.fenced, target, method=method, headers=[(b"accept", accept)])
    assert behind.executed == []


@settings(max_examples=300, deadline=None)
@given(
    target=st.one_of(targets(), st.just("/graphql")),
    kind=st.one_of(
        st.sampled_from(
            [
                b"application/x-www-form-urlencoded",
                b"multipart/form-data; boundary=application/json",
                b"text/plain",
                b"text/plain; application/json",
                b"text/plain;charset=application/json",
                b"application/graphql",
                b"application/jsonp",
                b"",
            ]
        ),
        st.binary(max_size=20).filter(
            lambda kind: kind.split(b";")[0].strip().lower() != b"application/json"
        ),
    ),
    twice=st.booleans(),
)
def test_no_form_of_any_kind_is_executed(behind, target, kind, twice):
    behind.executed.clear()
    body = json.dumps({"query": MUTATION}).encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if twice:  # the server behind may look at another one of two
        headers.insert(0, (b"content-type", b"application/json"))
    raw(behind.fenced, target, method="POST", headers=headers, body=body)
    assert behind.executed == []


@settings(max_examples=200, deadline=None)
@given(
    foreign=st.one_of(
        st.tuples(
            st.just(b"origin"),
            st.sampled_from(
                [
                    *(
                        b"http://evil.example",
                        b"null",
                        b"",
                        b"http://127.0.0.1:8000",
                        b"http://localhost:30000",
                    ),
                    *(b"http://127.0.0.1:3000.evil.example", b"http://evil.example#" + OURS, b"file://"),
                    *(b"http://a@127.0.0.1:3000", b"http://127.0.0.1", b"ws://127.0.0.1:3000"),
                ]
            ),
        ),
        st.tuples(
            st.just(b"host"),
            st.sampled_from([b"evil.example", b"evil.example:3000", b"127.0.0.1:3000", b"127.0.0.1", b""]),
        ),
        st.tuples(st.just(b"sec-fetch-site"), st.sampled_from([b"cross-site", b"same-site", b"", b"x"])),
    )
)
def test_no_request_of_another_site_or_to_another_name_is_executed(behind, foreign):
    """A second Host header is refused as well, also when it is equal to the first."""
    behind.executed.clear()
    body = json.dumps({"query": MUTATION}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), foreign]
    raw(behind.fenced, "/graphql", method="POST", headers=headers, body=body)
    assert behind.executed == []


def test_our_own_page_is_executed(behind):
    behind.executed.clear()
    body = json.dumps({"query": MUTATION}).encode()
    headers = [
        *((b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())),
        *((b"origin", OURS), (b"sec-fetch-site", b"same-origin")),
    ]
    assert raw(behind.fenced, "/graphql", method="POST", headers=headers, body=body)[0] == 200
    assert behind.executed == [MUTATION]
    assert (
        raw(behind.fenced, "/graphql", headers=[(b"accept", b"text/html")])[0] == 200
    )  # its own page for queries
