"""The feature browser in a real browser, over hostile tokens, with no network: from disk and from a server."""

import dataclasses
import gzip
import re
import shutil
import time

import pytest
import torch
from hostile import HOSTILE
from samples import seeded

from helpers.dashboard import Words, collect, feature_card, name_features, write_browser
from helpers.sae import build

pytestmark = pytest.mark.browser


def until(page, expression: str, seconds: float = 20):
    """Wait for an expression; the browser's own way to wait evaluates text in the page, which the policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(30)


VOCAB = [*HOSTILE, *(f" word{i}" for i in range(40))]
A, B = "blocks.0.<b>hook", "blocks.1.hook_mlp_out"


@pytest.fixture(scope="module")
def found():
    """Two sites, two sets; the last feature of the second site never fires."""
    tokens = {n: torch.randint(0, len(VOCAB), (24, 20), generator=seeded(i)) for i, n in enumerate(("model", "human"))}
    saes = {hook: build("topk", 8, 130, generator=seeded(i), k=4) for i, hook in enumerate((A, B))}
    with torch.no_grad():
        saes[B].b_enc[-1] = -1e6
    given = {}
    for i, name in enumerate(tokens):
        x = {hook: torch.randn(24, 20, 8, generator=seeded(9 + 3 * i + j)) for j, hook in enumerate(saes)}
        given[name] = [(range(24), x)]
    found = collect(None, tokens, saes, activations=given, sentences=2)
    for hook in found.sites:
        name_features(found, hook, VOCAB)
    return found


@pytest.fixture(scope="module")
def folder(found, tmp_path_factory):
    return write_browser(tmp_path_factory.mktemp("pages") / "browser", found, VOCAB, title="<i>Tiny</i>")


@pytest.fixture(scope="module")
def served(folder, serving):
    with serving(folder) as address:
        yield f"{address}/index.html"


@pytest.fixture
def visit(browser, folder, served):
    contexts = []

    def open_(fragment="", where="file", width=1280, scheme="light", at=None):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.said, page.asked, page.bodies = [], [], {}
        page.on("console", lambda m: page.said.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: page.said.append(str(e)))
        page.on("request", lambda r: page.asked.append(r.url))
        page.on("response", lambda r: page.bodies.update({r.url: r}))
        home = ("file://", served.rsplit("/", 1)[0])
        page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(home) else route.abort())
        base = ((at or folder) / "index.html").as_uri() if where == "file" else served
        page.goto(base + fragment, wait_until="load")
        until(page, "document.body.dataset.view")
        return page

    yield open_
    for context in contexts:
        context.close()


def card_of(hook, feature):
    return f"#{hook.replace('<', '%3C').replace('>', '%3E')}/{feature}"


@pytest.mark.parametrize("where", ["file", "http"])
def test_a_feature_is_shown_by_its_address_with_nothing_from_elsewhere(visit, where, found):
    page = visit(card_of(B, 3), where)
    text = page.locator("#card").inner_text()
    assert f"{B} · feature 3" in text and "Strongest" in text and "At random" in text and "Nearest by direction" in text
    assert found[B].labels[3] in text and "Human text" in text
    assert page.said == [] and all(url.startswith(("file://", "http://127.0.0.1")) for url in page.asked)


def test_hostile_tokens_are_shown_and_never_run(visit, folder):
    page = visit(card_of(A, 0))
    for feature in range(0, 130, 13):
        page.goto((folder / "index.html").as_uri() + card_of(A, feature))
        until(page, f"document.querySelector('#card .where')?.textContent.endsWith('feature {feature}')")
    assert "run" not in page.title() and page.said == []
    assert page.locator("#card script, #card img, #card svg[onload], #card b b, #list script, h1 i").count() == 0
    assert page.locator("h1").inner_text() == "<i>Tiny</i>"
    page.locator("#query").fill("<script>")
    until(page, "/Features|feature/.test(document.querySelector('#status').textContent)")
    page.wait_for_timeout(150)
    assert "<script>document" in page.locator("#list").inner_text()
    for n in range(4):
        page.goto((folder / "index.html").as_uri() + f"#sentences/{n}")
        page.wait_for_selector(".prose-tokens")
        body = page.locator("body").text_content()
        assert not set("\u202e\u2066\x00\x1b\u2028\u200b") & set(body) and "\ufffd" not in body
    assert page.said == []


def test_the_policy_stops_what_would_run(visit):
    page = visit()
    page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'document.title = "run"';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="document.title = 1">');
    }""")
    page.wait_for_timeout(100)
    assert page.title() == "<i>Tiny</i>" and any("Content Security Policy" in text for text in page.said)


def test_all_of_it_goes_by_keyboard(visit):
    page = visit()
    until(page, "document.querySelector('#list a')")
    page.keyboard.press("/")
    until(page, "document.activeElement.id === 'query'")
    page.keyboard.type("word7")
    status = "document.querySelector('#status').textContent"
    until(page, f"/^\\d+ features?$/.test({status})")
    until(page, f"parseInt({status}) === features.find('word7', '', 'match').length")  # not of a part of what is typed
    page.keyboard.press("ArrowDown")
    first = page.evaluate("document.activeElement.getAttribute('href')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.getAttribute('href')") == first
    page.keyboard.press("Enter")
    page.wait_for_selector("#card .facts")
    assert page.evaluate("location.hash") == first and page.evaluate("document.activeElement.id") == "card"
    page.keyboard.press("ArrowRight")
    until(page, f"location.hash !== {first!r}")
    page.keyboard.press("ArrowLeft")
    until(page, f"location.hash === {first!r}")
    page.wait_for_timeout(100)
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.getAttribute('href')") == first
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.press("Escape")
    assert page.locator("#query").input_value() == ""


@pytest.mark.parametrize("presses", [1, 70])
def test_a_list_that_grows_under_the_hands_keeps_the_place(visit, presses):
    page, held = visit(), []
    until(page, "document.querySelector('#list a')")
    page.route("**/data/1/index.js", lambda route: held.append(route))
    page.locator("#query").focus()
    page.locator("#query").fill("word")
    until(page, "/in 1 of 2 sites/.test(document.querySelector('#status').textContent)")
    page.locator("#list a").first.focus()
    for _ in range(presses):
        if page.evaluate("document.activeElement === [...document.querySelectorAll('#list a')].pop()"):
            page.locator("#more").click()
        page.keyboard.press("ArrowDown")
    before = page.evaluate("document.activeElement.getAttribute('href')")
    assert before and len(held) == 1
    held[0].continue_()
    until(page, "!/so far/.test(document.querySelector('#status').textContent)")
    assert page.evaluate("document.activeElement.getAttribute('href')") == before
    page.keyboard.press("Enter")
    page.wait_for_selector("#card .facts")


def test_search_finds_names_tokens_numbers_and_sites(visit, found):
    page = visit()
    page.locator("#query").focus()
    until(page, "features.find('', '', 'match').length > 200")
    find = lambda q, sort="match": page.evaluate(  # noqa: E731
        "([q, sort]) => features.find(q, '', sort).map(e => [e.site, e.id, e.label, e.own, e.rate])", [q, sort]
    )
    assert [0, 129] in [x[:2] for x in find("129")] and [x[:2] for x in find("1.hook_mlp/5")] == [[1, 5]]
    assert all("word7" in x[2] + " ".join(x[3]) for x in find(" word7 ")) and find("word7")
    assert {x[0] for x in find("mlp_out")} == {1}
    rates = [x[4] for x in find("", "rare")]
    assert rates == sorted(rates) and rates[0] > 0
    assert find("nothing like this") == []
    bare = lambda label: re.sub('[“”"]', "", label).strip().lower()  # noqa: E731
    name = next(bare(x[2]) for x in find("") if bare(x[2]).startswith("word"))
    assert bare(find(name)[0][2]) == name  # what has just this name comes before what holds it


def test_a_feature_that_never_fires_says_so(visit, found):
    page = visit(card_of(B, 129))
    assert "never active at the 912 places" in page.locator("#card").inner_text()
    assert "never active at the 912 places" in feature_card(found, B, 129, VOCAB).html


def test_a_missing_shard_says_so_and_the_rest_works(visit, folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "data" / "1" / "0.js").unlink()
    (broken / "data" / "0" / "index.js").unlink()
    page = visit(card_of(B, 3), at=broken)
    assert "data/1/0.js is missing" in page.locator("#card").inner_text()
    page.evaluate("h => { location.hash = h }", card_of(B, 70))
    page.wait_for_selector("#card .facts")
    page.locator("#query").focus()
    until(page, "document.querySelector('#status').textContent.includes('data/0/index.js is missing')")
    assert page.locator("#list a").count() > 20


@pytest.mark.parametrize(
    "fragment", ["#nowhere/3", "#blocks.1.hook_mlp_out/9999", "#blocks.1.hook_mlp_out/x", "#sentences/99", "#%E0%A4%A"]
)
def test_an_address_of_nothing_is_no_dead_end(visit, fragment):
    page = visit(fragment)
    assert "Not here" in page.locator("#card").inner_text() or page.locator("#list a").count() > 20
    assert not [text for text in page.said if "Error" in text and "ERR_" not in text]


def test_a_sentence_shows_its_features_token_by_token(visit, found):
    page = visit("#sentences/1")
    until(page, "![...document.querySelectorAll('.strong a')].some(a => a.textContent.startsWith('Feature '))")
    buttons = page.locator(".prose-tokens button")
    assert buttons.count() > 10
    at = page.evaluate(
        "[...document.querySelectorAll('.prose-tokens button')].findIndex(b => b.ariaPressed === 'true')"
    )
    buttons.nth(at).focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".strong li, .strong .note").count() > 0
    page.locator(".strong a").first.focus()
    shaded = page.locator(".prose-tokens button.t .sr").all_text_contents()
    assert shaded and all(text.strip().endswith("%") for text in shaded)
    buttons.nth(0).click()
    assert "No feature is active at this token" in page.locator(".strong").inner_text()


@pytest.mark.parametrize("fragment", ["", card_of(B, 3), "#sentences/1"])
def test_nothing_is_wider_than_a_phone(visit, fragment):
    page = visit(fragment, width=375)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.locator("#card" if fragment else "#list").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fragment", ["", card_of(B, 3), card_of(B, 129), "#sentences/1"])
def test_axe_finds_nothing(visit, fragment, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(fragment, where="http", scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.context.set_default_timeout(20_000)
    found = Axe().run(page).response["violations"]
    assert not found, [(v["id"], [n["target"] for n in v["nodes"]][:4], v["nodes"][0]["any"][:1]) for v in found]


def test_the_theme_of_the_book_wins(visit):
    page = visit(where="http", scheme="light")
    page.evaluate("localStorage.setItem('mode', 'dark')")
    page.reload()
    until(page, "document.documentElement.dataset.theme === 'dark'")


def test_colour_is_never_alone(visit):
    page = visit(card_of(B, 3))
    shaded = page.locator("#card .t:not(.heat0)")
    assert shaded.count() > 10
    assert page.evaluate(
        "[...document.querySelectorAll('#card .t')]"
        ".every(t => t.classList.contains('heat0') === !t.querySelector('.sr'))"
    )


def test_a_card_of_a_notebook_and_one_of_the_pages_say_the_same(visit, found, browser):
    there = visit(card_of(A, 5)).locator("#card")
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    page = context.new_page()
    page.set_content(f"<!doctype html><meta charset=utf-8>{feature_card(found, A, 5, VOCAB).html}")
    here = page.locator(".feature-card")
    for part in (".name", ".where", ".facts", "h3", "h4", ".lines li", ".sides li > :last-child", "figcaption"):
        assert here.locator(part).all_text_contents() == there.locator(part).all_text_contents() != [], part
    near = [
        names.all_text_contents() for names in (page_.locator(".sides li > :first-child") for page_ in (here, there))
    ]
    assert near[0] == near[1] != []
    context.close()


def test_no_shade_has_the_name_of_a_heading(found):
    """Themes give ``h1`` to ``h6`` the size of headings: a card in a page of the book would show shaded words so."""
    classes = set(" ".join(re.findall(r'class="([^"]*)"', feature_card(found, A, 5, VOCAB).html)).split())
    assert any(name.startswith("heat") for name in classes)
    assert not {name for name in classes if re.fullmatch(r"h\d", name)}


def test_a_card_in_a_notebook_runs_nothing_and_reads_in_light_and_dark(browser, found):
    from axe_playwright_python.sync_playwright import Axe

    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        html = "".join(feature_card(found, A, f, VOCAB).html for f in (0, 1, 2))
        page.set_content(f"<!doctype html><html lang=en><title>t</title><main><h1>t</h1>{html}</main>")
        assert page.title() == "t" and page.locator("script, img, main svg[onload]").count() == 0
        violations = Axe().run(page).response["violations"]
        assert not violations, [(v["id"], v["nodes"][0]["html"]) for v in violations]
        context.close()


def test_search_is_quick_over_forty_thousand_features(browser, found, tmp_path):
    import base64
    import json

    folder = write_browser(tmp_path / "many", found, VOCAB)
    index = json.loads(gzip.decompress(base64.b64decode((folder / "data/1/index.js").read_text().split('"')[3])))
    index = {key: (column * 160)[:20_500] for key, column in index.items()}
    packed = base64.b64encode(gzip.compress(json.dumps(index).encode())).decode()
    for site in (0, 1):
        (folder / f"data/{site}/index.js").write_text(f'features.take("{site}/index", "{packed}");')
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri(), wait_until="load")
    page.locator("#query").focus()
    until(page, "features.find('', '', 'match').length > 40000")
    times = page.evaluate("""['word7', 'w', '<script>', 'mlp_out', '129', 'zzz'].map(q => {
        const start = performance.now();
        features.find(q, '', q === 'w' ? 'rare' : 'match');
        return performance.now() - start; })""")
    page.close()
    assert max(times) < 1000, times  # a hundredth of a second each on a quiet machine


def test_a_folder_of_something_else_is_left_alone(found, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="holds something else than a feature browser"):
        write_browser(tmp_path, found, VOCAB)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    made = write_browser(tmp_path / "new", found, VOCAB)
    (made / "data" / "old.js").write_text("")
    assert not (write_browser(made, found, VOCAB) / "data" / "old.js").exists(), "an old one is replaced as a whole"


def test_pages_are_the_same_however_many_write_them(found, folder, tmp_path):
    again = write_browser(tmp_path / "two", found, VOCAB, title="<i>Tiny</i>", processes=2)
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file()) and len(files) > 10
    assert all((folder / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_a_card_links_to_a_public_page_and_to_nothing_else(visit, found, tmp_path):
    public = dataclasses.replace(found, pages={B: "https://example.org/{feature}?<b>", A: "javascript:alert(1)"})
    made = write_browser(tmp_path / "public", public, VOCAB)
    link = visit(card_of(B, 3), at=made).locator("#card .where a")
    assert link.get_attribute("href") == "https://example.org/3?<b>" and link.inner_text() == "public page"
    assert visit(card_of(A, 3), at=made).locator("#card .where a").count() == 0
    assert 'href="https://example.org/3?&lt;b&gt;"' in feature_card(public, B, 3, VOCAB).html
    assert "javascript:" not in feature_card(public, A, 3, VOCAB).html.split("</p>")[0]


def test_words_come_back_from_their_file(tmp_path):
    Words(HOSTILE).save(tmp_path / "words.xz")
    assert Words.load(tmp_path / "words.xz").bytes == Words(HOSTILE).bytes


def test_it_leads_back_where_it_is_told_to(found, tmp_path):
    pages = [
        write_browser(tmp_path / name, found, VOCAB, home=home) for name, home in (("a", '../b"c.html'), ("b", None))
    ]
    there, none = ((page / "index.html").read_text(encoding="utf-8") for page in pages)
    assert '<a href="../b&quot;c.html">Back</a>' in there and "Back" not in none and "{{" not in there + none


def test_what_cannot_be_written_is_refused_by_name(found, tmp_path):
    for words, says in (
        (VOCAB[:9], "hold id .*; expected below 9"),
        (7, "words is a int"),
        (None, "words=None and lm=None"),
    ):
        with pytest.raises(ValueError, match=says):
            write_browser(tmp_path / "x", found, words)
    for name in ("fonts", "home"):
        with pytest.raises(ValueError, match=f"{name}=5; expected an address"):
            write_browser(tmp_path / "x", found, VOCAB, **{name: 5})
    with pytest.raises(TypeError, match="options top are for collecting"):
        write_browser(tmp_path / "x", found, VOCAB, top=3)
    with pytest.raises(ValueError, match="expected what was collected, or lm"):
        write_browser(tmp_path / "x", words=VOCAB)
    with pytest.raises(ValueError, match="feature=130; expected a whole number from 0 to 129"):
        feature_card(found, A, 130, VOCAB)
    assert not (tmp_path / "x").exists()


def test_one_call_makes_a_browser_of_a_saelens_folder(lm, saelens, tmp_path, visit):
    tokens = torch.randint(0, 5000, (16, 24), generator=seeded())
    hook = "blocks.1.hook_resid_pre"
    made = write_browser(tmp_path / "own", lm=lm, dictionaries={hook: saelens}, tokens=tokens, top=3)
    page = visit(f"#{hook}/0", at=made)
    text = page.locator("#card").inner_text()
    assert "Raises" in text and "Strongest" in text and page.said == []


def test_halves_of_characters_are_joined_and_the_rest_shown_by_value():
    words = Words(HOSTILE)
    ids = {token: i for i, token in enumerate(HOSTILE)}
    first, second = ids["café".encode()[:4]], ids["café".encode()[4:]]
    assert words.shown([first, second]) == ["café", ""] and words.shown([second]) == ["⟨A9⟩"]
    assert words.shown([ids[b"\xe2"], ids[b"\x82\xac"], ids[b"\xff"]]) == ["€", "", "⟨FF⟩"]
    assert words.shown([ids["\u202egnirts"], ids["\x00"], ids[""]]) == ["⟨U+202E⟩gnirts", "⟨U+0000⟩", "⟨⟩"]
    assert words.shown([ids["\n"], ids["שלום"]]) == ["↵", "שלום"]


def test_words_are_those_of_the_tokenizer(lm):
    words = Words(lm.tokenizer)
    for text in ("Héllo wörld — 日本 \U0001f600\n\tx", "<|im_start|>user"):
        ids = lm.tokenizer(text, add_special_tokens=False).input_ids
        assert b"".join(words.bytes[i] for i in ids).decode() == text
        assert "".join(words.shown(ids)) == text.replace("\n", "↵").replace("\t", "⇥")
