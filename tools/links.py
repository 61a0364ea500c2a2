"""Links of a built site: those inside it must lead to a file and to a place in it; those to elsewhere are listed.

    python tools/links.py             # what is broken in _build/html, and every address outside it
    python tools/links.py SITE BASE   # of a site whose pages for missing addresses start at BASE, such as /book/

Nothing is fetched: of an address outside only the form is checked.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
LINKS = {"a": "href", "link": "href", "area": "href", "img": "src", "script": "src", "source": "src", "form": "action"}
BROWSER = 'content="open-threads feature browser"'
KNOWN = ("http", "https", "mailto", "data")


class Page(HTMLParser):
    """The places of a page and what it links to."""

    def __init__(self, text: str):
        super().__init__()
        self.places, self.links, self.browses = {"", "top"}, [], BROWSER in text
        self.feed(text)

    def has(self, place: str) -> bool:
        """Whether there is such a place; the feature browser finds its own: a site's feature, or sentences."""
        return place in self.places or (self.browses and bool(re.fullmatch(r"sentences(/\d+)?|.+/\d+", place)))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.places |= {named.get("id") or "", (named.get("name") or "") if tag == "a" else ""}
        if LINKS.get(tag) in named:
            self.links.append(named[LINKS[tag]] or "")
        for part in (named.get("srcset") or "").split(","):
            self.links += part.split()[:1]


@cache
def read(path: Path, state: int) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def page(path: Path) -> Page:
    return read(path, path.stat().st_mtime_ns)


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)


def fault(site: Path, here: Path, link: str, base: str) -> str:
    """What is wrong with a link, or nothing."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        if parts.scheme not in KNOWN:
            return f"scheme {parts.scheme!r}"
        wrong = parts.scheme in ("http", "https") and (set(link) & set(' "<>') or "." not in (parts.hostname or ""))
        return "no proper address" if wrong else ""
    target = here
    if parts.path:
        start = site if parts.path.startswith("/") else here.parent
        if parts.path.startswith("/") and not parts.path.startswith(base):
            return f"does not begin with {base}"
        target = (start / unquote(parts.path.removeprefix(base) if start == site else parts.path)).resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(site) or not target.is_file():
        return "no such file"
    if target.suffix == ".html" and not page(target).has(unquote(parts.fragment)):
        return "no such place on that page"
    return ""


def broken(site: Path, base: str = "/") -> list[str]:
    """Each link that leads nowhere, as ``page: link (why)``."""
    site = site.resolve()
    return [
        f"{here.relative_to(site).as_posix()}: {link} ({why})"
        for here in pages(site)
        for link in dict.fromkeys(page(here).links)
        if (why := fault(site, here, link, base))
    ]


def outside(site: Path) -> list[str]:
    """Every address of another host."""
    found = {link for here in pages(site) for link in page(here).links}
    return sorted(link for link in found if urlsplit(link).scheme in ("http", "https"))


def main(site: str = "_build/html", base: str = "/") -> int:
    wrong = broken(ROOT / site, base)
    print("\n".join(outside(ROOT / site)))
    print("\n".join(wrong), file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
