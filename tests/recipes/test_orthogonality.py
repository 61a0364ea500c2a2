"""Absorption and composition are found where they were planted, and only there."""

import pandas as pd
import pytest
import torch
from samples import seeded
from torch.nn.functional import normalize

from helpers.runs import artifact
from helpers.sae import SparseFeatures
from recipes import absorption, orthogonality

TOY = SparseFeatures(8, 12, p=0.3, structure="hierarchical", generator=seeded(3))  # two trees of a root and 3 children


def described(rows, codes):
    """``codes`` is a function of the true ones; latents beyond the true features come after them."""
    _, truth = TOY.sample(4000, seeded(5))
    return orthogonality.describe(normalize(rows, dim=1), codes(truth), truth, TOY.features)


def test_the_true_dictionary_has_no_defect():
    seen = described(TOY.features, lambda truth: truth)
    assert (seen["absorbed"], seen["absorbing"], seen["composed"]) == (0, 0, 0)
    assert seen["recovery"] == pytest.approx(1) and seen["alive"] == 1


def test_a_child_that_absorbs_its_root_is_counted():
    rows = TOY.features.clone()
    rows[1] += rows[0]  # a child of the first root: its latent supplies the root too, whose own latent is then silent

    def codes(truth):
        found = truth.clone()
        found[truth[:, 1] > 0, 0] = 0
        return found

    seen = described(rows, codes)
    assert seen["absorbing"] == 1 / 8 and seen["composed"] == 0
    # the first root is silent on 4 in 7 of the inputs with a child of its, the other root on none
    assert seen["absorbed"] == pytest.approx(2 / 7, abs=0.02)


def test_a_latent_for_two_siblings_or_two_trees_is_composed_not_absorbing():
    rows = TOY.features.clone()
    rows[1] += rows[2]
    rows[3] += rows[4]
    seen = described(rows, lambda truth: truth)
    assert seen["composed"] == 2 / 8 and seen["absorbing"] == 0 and seen["absorbed"] == 0


def test_reading_is_by_coefficients_where_features_are_close():
    close = SparseFeatures(8, 12, p=0.3, overlap=0.5, generator=seeded(3))
    _, truth = close.sample(500, seeded(5))
    seen = orthogonality.describe(close.features, truth, truth, close.features)
    assert seen["composed"] == seen["absorbing"] == 0 and seen["cosine_1"] == pytest.approx(0.5, abs=1e-5)


def test_settings_begin_without_a_penalty():
    assert orthogonality.settings({"max": (0.1, 1.0)}) == [
        {},
        {"orthogonality": 1.0, "penalty": "max"},
        {"orthogonality": 0.1, "penalty": "max"},
    ]


def test_each_penalised_seed_stands_beside_one_as_wide_as_what_lives(monkeypatch):
    runs = []

    def toy_run(toy, architecture, seed, steps, d_sae, **setting):
        runs.append((toy, architecture, seed, d_sae, setting))
        return {"alive": {"max": 0.75, "chunk_max": 0.5}.get(setting.get("penalty"), 1.0)}

    monkeypatch.setattr(orthogonality, "toy_run", toy_run)
    rows = orthogonality.matched("hierarchy", "topk", 3)["rows"]
    assert [row["penalty"] for row in rows] == ["none", "max", "chunk_max", "width of max", "width of chunk_max"]
    assert [row["d_sae"] for row in rows] == [64, 64, 64, 48, 32]
    assert {run[:3] for run in runs} == {("hierarchy", "topk", 3)}
    assert [bool(run[4]) for run in runs] == [True, True, False, False, False]  # in the order in which they are run
    # of a feature that is on with probability p: p (1 + 1/16) - p²; roots with 0.15, children with half of it
    variance = 8 * (0.15 * 1.0625 - 0.15**2) + 24 * (0.075 * 1.0625 - 0.075**2) + 48 * 0.02**2
    assert rows[1]["orthogonality"] == pytest.approx(0.25 * variance, rel=0.02) and rows[3]["orthogonality"] == 0


def test_widths_of_the_shipped_controls_are_those_alive_beside_them():
    table = pd.read_csv(artifact("orthogonality_seeds.csv"))
    for _, run in table.groupby(["toy", "architecture", "seed"]):
        rows = run.set_index("penalty")
        for form in orthogonality.FORMS:
            assert rows.d_sae[f"width of {form}"] == round(64 * rows.alive[form])


# First letters


def test_words_are_single_tokens_with_a_space_and_a_letter():
    class Spells:
        pieces = (" able", " Bad", "cat", " do", " e1f", " Fish", " gOt", " héros", " zoo")

        def decode(self, ids):
            return self.pieces[ids[0]]

    ids, letter, train = absorption.drawn(Spells(), 9)
    found = {Spells.pieces[i]: n for i, n in zip(ids.tolist(), letter.tolist(), strict=True)}
    assert found == {" able": 0, " Bad": 1, " Fish": 5, " zoo": 25}
    assert train.shape == ids.shape and train.dtype == torch.bool


def test_the_probe_named_no_more_words_than_there_were():
    probe = pd.read_csv(artifact("orthogonality_probe.csv"))
    letters = pd.read_csv(artifact("orthogonality_letters.csv"))
    assert (probe.named <= probe.held_out).all() and set(probe.letter) == set(letters.letter)
    assert letters.merge(probe, on="letter").eval("words == named").all()


N_WORDS, KINDS = 1500, 30


@pytest.fixture(scope="module")
def spelled():
    """Words with a letter (3 of them) and one of 30 kinds, each along its own direction; and those directions."""
    directions = torch.linalg.qr(torch.randn(40, 40, generator=seeded(1))).Q
    letter = torch.randint(3, (N_WORDS,), generator=seeded(2))
    kind = torch.randint(KINDS, (N_WORDS,), generator=seeded(4))
    noise = 0.01 * torch.randn(N_WORDS, 40, generator=seeded(6))
    x = directions[letter] + directions[3 + kind] + noise + 5 * directions[-1]
    w = absorption.with_probe(x, letter, torch.rand(N_WORDS, generator=seeded(7)) < 0.5)
    assert w.sees.all()
    return w, kind, directions


def dictionary(spelled, absorbed_kinds):
    """A latent per letter and per kind; for some kinds one per kind and letter, beside which the letter's is silent."""
    w, kind, directions = spelled
    rows, codes = [*directions[: 3 + KINDS]], torch.zeros(N_WORDS, 3 + KINDS + 3 * len(absorbed_kinds))
    codes[torch.arange(N_WORDS), w.letter] = 1
    codes[torch.arange(N_WORDS), 3 + kind] = 1
    for i, (k, letter) in enumerate((k, letter) for k in absorbed_kinds for letter in range(3)):
        rows.append((directions[letter] + directions[3 + k]) / 2**0.5)
        here = (kind == k) & (w.letter == letter)
        codes[here] = 0
        codes[here, 3 + KINDS + i] = 2**0.5
    return codes, torch.stack(rows), 5 * directions[-1]


@pytest.mark.parametrize("absorbed_kinds", [(), (0,), (0, 4, 7)], ids=len)
def test_absorbed_words_are_counted_exactly(spelled, absorbed_kinds):
    w, kind, _ = spelled
    rows = absorption.letters(*dictionary(spelled, absorbed_kinds), w)
    assert [row["letter"] for row in rows] == ["a", "b", "c"]
    for letter, row in enumerate(rows):
        held = (w.letter == letter) & ~w.train
        expected = torch.isin(kind[held], torch.tensor(absorbed_kinds)).double().mean().item()
        assert row["main"] == 1 and row["words"] == held.sum()
        assert row["absorbed"] == pytest.approx(expected) and row["fraction"] == pytest.approx(expected)
        assert row["recall"] == pytest.approx(1 - expected)


def test_a_latent_that_is_shared_half_and_half_is_a_fraction(spelled):
    w, kind, directions = spelled
    codes, rows, b_dec = dictionary(spelled, ())
    here = (kind == 0) & (w.letter == 0)
    codes = torch.cat([codes, here[:, None].float() * 0.5], dim=1)
    codes[here, 0] = 0.5  # the letter's own latent supplies one half, a second latent along it the other
    seen = absorption.letters(codes, torch.cat([rows, directions[:1]]), b_dec, w)[0]
    share = here[(w.letter == 0) & ~w.train].double().mean().item()
    assert seen["absorbed"] == 0
    assert seen["fraction"] == pytest.approx(share / 2, rel=0.05)


def test_a_silent_latent_that_nothing_replaces_is_not_absorbed(spelled):
    w, kind, _ = spelled
    codes, rows, b_dec = dictionary(spelled, ())
    codes[(kind == 0), :3] = 0
    seen = absorption.letters(codes, rows, b_dec, w)
    assert all(row["absorbed"] == 0 and row["fraction"] == 0 and row["recall"] < 1 for row in seen)


def test_scale_changes_nothing(spelled):
    w, _, _ = spelled
    codes, rows, b_dec = dictionary(spelled, (0,))
    assert absorption.letters(3 * codes, rows, 3 * b_dec, w, scale=3.0) == absorption.letters(codes, rows, b_dec, w)
