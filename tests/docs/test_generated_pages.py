"""The generated pages are the same as `scripts/docs` would write now."""

from __future__ import annotations

import pytest

from scripts.reference.pages import PAGES, ROOT


@pytest.mark.parametrize("path", PAGES)
def test_a_generated_page_is_up_to_date(path: str) -> None:
    page = (ROOT / path).read_text(encoding="utf-8")

    assert page == PAGES[path](page), f"{path} is stale: run scripts/docs"
