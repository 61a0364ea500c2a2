"""The whole book as one PDF, from the built site.

    python tools/pdf.py                       # _build/html -> _build/pdf/book.pdf
    python tools/pdf.py SITE PDF

All pages, in the order of the contents, become one page, which Chromium prints with the site's own print style. So
links between chapters lead to their place in the file, headings become bookmarks, and explorers show the frame they
start with. Needs Chromium (or its path in ``$CHROMIUM``) and this package's extra ``pdf``; nothing is fetched.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
REFERS = ("aria-describedby", "aria-labelledby", "for", "headers")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update".split()
MARGIN = {"top": "18mm", "bottom": "20mm", "left": "20mm", "right": "20mm"}
FOOTER = """<div style="width: 100%; font: 8pt sans-serif; text-align: center; color: #555">
<span class="pageNumber"></span></div>"""
STYLE = """
.chapter { break-before: page; }
.chapter:first-of-type { break-before: auto; }
body { font-size: 11pt; }
.bd-article { font-size: 11pt; padding: 0 !important; }
h1, h2, h3 { white-space: pre-wrap; } /* else a bookmark loses the space at which its heading was broken */
"""


def order(site: Path) -> list[str]:
    """The pages as the contents beside every page list them; the front page comes first."""
    front = BeautifulSoup((site / "index.html").read_text(encoding="utf-8"), "html.parser")
    links = [link.get("href", "") for link in front.select("nav.bd-links a.internal")]
    names = ["index.html", *(name for name in links if name.endswith(".html"))]
    return list(dict.fromkeys(names))


def slug(name: str) -> str:
    return name.removesuffix(".html").replace("/", "-")


def chapter(site: Path, name: str, names: list[str]):
    """The article of a page, its ids and links made for the one page that holds all."""
    page = BeautifulSoup((site / name).read_text(encoding="utf-8"), "html.parser")
    article, here = page.select_one("article.bd-article"), (site / name).parent
    for dropped in article.select("script, noscript, .headerlink, .copybtn, details.hide"):
        dropped.decompose()
    for fold in article.select("details"):
        fold["open"] = ""
    for node in article.find_all(True):
        if node.get("id"):
            node["id"] = f"{slug(name)}--{node['id']}"
        for attribute in REFERS:
            if value := node.get(attribute):
                words = value if isinstance(value, list) else value.split()
                node[attribute] = " ".join(f"{slug(name)}--{word}" for word in words)
        if node.name == "img" and not urlsplit(node["src"]).scheme:
            node["src"] = (here / unquote(node["src"])).resolve().as_uri()
        if node.name == "a" and "href" in node.attrs:
            place(node, site, here, name, names)
    made = page.new_tag("section", attrs={"class": "chapter", "id": slug(name)})
    made.append(article.extract())
    return made


def place(link, site: Path, here: Path, name: str, names: list[str]) -> None:
    """A link into the book leads to the place in the file; one to a file beside it leads nowhere."""
    parts = urlsplit(link["href"])
    if parts.scheme:
        return
    target = (here / unquote(parts.path)).resolve() if parts.path else site / name
    there = target.relative_to(site).as_posix() if target.is_relative_to(site) else ""
    if there in names:
        link["href"] = f"#{slug(there)}" + (f"--{unquote(parts.fragment)}" if parts.fragment else "")
    else:
        del link["href"]


def combined(site: Path) -> str:
    """One page that holds the whole book."""
    site = site.resolve()
    names = order(site)
    front = BeautifulSoup((site / "index.html").read_text(encoding="utf-8"), "html.parser")
    sheets = [link["href"].split("?")[0] for link in front.select('link[rel~="stylesheet"]')]
    styles = "".join(f'<link rel="stylesheet" href="{(site / sheet).as_uri()}">\n' for sheet in sheets)
    body = "\n".join(str(chapter(site, name, names)) for name in names)
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{front.title.string}</title>
{styles}<style>{STYLE}</style></head>
<body><main class="bd-content"><div class="bd-article-container">
{body}
</div></main></body></html>
"""


def chromium() -> str:
    known = (os.environ.get("CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    path = next(filter(None, known), None)
    if path is None:
        sys.exit("pdf: no Chromium: install the package `chromium`, or name a binary in $CHROMIUM")
    return path


def write(site: Path, pdf: Path) -> None:
    """Print the book that was built into ``site``."""
    from playwright.sync_api import sync_playwright

    if not (site / "index.html").exists():
        sys.exit(f"pdf: expected a built site, found no index.html in {site}")
    pdf.parent.mkdir(parents=True, exist_ok=True)
    page = pdf.with_suffix(".html")
    page.write_text(combined(site), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        tab = browser.new_page()
        tab.set_default_timeout(300_000)
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate("document.fonts.ready")
        options = {"format": "A4", "margin": MARGIN, "print_background": True, "outline": True, "tagged": True}
        header = {"display_header_footer": True, "header_template": "<span></span>", "footer_template": FOOTER}
        tab.pdf(path=pdf, **options, **header)
        browser.close()
    page.unlink()


def main(site: str = "_build/html", pdf: str = "_build/pdf/book.pdf") -> None:
    site, pdf = (ROOT / site).resolve(), (ROOT / pdf).resolve()
    write(site, pdf)
    print(f"{pdf}: {pdf.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
