"""What is executed: delivered work and harm, writing until a plan passes, the best of several."""

import numpy as np
import pytest

from helpers.reviewer import Policy, ReviewedPlans, best_of, exact, halved, measures, retried, work


@pytest.fixture(scope="module")
def world():
    return ReviewedPlans()


@pytest.fixture(scope="module")
def plans(world):
    return Policy(world).plans(exact(world.but(drift=0.0), "none", steps=10).theta)


def test_work_of_a_gate_is_what_measures_says(world, plans):
    for time in (0.0, 0.3, 1.0):
        seen = measures(world, plans, time, gate=True)
        assert work(world, plans * (1 - world.q), time) == pytest.approx(
            {k: seen[k] for k in ("delivered", "executed_harm")}
        )


def test_one_try_is_the_gate_and_endless_tries_condition_on_passing(world, plans):
    assert retried(plans, world.q, 1) == pytest.approx(plans * (1 - world.q))
    endless = retried(plans, world.q)
    assert endless.sum() == pytest.approx(1) and endless == pytest.approx(retried(plans, world.q, 200))
    i, j = world.plan((0, 0, 2)), world.plan((2, 2, 3))
    shift = np.log(endless[i] / endless[j]) - np.log(plans[i] / plans[j])
    assert shift == pytest.approx(np.log((1 - world.q[i]) / (1 - world.q[j])))


def test_retrying_executes_more_harm_than_the_gate_with_the_same_weights(world, plans):
    harm = [work(world, retried(plans, world.q, tries), 1.0)["executed_harm"] for tries in (1, 2, 4, None)]
    assert harm == sorted(harm) and harm[-1] > 1.3 * harm[0]


def test_retrying_is_what_a_simulated_agent_does():
    p, q = np.array([0.5, 0.2, 0.3]), np.array([0.9, 0.2, 0.05])
    rng, counts, runs = np.random.default_rng(0), np.zeros(3), 20_000
    for _ in range(runs):
        for _ in range(3):
            plan = rng.choice(3, p=p)
            if rng.random() >= q[plan]:
                counts[plan] += 1
                break
    expected = retried(p, q, 3)
    assert (abs(counts / runs - expected) < 4.5 * (expected * (1 - expected) / runs) ** 0.5).all()


def test_the_best_of_n_is_what_drawing_n_gives(world, plans):
    score = (1 - world.q) * world.reward(1.0) + world.fallback * world.q
    assert best_of(plans, score, 1) == pytest.approx(plans)
    assert best_of(plans, score, 5).sum() == pytest.approx(1)
    rng, n, runs = np.random.default_rng(0), 4, 20_000
    drawn = rng.choice(plans.size, p=plans.ravel(), size=(runs, n))
    picked = np.take_along_axis(drawn, score.ravel()[drawn].argmax(1)[:, None], 1)[:, 0]
    seen, expected = np.bincount(picked, minlength=plans.size) / runs, best_of(plans, score, n).ravel()
    assert (abs(seen - expected) < 5 * (expected / runs) ** 0.5 + 1e-4).all()


def test_picking_by_what_gets_through_lowers_recall_and_picking_by_pay_does_not(world, plans):
    pay = world.reward(1.0) + 0 * world.q
    through = (1 - world.q) * pay + world.fallback * world.q
    start = measures(world, plans, 1.0, True)["recall"]
    assert measures(world, best_of(plans, pay, 32), 1.0, True)["recall"] == pytest.approx(start)
    falls = [measures(world, best_of(plans, through, n), 1.0, True)["recall"] for n in (1, 2, 4, 8, 16, 64)]
    assert falls == sorted(falls, reverse=True) and falls[-1] < 0.1 * start


def test_what_pays_the_same_ties(world, plans):
    assert (world.reward(0.0) == world.pays).all() and (world.reward(1.0) == world.later).all()
    pay = world.reward(1.0) + 0 * world.q
    for score in (pay, (1 - world.q) * pay + world.fallback * world.q):
        jitter = score * (1 + 1e-15 * np.random.default_rng(0).standard_normal(score.shape))
        assert best_of(plans, jitter, 8) == pytest.approx(best_of(plans, score, 8))
    assert best_of(plans, pay, 64)[:, 0].sum() == pytest.approx(plans[:, 0].sum() / plans[:, [0, 2, 3]].sum())


def test_halving_is_counted_from_the_first_value():
    assert halved([0.8, 0.5, 0.4, 0.39]) == 2 and halved([0.8, 0.41]) is None


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda p, q: retried(p, q, 0), "tries=0; expected a whole number of at least 1"),
        (lambda p, q: retried(p, 0 * q + 1.0), "every plan is vetoed; expected a plan that can pass"),
        (lambda p, q: retried(p, q[:2]), r"q has shape \(2, 4\); expected \(9, 4\)"),
        (lambda p, q: best_of(p, q, 2.5), "n=2.5; expected a whole number of at least 1"),
        (lambda p, q: best_of(p * float("nan"), q, 2), "p has values that are not finite"),
        (lambda p, q: work(ReviewedPlans(), p[:3], 0.0), r"executed has shape \(3, 4\); expected \(9, 4\)"),
        (lambda p, q: halved([]), r"recall has shape \(0,\); expected a value a step"),
    ],
)
def test_what_cannot_be_executed_is_named(world, plans, call, message):
    with pytest.raises(ValueError, match=message):
        call(plans, world.q)
