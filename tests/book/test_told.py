"""What stands behind a number, a source or a term, as a reader gets at it: hover, keyboard, tap, paper, no scripts."""


def share(tab):
    return tab.locator(".told.number", has_text="11 of 16").nth(1)  # the first is the opening's


def more(tab):
    return share(tab).locator(".told-more")


def arrived(tab, where):
    """Wait for an address that holds ``where``: a key that is pressed returns before the browser has gone anywhere."""
    tab.wait_for_url(lambda url: where in url)


def test_hover_shows_what_stands_behind_a_number_and_leaving_hides_it(visit):
    tab = visit()
    assert not more(tab).is_visible()
    share(tab).locator("a").hover()
    assert more(tab).is_visible()
    words = more(tab).inner_text().split("\n")
    assert words == [
        "9 to 13 of 16",
        "95%, over words",
        "If there were nothing: 1 of 16, by chance",
        "How it was computed",
    ]
    tab.mouse.move(5, 5)
    more(tab).wait_for(state="hidden", timeout=2000)


def test_the_keyboard_reaches_it_and_escape_closes_it(visit):
    tab = visit()
    share(tab).locator("a").focus()
    assert more(tab).is_visible()
    tab.keyboard.press("Escape")
    assert not more(tab).is_visible()
    tab.keyboard.press("Tab")
    assert tab.locator(".told.open").count() == 1  # the next number


def test_enter_goes_to_the_cell_that_computed_it(visit):
    tab = visit()
    share(tab).locator("a").focus()
    tab.keyboard.press("Enter")
    arrived(tab, "#ch04_back")
    assert tab.locator("#ch04_back").count() == 1


def test_the_first_tap_shows_and_the_second_goes(visit):
    tab = visit(viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True)
    share(tab).locator("a").tap()
    assert more(tab).is_visible() and "#ch04_back" not in tab.url
    box = more(tab).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 375
    share(tab).locator("a").tap()
    arrived(tab, "#ch04_back")


def test_nothing_moves_when_it_opens(visit):
    tab = visit()
    share(tab).locator("a").scroll_into_view_if_needed()
    before = tab.locator("article").bounding_box()
    share(tab).locator("a").hover()
    assert more(tab).is_visible() and tab.locator("article").bounding_box() == before


def test_on_paper_the_interval_stands_in_brackets(visit):
    tab = visit()
    tab.emulate_media(media="print")
    assert share(tab).inner_text().split() == ["11", "of", "169", "to", "13", "of", "16"]
    before = share(tab).locator(".interval").evaluate("e => getComputedStyle(e, '::before').content")
    assert before == '" ("' and more(tab).evaluate("e => getComputedStyle(e).position") == "static"
    assert tab.locator(".told.number", has_text="110").first.inner_text() == "110"


def test_without_scripts_too(visit):
    tab = visit(java_script_enabled=False)
    assert share(tab).locator(".interval").is_visible() and not share(tab).locator(".way").is_visible()


def test_a_screen_reader_gets_it_as_a_description(visit):
    link = share(visit()).locator("a")
    described = link.get_attribute("aria-describedby")
    assert link.page.locator(f"#{described}").get_attribute("role") == "tooltip"
    assert "9 to 13 of 16" in link.page.locator(f"#{described}").text_content()


def test_sources_and_terms_say_what_they_are_and_lead_there(visit):
    tab = visit()
    for kind, said, there in (
        ("source", "Do sparse autoencoders find", "references.html#"),
        ("term", "The bias of a code", "#term-shrinkage"),
    ):
        one = tab.locator(f".told.{kind}").first
        one.locator("a").focus()
        assert said.lower() in one.locator(".told-more").inner_text().lower()
        one.locator("a").press("Enter")
        arrived(tab, there)
        tab.go_back(wait_until="load")


def test_a_claim_is_a_row_and_on_a_phone_a_card_whose_lines_say_what_they_are(visit):
    wide = visit().locator("table.claims tbody tr").first
    assert wide.locator("td").nth(1).inner_text().startswith("11 of 16")
    phone = visit(viewport={"width": 375, "height": 700}).locator("table.claims tbody tr").first
    assert phone.locator("td").nth(1).inner_text().startswith("measured: 11 of 16")
    tops = [cell.bounding_box()["y"] for cell in phone.locator("td").all()]
    assert tops == sorted(set(tops))


def test_on_a_phone_a_picture_is_as_wide_as_the_screen(visit):
    tab = visit(viewport={"width": 375, "height": 700})
    assert tab.locator("a.enlarge img").first.bounding_box()["width"] == 375


def test_a_chapter_opens_with_its_stance(visit):
    opening = visit().locator("p.opening")
    assert opening.locator(".stance").inner_text() == "No." and opening.locator(".told").count() == 2


def test_the_front_page_takes_picture_stance_and_sentence(visit):
    tab = visit("index.html")
    card = tab.locator(".thread-card").first
    assert card.locator("img").evaluate("e => e.naturalWidth") > 0
    assert card.locator("img").get_attribute("alt") == "Bars of what comes back, fig-ch04-answer"
    assert card.locator(".stance").inner_text() == "No." and "Do the old values do it?" in card.inner_text()
    assert tab.locator(".thread-card").nth(2).locator(".thread-verdict").inner_text() == "open"
    card.locator(".told a").first.press("Enter")
    arrived(tab, "04_values.html#ch04_back")
