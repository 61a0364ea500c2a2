"""Keep the pages light: after the build, ship only the icons that the pages use.

The theme brings FontAwesome three times: a 1.5 MB script, three fonts, and a style rule for each of some 2000 icons.
``book/_templates/static/webpack-macros.html`` leaves the script out. Here the fonts are cut to the icons seen in the
pages and the unused rules are dropped; what was copied only to be thrown away is removed.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import shutil
from pathlib import Path

from fontTools import subset

logging.getLogger("fontTools").setLevel(logging.WARNING)

RULE = re.compile(r"((?:\.fa-[\w-]+:before,?)+)\{content:\"(\\[0-9a-f]+|.)\"\}")
FACE = re.compile(r"@font-face\{[^}]*url\(\.\./vendor/fontawesome/webfonts/(fa-[\w-]+)\.woff2\)[^}]*\}")
USED = re.compile(r"fa-[a-z0-9-]+")
ESCAPE = re.compile(r"\\(f[0-9a-f]{3})|([\uf000-\uf8ff])")


def codepoints(text: str) -> set[int]:
    """Every private-use character in ``text``, written out or as a CSS escape."""
    return {int(escaped, 16) if escaped else ord(char) for escaped, char in ESCAPE.findall(text)}


def cut_font(source: Path, target: Path, unicodes: set[int]) -> bool:
    """Write the glyphs of ``unicodes`` to ``target`` (woff). False if the font has none of them."""
    options = subset.Options(flavor="woff", layout_features=[], name_IDs=[], notdef_outline=True)
    font = subset.load_font(str(source), options)
    wanted = unicodes & set(font.getBestCmap())
    if wanted:
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=wanted)
        cutter.subset(font)
        subset.save_font(font, str(target), options)
    font.close()
    return bool(wanted)


def trim(app, exception) -> None:
    if exception or app.builder.name != "html":
        return
    static = Path(app.outdir) / "_static"
    css_file = static / "styles" / "pydata-sphinx-theme.css"
    fonts = static / "vendor" / "fontawesome"
    if not (fonts / "webfonts" / "fa-solid-900.ttf").exists():
        return
    pages = [p.read_text(encoding="utf-8") for p in Path(app.outdir).rglob("*.html")]
    scripts = [p.read_text(encoding="utf-8") for p in (static / "scripts").glob("*.js") if p.name != "fontawesome.js"]
    used = {name for text in [*pages, *scripts] for name in USED.findall(text)}
    css = css_file.read_text(encoding="utf-8")

    def keep(match: re.Match) -> str:
        return match[0] if used & set(USED.findall(match[1])) else ""

    css = RULE.sub(keep, css)
    others = [p.read_text(encoding="utf-8") for p in static.rglob("*.css") if p != css_file and fonts not in p.parents]
    wanted = codepoints("".join([css, *others]))

    def face(match: re.Match) -> str:
        name = match[1]
        if not cut_font(fonts / "webfonts" / f"{name}.ttf", static / "styles" / f"{name}.woff", wanted):
            return ""
        return re.sub(r"src:[^;}]*", f'src:url({name}.woff) format("woff")', match[0])

    css = FACE.sub(face, css)
    css = re.sub(r"/\*# sourceMappingURL=.*?\*/", "", css)
    css_file.write_text(css, encoding="utf-8")
    shutil.rmtree(fonts)
    for dropped in {*static.glob("**/*.map"), *static.glob("scripts/fontawesome.js*")}:
        dropped.unlink()
    for script in static.glob("scripts/*.js"):  # the maps are gone: so is what points at them
        text = script.read_text(encoding="utf-8")
        script.write_text(re.sub(r"\n//# sourceMappingURL=\S+\s*$", "\n", text), encoding="utf-8")


TEXT_FONT = re.compile(
    r'@font-face \{ font-family: "([^"]+)"; font-weight: ([\d ]+);(?: font-style: (italic);)? font-display: swap; '
    r"src: url\((fonts/(?:serif|sans)-[\w-]+\.woff2)\)[^}]*\}\n"
)
FONTS = """\
// The text fonts, there before the first words are drawn: none moves, and none is shown in another face.
for (const [family, weight, style, data] of %s)
    document.fonts.add(new FontFace(family, Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), {weight, style}));
"""
MENDED = {
    # docutils gives references a role that ARIA has since withdrawn; make them items of their list
    'role="doc-biblioentry"': 'role="listitem"',
    # folded code says to the eye that it is code: let it say so to the ear
    '<summary aria-label="Toggle hidden content">': "<summary>",
}

# these sheets come after the pages are written, so that only a second build would know a digest of them
LATE = re.compile(r"(_static/(?:exercise|proof|mystnb\.[0-9a-f]+)\.css)\?v=[0-9a-f]+")


def mend_pages(app, exception) -> None:
    if exception or app.builder.name != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        before = text = page.read_text(encoding="utf-8")
        for old, new in MENDED.items():
            text = text.replace(old, new)
        text = LATE.sub(r"\1", text)
        if text != before:
            page.write_text(text, encoding="utf-8")


def quoting_pages(app, env, added, changed, removed):
    """Pages outside ``notebooks/`` quote the notebooks' numbers: write them anew when any notebook changed."""
    if any(name.startswith("notebooks/") for name in added | changed | removed):
        return [name for name in env.found_docs if not name.startswith("notebooks/")]
    return []


def drop_unused(app, pagename, templatename, context, doctree) -> None:
    """Thebe (live cells through a third host) and tab switching are not used; their files stay off the pages."""

    def used(asset) -> bool:
        text = f"{getattr(asset, 'filename', asset)} {getattr(asset, 'attributes', {})}".lower()
        return not any(word in text for word in ("thebe", "design-tabs"))

    for key in ("script_files", "css_files"):
        context[key] = [asset for asset in context.get(key, []) if used(asset)]
    script, sheet = (context["pathto"](f"_static/fonts.{kind}", resource=True) for kind in ("js", "css"))
    fonts = f'<script src="{script}"></script><noscript><link rel="stylesheet" href="{sheet}" /></noscript>\n'
    context["metatags"] = context.get("metatags", "") + fonts


def write_fonts(app, exception) -> None:
    """The text fonts out of the style sheet: into a script, and into a sheet of their own for where scripts are off."""
    static = Path(app.outdir) / "_static"
    if exception or app.builder.name != "html" or not (static / "custom.css").exists():
        return
    sheet = (static / "custom.css").read_text(encoding="utf-8")
    faces = [
        (family, weight, style or "normal", base64.b64encode((static / path).read_bytes()).decode())
        for family, weight, style, path in TEXT_FONT.findall(sheet)
    ]
    if faces:  # none is left where an earlier build has moved them
        (static / "fonts.js").write_text(FONTS % json.dumps(faces), encoding="utf-8")
        (static / "fonts.css").write_text("".join(m[0] for m in TEXT_FONT.finditer(sheet)), encoding="utf-8")
        (static / "custom.css").write_text(TEXT_FONT.sub("", sheet), encoding="utf-8")


def setup(app):
    app.connect("html-page-context", drop_unused, priority=900)
    app.connect("env-get-outdated", quoting_pages)
    app.connect("build-finished", trim, priority=900)
    app.connect("build-finished", mend_pages)
    app.connect("build-finished", write_fonts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
