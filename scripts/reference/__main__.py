"""Write the generated pages: `scripts/docs`."""

from __future__ import annotations

from scripts.reference.pages import PAGES, ROOT


def main() -> None:
    """Write each page that is stale, and print its path."""
    for path, render in PAGES.items():
        file = ROOT / path
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        page = render(text)
        if page != text:
            file.write_text(page, encoding="utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
