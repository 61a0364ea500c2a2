"""What ``tools/mutants.py`` knows of the modules that it changes is not out of date."""

from pathlib import Path

import mutants

ROOT = Path(__file__).resolve().parents[2]


def test_its_modules_and_their_tests_are_there():
    assert set(mutants.SAME) == set(mutants.TESTS)
    for module, arguments in mutants.TESTS.items():
        assert (ROOT / module).is_file()
        files = [part.split("::")[0] for part in arguments if part.startswith("tests/")]
        assert files and all((ROOT / file).is_file() for file in files)


def test_the_lines_that_may_say_the_same_in_other_words_are_lines_of_today():
    for module, lines in mutants.SAME.items():
        source = (ROOT / module).read_text("utf-8")
        assert [old for old in lines if old not in source] == []


def test_a_mutant_is_spared_by_its_old_and_its_new_line_together():
    same = {"x == 0": ["x <= 0"]}
    spared = mutants.Mutant("ReplaceComparison", 1, "if x == 0:", "if x <= 0:", "")
    assert mutants._says_the_same(spared, same)
    assert not mutants._says_the_same(spared._replace(now="if x >= 0:"), same)
    assert not mutants._says_the_same(spared._replace(was="if y == 0:"), same)
