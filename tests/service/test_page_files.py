"""What stands at /: headers, ETags, weight, and nothing of another origin."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra service is not installed")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from vllmperf.report.html import STYLE
from vllmperf.service import pages

MOST_BYTES = 90_000
MOST_BYTES_SENT = 30_000


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.include_router(pages.router)
    return TestClient(app)


@pytest.mark.parametrize("path", pages.PATHS)
def test_every_file_has_its_kind_and_a_strict_policy(client: TestClient, path: str) -> None:
    answer = client.get(path)
    kind = {"": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind[path.rpartition(".")[2] if "." in path else ""])
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", pages.PATHS)
def test_a_file_that_the_browser_has_is_not_sent_again(client: TestClient, path: str) -> None:
    first = client.get(path)
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    other = client.get(path, headers={"If-None-Match": '"another"'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert other.status_code == 200


def test_a_browser_that_takes_gzip_gets_it(client: TestClient) -> None:
    zipped = client.get("/app.js", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/app.js", headers={"Accept-Encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert zipped.content == plain.content
    assert zipped.headers["vary"] == "Accept-Encoding"


def test_the_page_is_light(client: TestClient) -> None:
    answers = [client.get(path, headers={"Accept-Encoding": "gzip"}) for path in pages.PATHS]
    assert sum(len(answer.content) for answer in answers) < MOST_BYTES
    assert sum(int(answer.headers["content-length"]) for answer in answers) < MOST_BYTES_SENT


def test_the_page_has_one_script_and_nothing_of_another_origin(client: TestClient) -> None:
    text = client.get("/").text
    assert len(re.findall("<script", text)) == 1
    assert not re.search(r"<style|style=|\son\w+=", text)
    for path in pages.PATHS:
        addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", client.get(path).text)
        assert set(addresses) <= {"http://www.w3.org"}, path  # the name of SVG, which nobody fetches


def test_no_script_writes_html(client: TestClient) -> None:
    text = client.get("/app.js").text
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
    )


def test_a_report_within_the_page_has_the_style_of_the_report(client: TestClient) -> None:
    assert client.get("/report.css").text == STYLE


def test_every_script_of_the_folder_is_in_the_page() -> None:
    assert {path.stem for path in pages.FOLDER.glob("*.js")} == set(pages.SCRIPTS)


def test_the_script_is_one_that_a_browser_can_read(client: TestClient, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed here")
    path = tmp_path / "app.mjs"
    path.write_text(client.get("/app.js").text, encoding="utf-8")
    found = subprocess.run([node, "--check", path], capture_output=True, text=True, timeout=60)
    assert found.stderr == ""
