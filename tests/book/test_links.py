"""Links on the built pages lead somewhere; and the check finds those that don't."""

import links
import pytest

PAGE = '<html><body id="top"><h1 id="here">x</h1>{}</body></html>'


def test_every_link_of_the_book_leads_to_a_file_and_a_place(site):
    assert not links.broken(site)
    assert len(links.outside(site)) > 20


def test_so_does_every_link_of_the_small_book_with_an_address_stamped_in(published):
    assert not links.broken(published, "/book/")


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ('<a href="other.html">', ""),
        ('<a href="other.html#there">', ""),
        ('<a href="#here">', ""),
        ('<a href="#">', ""),
        ('<a href="folder/">', ""),
        ('<img src="picture%20one.png">', ""),
        ('<a href="https://example.org/a?b#c">', ""),
        ('<a href="mailto:a@example.org">', ""),
        ('<a href="/other.html">', ""),
        ('<a href="nowhere.html">', "no such file"),
        ('<a href="other.html#nowhere">', "no such place"),
        ('<a href="#nowhere">', "no such place"),
        ('<a href="../outside.html">', "no such file"),
        ('<img src="nowhere.png">', "no such file"),
        ('<img src="picture%20one.png" srcset="picture%20one.png 1x, nowhere.png 2x">', "no such file"),
        ('<script src="nowhere.js"></script>', "no such file"),
        ('<form action="nowhere.html">', "no such file"),
        ('<a href="https://example">', "no proper address"),
        ('<a href="javascript:void(0)">', "scheme"),
        ('<a href="file:///home/me/x.html">', "scheme"),
    ],
)
def test_the_check_tells_a_link_that_leads_nowhere(tmp_path, link, why):
    site = tmp_path / "site"
    (site / "folder").mkdir(parents=True)
    (tmp_path / "outside.html").touch()
    (site / "picture one.png").touch()
    (site / "other.html").write_text('<p id="there">')
    (site / "folder" / "index.html").write_text("<p>")
    (site / "page.html").write_text(PAGE.format(link))
    found = links.broken(site)
    assert len(found) == bool(why) and why in "".join(found)
