"""The API over a real server and client, on results made from files."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import anndata
import httpx
import numpy as np
import pytest

from cytopipe.atlas.activity import ActivitySettings
from cytopipe.atlas.catalogue import Catalogue
from cytopipe.commands.atlas_files import compare_atlases, infer_activities, validate_atlas
from cytopipe.errors import InputError, ParameterError
from cytopipe.serve.atlas_api import create_app, serve
from cytopipe.serve.listener import server_of
from cytopipe.storage import Store, Sync
from cytopipe_tests.atlas.made_results import ATLASES, LABELS, TARGETS, write_pseudobulk, write_signature


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Three atlases, inferred, validated and compared."""
    folder = tmp_path_factory.mktemp("served")
    table = write_signature(folder / "mine.tsv")
    store = Store(folder / "results", sync=Sync.NONE)
    for atlas in ATLASES:
        write_pseudobulk(store.root, atlas)
        infer_activities(
            store.root, atlas, None, ("mine",), ActivitySettings(n_permutations=20), source=table
        )
        validate_atlas(store.root, atlas, "l1", "mine", source=table, draw=False)
    compare_atlases(store.root, dict.fromkeys(ATLASES, "l1"), "mine", draw=False)
    return store


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """A uvicorn server on a free port of loopback; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = server_of(create_app(root))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def address(store):
    with serving(store.root) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=f"{address}/api/v1", timeout=30) as client:
        yield client


LEVEL = "/atlases/aa/levels/l1"


def items(answer: httpx.Response) -> list:
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_atlases_levels_and_groups_are_listed(client):
    assert items(client.get("/atlases")) == [{"name": name, "levels": ["l1"]} for name in ATLASES]
    assert items(client.get("/atlases/aa/levels")) == [
        {"name": "l1", "n_groups": 8, "n_genes": 264, "resampled": True, "signatures": ["mine"]}
    ]
    groups = items(client.get(f"{LEVEL}/groups"))
    assert [group["cell_type"] for group in groups] == list(LABELS)
    assert groups[0]["n_cells"] == 10


def test_a_genes_profile_is_that_of_the_file(client, store):
    file = anndata.read_h5ad(Catalogue(store.root).pseudobulk("aa", "l1"))
    found = items(client.get(f"{LEVEL}/pseudobulk/TNF"))
    column = list(file.var_names).index("TNF")
    np.testing.assert_allclose([row["log1p_cpm"] for row in found], file.X[:, column])
    assert [row["counts"] for row in found] == file.layers["counts"][:, column].tolist()
    assert found[0]["zscore"] is None  # these files have no such layer
    assert items(client.get("/atlases/aa/levels/L1/pseudobulk/TNF")) == found


def test_activities_are_those_of_the_file_on_every_page(client, store):
    file = anndata.read_h5ad(Catalogue(store.root).activity("aa", "l1", "mine"))
    found, url = [], f"{LEVEL}/activity/mine?limit=7"
    while url:
        page = client.get(url).json()
        assert len(page["items"]) <= 7 and page["total"] == len(LABELS) * len(TARGETS)
        found += page["items"]
        url = page["next"] and page["next"].removeprefix("/api/v1")
    assert [(row["cell_type"], row["target"]) for row in found] == [(a, b) for a in LABELS for b in TARGETS]
    np.testing.assert_allclose([row["z"] for row in found], file.X.ravel())
    np.testing.assert_allclose([row["fdr"] for row in found], file.layers["fdr"].ravel())


def test_activities_can_be_narrowed_to_a_target_and_a_group(client):
    one = items(client.get(f"{LEVEL}/activity/mine", params={"target": "IL6", "cell_type": "NK cells"}))
    assert [(row["cell_type"], row["target"]) for row in one] == [("NK cells", "IL6")]
    assert len(items(client.get(f"{LEVEL}/activity/mine", params={"target": "IL6"}))) == len(LABELS)


def test_a_scatter_has_its_rho_and_its_intervals(client):
    found = client.get(f"{LEVEL}/scatter/mine", params={"target": "TNFA"}).json()
    assert found["correlation"]["genes"] == ["TNF"]
    assert -1 <= found["correlation"]["ci_low"] <= found["correlation"]["ci_high"] <= 1
    points = found["points"]["items"]
    assert [point["cell_type"] for point in points] == list(LABELS)
    assert all(point["activity_low"] <= point["activity_high"] for point in points)


def test_what_is_not_defined_is_null(client):
    found = client.get(f"{LEVEL}/scatter/mine", params={"target": "GDF99"}).json()
    assert found["correlation"]["rho"] is None and found["correlation"]["genes"] == []
    assert found["points"]["items"][0]["expression"] is None


def test_comparisons_of_atlases_are_served(client):
    assert items(client.get("/cross-atlas")) == [{"signature": "mine", "granularity": "coarse"}]
    base = "/cross-atlas/mine/coarse"
    assert [(pair["atlas_a"], pair["atlas_b"]) for pair in items(client.get(f"{base}/pairs"))] == [
        ("aa", "bb"),
        ("aa", "cc"),
        ("bb", "cc"),
    ]
    assert len(items(client.get(f"{base}/correlations", params={"target": "IL6"}))) == 3
    conserved = items(client.get(f"{base}/conserved", params={"conservation": "highly_conserved"}))
    assert {"IFNG", "IL6", "TNFA"} <= {row["target"] for row in conserved}
    assert all(0 <= row["consistency"] <= 1 for row in items(client.get(f"{base}/consistency")))
    pooled = items(client.get(f"{base}/meta-analysis"))
    assert pooled[0]["atlases"] == ["aa", "bb", "cc"] and 0 <= pooled[0]["i_squared"] <= 1


def test_quality_and_expression_are_served(client):
    assert client.get(f"{LEVEL}/quality/mine").json()["missing"] == []
    assert [row["target"] for row in items(client.get(f"{LEVEL}/expression/mine"))] == list(TARGETS)


def test_genes_are_listed_by_their_beginning(client):
    assert items(client.get(f"{LEVEL}/genes", params={"prefix": "IL"})) == ["IL4", "IL6"]


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/atlases/zz/levels", 404, "found aa, bb, cc"),
        ("/atlases/aa/levels/l9/groups", 404, "found l1"),
        (f"{LEVEL}/pseudobulk/tnf", 404, "found TNF"),
        (f"{LEVEL}/activity/secact", 404, "found mine"),
        (f"{LEVEL}/activity/mine?target=XYZ", 404, "found IFNG"),
        (f"{LEVEL}/scatter/mine?target=XYZ", 404, "no target XYZ"),
        (f"{LEVEL}/scatter/mine", 422, "target"),
        ("/cross-atlas/other/coarse/pairs", 404, "found mine (coarse)"),
        ("/cross-atlas/mine/medium/pairs", 422, "'coarse' or 'fine'"),
        ("/atlases?limit=1001", 422, "less than or equal to 1000"),
        ("/atlases?limit=0", 422, "greater than or equal to 1"),
        ("/atlases?offset=-1", 422, "offset"),
        ("/atlases/..%2F..%2Fetc/levels", 404, "Not Found"),
        ("/atlases/%2e%2e/levels", 422, "pattern"),
        ("/atlases/a..b/levels", 422, "cannot stand in a file name"),
        ("/atlases/a%00b/levels", 422, "pattern"),
        ("/nothing", 404, "Not Found"),
    ],
)
def test_a_fault_of_the_request_is_a_problem_that_says_what_there_is(client, path, status, said):
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance"}
    assert problem["status"] == status and said in problem["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(client, method):
    answer = client.request(method, "/atlases", json={})
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "127.0.0.2"]
)
def test_a_foreign_name_of_this_server_is_refused(client, host):
    answer = client.get("/atlases", headers={"host": host})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "This server does not answer to that host name."


def test_a_page_of_another_site_reads_nothing(client):
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert client.get("/atlases", headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:8787", "[::1]:8787"])
def test_loopback_names_are_let_in(client, host):
    assert client.get("/atlases", headers={"host": host}).status_code == 200


def test_an_overlong_offset_ends_the_list(client):
    page = client.get(f"{LEVEL}/activity/mine?offset=10000000").json()
    assert page["items"] == [] and page["next"] is None and page["total"] == 40


def test_a_damaged_file_is_a_fault_of_the_server_without_its_paths(store, tmp_path):
    root = tmp_path / "results"
    shutil.copytree(store.root, root)
    path = Catalogue(root).activity("aa", "l1", "mine")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    torn = Catalogue(root).pseudobulk("bb", "l1")
    torn.write_bytes(torn.read_bytes()[:5000])
    with serving(root) as local:
        paths = ("atlases/aa/levels/l1/activity/mine", "atlases/bb/levels/l1/groups")
        answers = [httpx.get(f"{local}/api/v1/{path}") for path in paths]
    for answer in answers:
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert str(tmp_path) not in answer.text and "h5ad" in answer.json()["detail"]


def test_a_new_version_of_a_file_is_served_at_once(store, tmp_path):
    root = tmp_path / "results"
    shutil.copytree(store.root, root)
    with serving(root) as local:
        url = f"{local}/api/v1/atlases/aa/levels/l1/groups"
        assert len(httpx.get(url).json()["items"]) == 8
        path = Catalogue(root).pseudobulk("aa", "l1")
        anndata.read_h5ad(path)[:5].copy().write_h5ad(path)
        assert len(httpx.get(url).json()["items"]) == 5


def test_many_clients_at_once_get_the_same_answer(client):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: client.get(f"{LEVEL}/activity/mine").text, range(40)))
    assert len(set(found)) == 1


def test_the_index_lists_every_route_and_loads_nothing(client, address):
    page = httpx.get(f"{address}/")
    document = httpx.get(f"{address}/openapi.json").json()
    assert page.status_code == 200 and "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert all(path in page.text for path in document["paths"])


def test_every_field_and_parameter_is_documented_with_an_example(address):
    document = httpx.get(f"{address}/openapi.json").json()
    schemas = document["components"]["schemas"]
    bare = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, one in schema.get("properties", {}).items()
        if "examples" not in one and "$ref" not in one and field != "items"
    ]
    assert [one for one in bare if not one.startswith(("HTTPValidationError", "ValidationError"))] == []
    for verbs in document["paths"].values():
        assert set(verbs) == {"get"} and verbs["get"]["description"]


def test_only_loopback_is_served(store, tmp_path):
    with pytest.raises(ParameterError, match="loopback only"):
        serve(store.root, host="0.0.0.0")
    with pytest.raises(InputError, match="there are no results"):
        create_app(tmp_path / "absent")


def test_an_empty_root_serves_empty_lists(tmp_path):
    with serving(tmp_path) as local:
        assert httpx.get(f"{local}/api/v1/atlases").json()["items"] == []
        assert httpx.get(f"{local}/api/v1/cross-atlas").json()["items"] == []
