"""The files of the live page: what the server says of them, and what their authors may not write."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files

import pytest
from starlette.applications import Starlette

import raven_http.page
from raven_http import create_app
from tests.http_bridge import BridgeHere

STATIC = {one.name: one.read_text("utf-8") for one in files(raven_http.page).joinpath("static").iterdir()}
KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
# Each makes elements or code from a text, or needs a hole in the policy.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|createContextualFragment|eval\(|new Function|srcdoc"
    r"|\bon[a-z]+=\"|\bstyle=\"|<style|<script(?! src=)|javascript:|https?://(?!www\.w3\.org/|html\.spec\.)"
)


@pytest.mark.parametrize("prefix", ["", "/bus"])
def test_each_file_is_served_with_its_type_and_a_policy_that_allows_only_files_of_the_server(
    bridge: Callable[..., BridgeHere], db: str, prefix: str
) -> None:
    app = Starlette()
    app.mount(prefix or "/", create_app(db))
    served = bridge(app=app)

    for name, text in STATIC.items():
        answer = served.get(f"{prefix}/{'' if name == 'index.html' else name}")
        policy = answer.headers["content-security-policy"]

        assert (answer.status_code, answer.text) == (200, text)
        assert answer.headers["content-type"].partition(";")[0] == KINDS[name.rpartition(".")[2]]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
    assert served.request("HEAD", f"{prefix}/app.js").content == b""
    assert served.post(f"{prefix}/app.js", json={}).status_code == 405
    assert served.get(f"{prefix}/nothing.js").status_code == 404


def test_no_file_makes_elements_from_texts_or_loads_anything_from_elsewhere() -> None:
    assert {name: FORBIDDEN.findall(text) for name, text in STATIC.items() if FORBIDDEN.search(text)} == {}
    links = re.findall(r'(?:src|href)="([^"]+)"', STATIC["index.html"])
    modules = re.findall(r'from "\./([^"]+)"', "".join(STATIC.values()))
    assert {*links, *modules} - {one for one in links if one.startswith("#")} <= STATIC.keys()
    assert {name for name in STATIC if name.endswith(".js")} <= {*links, *modules}
