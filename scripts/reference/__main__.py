"""Write the generated pages: `scripts/docs`; with `--screenshot` also the picture of the live page, in Chromium."""

from __future__ import annotations

import sys

from scripts.reference.pages import PAGES, ROOT


def main(*options: str) -> None:
    """Write each page that is stale, and print its path."""
    for path, render in PAGES.items():
        file = ROOT / path
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        page = render(text)
        if page != text:
            file.write_text(page, encoding="utf-8")
            print(f"wrote {path}")
    if "--screenshot" in options:
        from scripts.reference import screenshot

        screenshot.take()


if __name__ == "__main__":
    main(*sys.argv[1:])
