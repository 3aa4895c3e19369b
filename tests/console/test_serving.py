"""How the page's files are sent: cached by content, and locked down."""

import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from ragstone.console import routes


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=routes()))


def addresses_in(page: str) -> set[str]:
    return set(re.findall(r'(?:href|src)="(console/[^"]+)"', page))


def test_the_page_names_files_that_exist_and_may_be_kept_for_ever(client: TestClient) -> None:
    addresses = addresses_in(client.get("/").text)
    assert any(address.endswith("/main.js") for address in addresses)
    for address in addresses:
        response = client.get(f"/{address}")
        assert response.status_code == 200, address
        assert "immutable" in response.headers["cache-control"]


def test_every_module_that_a_module_imports_is_loaded_ahead(client: TestClient) -> None:
    addresses = addresses_in(client.get("/").text)
    names = {address.rpartition("/")[2] for address in addresses}
    for address in addresses:
        if address.endswith(".js"):
            imported = re.findall(r'from "\./([^"]+)"', client.get(f"/{address}").text)
            assert set(imported) <= names


def test_no_file_refers_to_another_host(client: TestClient) -> None:
    page = client.get("/").text
    texts = [page, *(client.get(f"/{address}").text for address in addresses_in(page))]
    namespace = "http://www.w3.org/2000/svg"
    assert not [text for text in texts if re.search(r"https?://", text.replace(namespace, ""))]


@pytest.mark.parametrize("path", ["/", "/console/main.js"])
def test_an_unchanged_file_is_not_sent_again(client: TestClient, path: str) -> None:
    first = client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get(path, headers={"If-None-Match": condition})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_files_of_another_version_are_not_kept(client: TestClient) -> None:
    response = client.get("/console/0123456789abcdef/main.js")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/console/absent.js", "/console/index.html", "/console/..%2f__init__.py"]
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/console/main.js", "/console/absent.js"])
def test_every_response_forbids_what_the_page_does_not_need(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_a_question_about_the_headers_alone_is_answered(client: TestClient) -> None:
    response = client.head("/")
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 0
