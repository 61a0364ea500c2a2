"""A planted rule is found and named, chance scores one half, and a null holds its level."""

import numpy as np
import pytest
import torch
from samples import seeded

from helpers.dashboard import Words, collect, name_features, nameable, null_gap, null_percentile
from helpers.dashboard.names import Names
from helpers.evidence import wilson

VOCAB, N, CTX = 40, 150, 32


class Planted:
    """A dictionary that passes its inputs on: as many features as there are dimensions."""

    def __init__(self, d: int):
        self.W_dec = torch.eye(d)

    def encode(self, x):
        return x.relu()

    def decode(self, codes):
        return codes


def planted(rules, seed: int = 0):
    tokens = torch.randint(0, VOCAB, (N, CTX), generator=seeded(seed))
    x = torch.stack([rule(tokens) for rule in rules], dim=-1).float()
    sets = {"model": tokens[: N // 2], "human": tokens[N // 2 :]}
    given = {"model": [(range(N // 2), {"a": x[: N // 2]})], "human": [(range(N - N // 2), {"a": x[N // 2 :]})]}
    return collect(None, sets, {"a": Planted(len(rules))}, activations=given, seed=seed)


def before(tokens, back: int):
    return torch.cat([torch.full((len(tokens), back), -1), tokens[:, :-back]], 1)


def often(share: float, seed: int):
    return lambda tokens: torch.rand(tokens.shape, generator=seeded(seed)) < share


@pytest.fixture(scope="module")
def words():
    return Words([f" w{i}" for i in range(VOCAB)])


def test_a_planted_rule_scores_near_one_and_is_its_own_name(words):
    rules = [
        lambda t: t == 7,
        lambda t: before(t, 1) == 3,
        lambda t: (t == 5) & (torch.arange(CTX) % 2 == 0),
        lambda t: (before(t, 1) == 8) & (t < 20),
        lambda t: (t == 9) | (t == 11),
    ]
    names = name_features(found := planted(rules), "a", words)
    assert (names.auroc[[0, 1, 3, 4]] > 0.9).all(), names.auroc
    assert names.auroc[2] < 0.9, "its own token does not tell where in the text it fires"
    assert names.labels[0] == "“w7”" and names.labels[1] == "after “w3”" and names.labels[3] == "after “w8”"
    assert set(names.labels[4].split(" · ")) == {"“w9”", "“w11”"}
    assert found["a"].labels == names.labels and np.allclose(found["a"].scores[:, 0], names.auroc)
    assert names.entropy[0] < 1e-9 and names.entropy[4] == pytest.approx(np.log(2), abs=0.05)


def test_a_feature_that_fires_by_chance_scores_one_half(words):
    names = name_features(planted([often(0.1, i) for i in range(60)]), "a", words)
    # a little below: what training places have too much of, held-out ones have too little of; the null's do as well
    assert abs(names.auroc.mean() - 0.5) < 0.04 and names.auroc.std() < 0.08


def test_half_of_what_a_classifier_must_tell_apart_shares_the_token(words):
    from helpers.dashboard.names import _Places

    found = planted([lambda t: (t < 4) & (before(t, 1) < 10)])
    yes, no = (places := _Places(found, "a")).balanced(0)
    assert (places.now[yes] < 4).all() and len(no) == len(yes)
    assert 0.45 < (places.now[no] < 4).mean() < 0.75
    assert ((places.before[no, 0] >= 4) | (places.before[no, 1] >= 10)).all(), "the feature is silent there"


def test_a_rare_feature_has_a_label_and_no_score_and_a_silent_one_neither(words):
    def once(tokens):
        return (tokens == 7) & (torch.arange(N)[:, None] == 3)

    names = name_features(planted([once, lambda t: t < 0, lambda t: t == 1]), "a", words)
    assert np.isnan(names.auroc[:2]).all() and names.labels[1] == "" and np.isfinite(names.auroc[2])


def test_the_null_holds_its_level():
    """Features like the null's are nameable in 5%, whatever their law: here scores depend on density and entropy."""
    rng = np.random.default_rng(0)

    def some(n):
        density, entropy = rng.lognormal(-5, 1.5, n), rng.uniform(0, 4, n)
        auroc = 0.5 + 0.08 * entropy + 0.02 * np.log(density) + rng.exponential(0.05, n)
        return Names([""] * n, auroc, np.full(n, np.nan), entropy, density)

    share = np.mean([nameable(null_percentile(some(1000), some(2000))).mean() for _ in range(5)])
    assert 0.035 < share < 0.065


def test_the_gap_says_which_features_the_null_has_no_like_of():
    """Where entropy alone makes scores, a null of high entropy calls low ones wrong; the gap tells them."""
    rng = np.random.default_rng(1)

    def some(n, low, high):
        density, entropy = rng.lognormal(-5, 1, n), rng.uniform(low, high, n)
        return Names([""] * n, 0.9 - 0.1 * entropy + rng.normal(0, 0.02, n), np.full(n, np.nan), entropy, density)

    null, mine = some(2000, 3, 4), some(2000, 1, 4)
    mine.auroc[0] = np.nan
    gap, named = null_gap(mine, null), nameable(null_percentile(mine, null))
    inside = (mine.entropy > 3.2) & (mine.entropy < 3.8)
    assert np.isnan(gap[0]) and np.nanmedian(gap[inside]) < 0.2 and np.nanmin(gap[mine.entropy < 2.7]) > 1
    assert named[1:][gap[1:] <= 0.3].mean() < 0.1 < 0.9 < named[mine.entropy < 2.7].mean()
    spread = np.log(null.density).std(), null.entropy.std()
    at = int(np.nanargmax(gap))
    own = np.stack([np.log(null.density), null.entropy], 1) / spread
    where = np.array([np.log(mine.density[at]), mine.entropy[at]]) / spread
    near = own[np.argsort(((own - where) ** 2).sum(1))[:100]]
    assert gap[at] == pytest.approx(np.abs(near.mean(0) - where).max())


def test_held_out_null_features_are_nameable_in_one_of_twenty(words):
    """All the way from activations: chance features of many rates, at random half of them the null of the others."""
    rates = np.geomspace(0.02, 0.3, 120)
    one, two = (planted([often(r, 1000 * s + i) for i, r in enumerate(rates)], seed=s) for s in (1, 2))
    null = name_features(two, "a", words)
    names, rng, shares = name_features(one, "a", words, null=null), np.random.default_rng(0), []
    pool = [np.concatenate(pair) for pair in zip(names[1:], null[1:], strict=True)]
    for _ in range(20):
        drawn = rng.permutation(len(pool[0]))
        mine, theirs = (Names([""] * 120, *(column[half] for column in pool)) for half in (drawn[:120], drawn[120:]))
        shares.append(nameable(null_percentile(mine, theirs)).mean())
    low, high = wilson(np.mean(shares), 2 * len(rates))
    assert low < 0.05 < high and 0 < np.mean(shares) < 0.08, shares
    assert abs(np.nanmean(names.percentile) - 0.5) < 0.1
    good = planted([lambda t: t == 7] * 3)
    assert nameable(name_features(good, "a", words, null=null).percentile).all()


def test_a_null_that_is_too_small_is_refused():
    few = Names([""] * 5, np.full(5, 0.5), np.full(5, np.nan), np.ones(5), np.full(5, 0.1))
    with pytest.raises(ValueError, match="5 scored features; expected at least 20"):
        null_percentile(few, few)


def test_names_need_a_known_hook(words):
    found = planted([lambda t: t == 7])
    with pytest.raises(ValueError, match="hook='b'; expected one of a"):
        name_features(found, "b", words)
