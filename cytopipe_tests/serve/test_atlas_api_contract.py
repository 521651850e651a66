"""The API keeps the contract it publishes, under requests that schemathesis makes up."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from cytopipe.serve.atlas_api.routes import router
from cytopipe_tests.serve.test_atlas_api import address, store  # noqa: F401 - fixtures

schemathesis = pytest.importorskip("schemathesis")


@pytest.fixture(scope="module")
def document(address):  # noqa: F811
    """The OpenAPI document of a running server."""
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("path", [route.path for route in router.routes])
def test_every_answer_is_documented_and_of_its_documented_form(document, path, mode):
    """Status codes, media types, bodies and headers are those of the OpenAPI document, for requests that
    follow it and for requests that break it."""
    operation = document[path]["GET"]
    if mode == "negative" and not list(operation.iter_parameters()):
        return  # nothing to break

    @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    def keeps_its_contract(case):
        case.call_and_validate()

    keeps_its_contract()


def test_the_document_knows_every_route(document):
    assert {result.ok().path for result in document.get_all_operations()} == {
        route.path for route in router.routes
    }
