"""A share of a gain from losses in whatever guise they come: what plain numpy gives, or an error that names them."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_properties import answer, quick

from helpers.evidence import bootstrap_share

ARMS = {"standard": 0.0, "expanded": 0.1, "gated": 0.2}
GUISES = {
    "array": lambda x: x,
    "list": lambda x: x.tolist(),
    "float32": lambda x: x.astype(np.float32),
    "half": lambda x: x.astype(np.float16),
    "tensor": torch.from_numpy,
    "half tensor": lambda x: torch.from_numpy(x).half(),
    "grad": lambda x: torch.from_numpy(x).requires_grad_(),
    "view of grad": lambda x: torch.stack([torch.from_numpy(x)] * 2).requires_grad_()[1],
    "strided": lambda x: np.stack([x, x + 1], -1)[..., 0],
    "backwards": lambda x: x[..., ::-1].copy()[..., ::-1],
    "transposed": lambda x: torch.from_numpy(x).permute(2, 1, 0).contiguous().permute(2, 1, 0),
    "whole": lambda x: (x * 1000).astype(int),
    "bool": lambda x: x > 0,
    "complex": lambda x: x + 0j,
    "words": lambda x: x.astype(str),
    "none": lambda x: None,
    "vector": lambda x: x[0, 0],
    "no sequence": lambda x: x[..., :0],
    "one sequence": lambda x: x[..., :1],
    "two of three": lambda x: x[:, :2],
    "four of three": lambda x: np.concatenate([x, x[:, :1]], 1),
    "one split of several": lambda x: x[None],
    "one text": lambda x: x[0],
    "one more axis": lambda x: x[..., None],
    "no split": lambda x: x[:0],
    "NaN": lambda x: np.where(x == x.max(), np.nan, x),
    "infinite": lambda x: np.where(x == x.max(), np.inf, x),
}
REFUSED = {"bool", "complex", "words", "none", "vector", "no sequence", "two of three", "four of three"}
REFUSED |= {"one text", "one more axis", "one split of several", "no split", "NaN", "infinite"}


def swept(seeds=(0, 1), levels=3, sequences=6, seed=0):
    """A table of runs and their losses; expanded closes half of gated's gain at every L0."""
    rows, losses, rng = [], {}, np.random.default_rng(seed)
    texts = rng.normal(0, 0.3, sequences)
    for run, (arm, better), level in itertools.product(seeds, ARMS.items(), range(levels)):
        l0 = 8.0 * 2**level
        rows.append({"architecture": arm, "site": "s", "seed": run, "level": level, "l0": l0, "l0_human": 2 * l0})
        spliced = 5 - np.log(l0) / 4 - better
        losses[f"{arm}/s/{run}/{level}"] = np.array([[[3.0], [spliced], [9.0]]] * 2) + texts
    return pd.DataFrame(rows), losses


@quick
@given(
    st.sampled_from(sorted(GUISES)), st.booleans(), st.sampled_from([0, 1]), st.integers(1, 3), st.integers(1, 3),
    st.integers(1, 5),
)  # fmt: skip
def test_a_share_is_what_was_put_in_or_the_losses_are_named(guise, every, split, seeds, levels, n):
    table, losses = swept(range(seeds), levels)
    plain = dict(losses)
    for key in losses if every else [max(losses)]:
        losses[key] = GUISES[guise](losses[key])
    odd = guise in REFUSED or (guise == "one sequence" and not every)
    seen = answer(["losses", "arm"], bootstrap_share, table, losses, "s", split, n=n)
    assert (seen is None) == (odd or levels < 2)
    if seen is None:
        return
    value, draws = seen
    assert isinstance(value, float) and draws.shape == (n,) and draws.dtype == np.float64
    if guise != "whole" or every:
        rough = "half" in guise
        assert value == pytest.approx(0.5, abs=0.02 if rough or guise == "whole" else 1e-5)
        assert draws == pytest.approx(np.full(n, 0.5), abs=0.02 if rough or guise == "whole" else 1e-5)
    if guise in ("array", "strided", "backwards", "transposed", "tensor", "grad", "view of grad", "list"):
        other, same = bootstrap_share(table, plain, "s", split, n=n)
        assert value == other and np.array_equal(draws, same)


def test_texts_drawn_together_and_seeds_drawn_with_them_make_the_spread():
    """Against a bootstrap that is written out: one seed's share for every draw of texts."""
    table, losses = swept((0,), sequences=40)
    rng = np.random.default_rng(3)
    clean, zero = rng.gamma(1, 2, (2, 40))  # texts differ in what can be lost on them
    for key in losses:
        losses[key][:, 0] += clean
        losses[key][:, 2] += zero
        losses[key][:, 1] += rng.normal(0, 0.2, 40) * (0.5 + ARMS[key.split("/")[0]])

    def share(picked):
        l0, y = np.log([8.0, 16.0, 32.0]), {}
        for arm in ARMS:
            clean, spliced, zero = np.stack([losses[f"{arm}/s/0/{i}"][0][:, picked].mean(1) for i in range(3)], 1)
            y[arm] = np.interp(np.linspace(l0[0], l0[-1], 33), l0, (zero - spliced) / (zero - clean)).mean()
        return (y["expanded"] - y["standard"]) / (y["gated"] - y["standard"])

    value, draws = bootstrap_share(table, losses, "s", 0, n=2000)
    by_hand = [share(rng.integers(0, 40, 40)) for _ in range(2000)]
    assert value == pytest.approx(share(np.arange(40)))
    assert value not in bootstrap_share(table, losses, "s", 0, n=3)[1], "a draw is none of the sample itself"
    assert np.quantile(draws, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(by_hand, [0.1, 0.5, 0.9]), abs=0.01)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"split": 2}, "split=2"), ({"split": -1}, "split=-1"), ({"split": None}, "split=None"),
        ({"split": "a"}, "split='a'"), ({"site": "t"}, "site='t'"), ({"arm": "topk"}, "arm='topk'"),
        ({"best": "topk"}, "arm='topk'"), ({"base": None}, "arm=None"), ({"n": 0}, "n=0"), ({"n": 1.5}, "n=1.5"),
        ({"n": np.nan}, "n=nan"), ({"seed": -1}, "seed=-1"), ({"seed": "a"}, "seed='a'"),
        ({"table": None}, "table is None"), ({"table": pd.DataFrame()}, "table lacks 'architecture'"),
        ({"losses": None}, "losses is a NoneType"), ({"losses": {}}, "losses lacks 'standard/s/0/0'"),
        ({"losses": [1]}, "losses is a list"),
    ],
)  # fmt: skip
def test_what_has_no_share_is_named(change, named):
    table, losses = swept()
    arguments = {"table": table, "losses": losses, "site": "s", "split": 0, "n": 3} | change
    with pytest.raises(ValueError, match=named):
        bootstrap_share(**arguments)


@pytest.mark.parametrize("guise", sorted(REFUSED))
def test_one_run_of_no_use_is_named_on_either_split(guise):
    table, losses = swept()
    losses["gated/s/1/0"] = GUISES[guise](losses["gated/s/1/0"])
    for split in (0, 1):
        with pytest.raises(ValueError, match=r"losses\['gated/s/1/0'\]"):
            bootstrap_share(table, losses, "s", split, n=1)


def test_two_thousand_draws_of_the_first_seed_unless_told():
    table, losses = swept()
    losses["gated/s/1/0"] += np.random.default_rng(0).normal(0, 0.1, 6)
    value, draws = bootstrap_share(table, losses, "s", 0)
    assert np.array_equal(draws, bootstrap_share(table, losses, "s", 0, n=2000, seed=0)[1]) and len(draws) == 2000
    assert not np.array_equal(draws, bootstrap_share(table, losses, "s", 0, seed=1)[1])


def test_losses_of_the_split_that_is_asked_are_enough_and_all_of_equally_many_texts():
    table, losses = swept()
    first = {key: loss[:1] for key, loss in losses.items()}
    assert bootstrap_share(table, first, "s", 0, n=1)[0] == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"losses\['standard/s/0/0'\] has shape \(1, 3, 6\)"):
        bootstrap_share(table, first, "s", 1, n=1)
    losses["gated/s/1/2"] = losses["gated/s/1/2"][..., :4]
    with pytest.raises(ValueError, match=r"losses are of \[4, 6\] sequences; expected equally many in every run"):
        bootstrap_share(table, losses, "s", 0, n=1)


def test_columns_of_the_split_that_is_asked_are_enough():
    table, losses = swept()
    assert bootstrap_share(table.drop(columns="l0_human"), losses, "s", 0, n=1)[0] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="table lacks 'l0_human'"):
        bootstrap_share(table.drop(columns="l0_human"), losses, "s", 1, n=1)
    seeds_apart = table[(table.seed == 0) | (table.architecture != "gated")]
    assert bootstrap_share(seeds_apart, losses, "s", 0, n=1)[0] == pytest.approx(0.5)


def test_other_sites_and_other_arms_in_the_table_change_nothing():
    table, losses = swept()
    elsewhere = [table.assign(site="a", l0=3.0), table.assign(site="z", l0=3.0), table.assign(architecture="topk")]
    more = pd.concat([table, *elsewhere], ignore_index=True)
    one, other = (bootstrap_share(each, losses, "s", 0, n=5) for each in (table, more))
    assert one[0] == other[0] and np.array_equal(one[1], other[1])


def test_each_run_is_measured_by_what_ablation_costs_it():
    """Seeds with another clean and ablated loss: a gain of 0.1 of 6 nats is less than one of 0.2 of 2."""
    table, losses = swept((0, 1))
    for arm, level in itertools.product(ARMS, range(3)):
        losses[f"{arm}/s/1/{level}"][:, 2] -= 4
        losses[f"{arm}/s/1/{level}"][:, 1] -= 0.1 * (arm == "expanded")
    value, _ = bootstrap_share(table, losses, "s", 0, n=1)
    assert value == pytest.approx((0.1 / 6 + 0.2 / 2) / (0.2 / 6 + 0.2 / 2))


def test_runs_of_one_seed_more_than_others_are_left_out():
    """Seeds with fewer runs are not among those that are drawn."""
    table, losses = swept((0, 1, 2))
    for level in range(3):
        losses[f"expanded/s/2/{level}"][:, 1] += 0.1  # in this seed expanded gains nothing
    fewer = table.drop(table[(table.seed == 2) & (table.level == 1) & (table.architecture == "gated")].index)
    assert bootstrap_share(table, losses, "s", 0, n=1)[0] == pytest.approx(1 / 3)
    value, draws = bootstrap_share(fewer, losses, "s", 0, n=30)
    assert value == pytest.approx(0.5) and draws == pytest.approx(np.full(30, 0.5))
    _, draws = bootstrap_share(table, losses, "s", 0, n=200)
    assert np.mean([round(3 - d * 6) for d in draws]) == pytest.approx(1, abs=0.25), "each as often as another"
    assert {round(d * 6) for d in draws} == {0, 1, 2, 3}, "of three draws none to all hit the odd seed"
