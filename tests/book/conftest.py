"""The small book, built once for all tests that look at it."""

import re

import pytest
import small_book


@pytest.fixture(scope="session")
def four():
    return small_book.executed(small_book.chapter_four())


@pytest.fixture(scope="session")
def small(tmp_path_factory, four):
    folder = small_book.write(tmp_path_factory.mktemp("small"), four)
    status, said = small_book.build(folder)
    assert status == 0, said
    return folder / "_build" / "html"


@pytest.fixture
def visit(browser, small):
    contexts = []

    def open_(name="notebooks/04_values.html", **options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 700}, **options}))
        page = contexts[-1].new_page()
        page.goto((small / name.split("#")[0]).as_uri() + "".join(re.findall("#.*", name)), wait_until="networkidle")
        return page

    yield open_
    for context in contexts:
        context.close()
