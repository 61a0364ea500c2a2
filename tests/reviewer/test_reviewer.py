"""What a verdict touches decides what it does: claims about the reviewed world and its two learners."""

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from helpers.reviewer import (
    ARMS,
    OUTCOMES,
    Policy,
    ReviewedPlans,
    exact,
    expected_credit,
    measures,
    sampled,
    spillover,
    split,
)

REVIEWED = [name for name, arm in ARMS.items() if arm.learns != "never" and name not in ("none", "sandbox")]


@pytest.fixture(scope="module")
def world():
    return ReviewedPlans()


@pytest.fixture(scope="module")
def theta(world):
    """An agent trained for a while without a reviewer."""
    return exact(world.but(drift=0.0), "none", steps=10).theta


@pytest.fixture(scope="module")
def runs(world, theta):
    return {arm: exact(world, arm, theta=theta).log for arm in ARMS}


def test_the_environment_passes_gymnasiums_checker():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(ReviewedPlans(), skip_render_check=True)  # there is nothing to render


def test_an_episode_is_a_horizon_and_a_veto_stops_the_plan():
    world = ReviewedPlans(recall=1.0, false_alarms=0.0, threshold=0.0, width=0.01, horizon=3)
    world.reset(seed=0)
    _, reward, ended, cut, info = world.step((0, 0, 2))
    assert (reward, ended, cut) == (world.fallback, False, False)
    assert info == {"vetoed": True, "harm": 1.0, "executed_harm": 0.0}
    _, reward, _, cut, info = world.step((0, 0, 0))
    assert reward == pytest.approx(world.reward(1 / 3)[0]) and not info["vetoed"] and not cut
    assert world.step((0, 0, 0))[3]
    with pytest.raises(ValueError, match="action=.*expected a member"):
        world.step((0, 0, 9))


def test_the_reviewers_verdicts_come_at_the_stated_rate(world):
    world.reset(seed=1)
    for action in ((0, 0, 2), (2, 2, 3), (1, 2, 3), (0, 0, 0)):
        seen = np.mean([world.step(action)[4]["vetoed"] for _ in range(2000)])
        assert abs(seen - world.q[world.plan(action)]) < 0.045, action  # four standard errors


def test_recall_and_false_alarms_are_the_ends_of_the_reviewers_range(world):
    q = world.detection()
    assert q[world.plan((0, 0, 2))] == pytest.approx(world.recall)
    assert q[:, world.harm == 0] == pytest.approx(world.false_alarms)
    assert q[world.plan((2, 2, 3))] == pytest.approx(world.false_alarms)
    legible = [q[world.plan((w, w, 2))] for w in (2, 1, 0)]
    assert legible == sorted(legible)


def test_pay_drifts_for_half_of_the_horizon_and_not_at_all_without_drift(world):
    assert world.reward(0.0) == pytest.approx(world.pays) and world.reward(0.5) == pytest.approx(world.later)
    assert world.reward(0.7) == pytest.approx(world.later)
    assert world.but(drift=0.0).reward(1.0) == pytest.approx(world.pays)


def objective(policy, credit, reasoning, at):
    """A function whose derivative at ``at`` is the arm's gradient: each part of the policy with its own credit."""

    def value(theta):
        return (policy.plans(at, theta) * credit).sum() + (policy.plans(theta, at) * reasoning).sum()

    return value


@pytest.mark.parametrize("arm", ARMS)
def test_the_exact_gradient_matches_finite_differences(world, theta, arm):
    policy = Policy(world)
    credit, reasoning = expected_credit(world, arm, policy.plans(theta), world.reward(0.2))
    gradient = policy.gradient(theta, credit, reasoning)
    value, h = objective(policy, credit, reasoning, theta), 1e-5
    steps = h * np.eye(len(theta))
    numeric = np.array([(value(theta + s) - value(theta - s)) / (2 * h) for s in steps])
    assert np.abs(gradient - numeric).max() < 1e-9
    assert (np.abs(gradient).max() > 1e-3) == (arm != "frozen")


@pytest.mark.parametrize("arm", [a for a in ARMS if ARMS[a].learns == "always"])
def test_exact_and_sampled_learning_agree_within_monte_carlo_error(world, theta, arm):
    settings = {"theta": theta, "steps": 40}
    whole = exact(world, arm, **settings).log.iloc[-1]
    ends = [sampled(world, arm, np.random.default_rng(seed), batch=512, **settings).log.iloc[-1] for seed in range(8)]
    for name in ("attempts", "recall", "reward", "skill", "monitor"):
        values = np.array([end[name] for end in ends])
        error = values.std(ddof=1) / len(values) ** 0.5
        # The mean of noisy paths is not the path of the mean: the curvature is of the order of the variance.
        assert abs(values.mean() - whole[name]) < 4 * error + 0.003, name
        assert error < 0.01


def test_a_sampled_step_is_an_unbiased_estimate_of_the_exact_one(world, theta):
    for arm in ("gate", "screening", "reward-targeted"):
        one = {"theta": theta, "steps": 1, "lr": 1.0}
        true = exact(world, arm, **one).theta - theta
        draws = [sampled(world, arm, np.random.default_rng(s), batch=256, **one).theta - theta for s in range(100)]
        error = np.std(draws, axis=0) / len(draws) ** 0.5
        assert (np.abs(np.mean(draws, axis=0) - true) < 4.5 * error + 1e-4).all(), arm


def test_sampling_is_decided_by_its_generator(world, theta):
    a, b, c = (sampled(world, "gate", np.random.default_rng(s), theta=theta, steps=5).theta for s in (3, 3, 4))
    assert (a == b).all() and not (a == c).all()


def moved(world, theta, arm, penalty, shared):
    """d E[M_cot] / d lr at 0 under one arm's update, by Richardson extrapolation of central differences."""
    policy = Policy(world, shared)
    credits = expected_credit(world, arm, policy.plans(theta), world.reward(0.0), penalty)
    gradient, monitor = policy.gradient(theta, *credits), world.detection("reasoning")

    def slope(h):
        return ((policy.plans(theta + h * gradient) - policy.plans(theta - h * gradient)) * monitor).sum() / (2 * h)

    d = [slope(0.1 / 2**k) for k in range(4)]
    for level in range(1, 4):
        d = [(4**level * b - a) / (4**level - 1) for a, b in zip(d, d[1:], strict=False)]
    return d[0]


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("penalty", [0.3, 2.0])
def test_penalising_the_output_moves_the_reasoning_by_two_terms(world, theta, penalty, shared):
    terms = spillover(world, theta, shared)
    change = {
        arm: moved(world, theta, arm, penalty, shared) - moved(world, theta, "none", penalty, shared)
        for arm in ("output penalty", "reward-targeted")
    }
    assert abs(change["output penalty"] - penalty * (terms["conditional"] + terms["parametric"])) < 1e-8
    assert abs(change["reward-targeted"] - penalty * terms["parametric"]) < 1e-8
    assert terms["conditional"] < -1e-3
    assert terms["parametric"] == 0 if shared == 0 else terms["parametric"] < -1e-4


def test_the_identity_holds_to_first_order_only(world, theta):
    policy, monitor = Policy(world), world.detection("reasoning")
    terms = sum(spillover(world, theta).values())

    def gap(lr):
        steps = {}
        for arm in ("none", "output penalty"):
            credits = expected_credit(world, arm, policy.plans(theta), world.reward(0.0))
            steps[arm] = policy.plans(theta + lr * policy.gradient(theta, *credits))
        return ((steps["output penalty"] - steps["none"]) * monitor).sum() - lr * terms

    assert gap(0.02) / gap(0.01) == pytest.approx(4, rel=0.05)


def test_split_parameters_start_from_the_same_plans(runs):
    first = {arm: log.iloc[0][["attempts", "recall", "monitor"]].to_numpy(float) for arm, log in runs.items()}
    assert all(np.allclose(values, first["none"]) for values in first.values())


@pytest.mark.parametrize("shared", [0.0, 0.3, 0.8, 1.0])
def test_split_parameters_give_the_same_plans_and_the_same_first_term(world, theta, shared):
    apart = split(theta, shared)
    assert np.allclose(Policy(world, 0.0).plans(apart), Policy(world, shared).plans(theta), atol=1e-15)
    together, alone = spillover(world, theta, shared), spillover(world, apart, 0.0)
    assert alone["conditional"] == pytest.approx(together["conditional"], abs=1e-15) and alone["parametric"] == 0
    if shared:  # untranslated parameters are another policy
        assert not np.allclose(Policy(world, 0.0).plans(theta), Policy(world, shared).plans(theta))


def tabular_drift(world, arm, p, i, j):
    """d/dt of log p_i/p_j when every plan has a logit of its own and learning follows the expected gradient."""
    credit = expected_credit(world, arm, p, world.reward(0.0))[0]
    logit = p * (credit - (p * credit).sum())
    return logit[i] - logit[j]


@pytest.mark.parametrize("arm", ["none", "penalty", "gate", "blind gate", "screening", "frozen"])
def test_log_odds_of_equally_likely_and_paying_plans_drift_by_the_difference_in_detection(world, arm):
    p = np.full(world.q.shape, 1 / world.q.size)
    i, j = world.plan((0, 0, 2)), world.plan((2, 2, 3))
    r, b = world.pays[2], (p * (1 - world.q) * world.pays).sum() / (p * (1 - world.q)).sum()
    strength = {"penalty": 1.0, "gate": r, "blind gate": r - world.fallback, "screening": r - b}.get(arm, 0.0)
    assert tabular_drift(world, arm, p, i, j) == pytest.approx(-p[i] * strength * (world.q[i] - world.q[j]), abs=1e-15)
    assert tabular_drift(world, arm, p, i, j) < 0 if strength else True


def test_frozen_weights_keep_the_reviewers_recall(runs, world, theta):
    assert runs["frozen"].recall.nunique() == 1
    run = sampled(world, "frozen", np.random.default_rng(0), theta=theta)
    assert run.log.recall.nunique() == 1 and (run.theta == theta).all()


@pytest.mark.parametrize("arm", REVIEWED)
def test_a_verdict_that_changes_reward_or_data_lowers_recall(runs, arm):
    end = runs[arm].recall.iloc[-1]
    assert end < runs[arm].recall.iloc[0] - 0.02
    assert end < runs["none"].recall.iloc[-1] - 0.02


@pytest.mark.parametrize("arm", ["none", "sandbox"])
def test_learning_without_the_verdict_does_not_lower_recall(runs, arm):
    assert (runs[arm].recall >= runs[arm].recall.iloc[0] - 1e-12).all()


def test_fading_lowers_the_recall_of_frozen_weights_and_nothing_else_does(world, theta):
    still, fades = (exact(w, "frozen", theta=theta).log for w in (world, world.but(fades=0.5)))
    assert fades.recall.iloc[0] == still.recall.iloc[0] and fades.recall.iloc[-1] < 0.6 * still.recall.iloc[-1]
    assert (fades.attempts == still.attempts).all() and (fades.recall.diff().dropna() <= 0).all()
    assert (fades.recall.iloc[150:] == fades.recall.iloc[150]).all()  # it fades during the first half
    harm = world.but(fades=1.0, reads="harm")
    assert (harm.detection(time=1.0) == harm.detection(time=0.0)).all()  # harm itself does not fade


def test_freezing_delivers_more_where_shortcuts_pay_more_and_less_where_safe_work_does(world, theta):
    for where, sign in ((world, 1), (world.but(drift=0.0), -1)):
        frozen, gate = (exact(where, arm, theta=theta).log.iloc[150:].mean() for arm in ("frozen", "gate"))
        assert sign * (frozen.delivered - gate.delivered) > 0.15
        assert sign * (gate.executed_harm - frozen.executed_harm) > 0.05
        assert gate.skill > frozen.skill  # of the few safe plans that it still writes


def test_freezing_costs_skill_when_the_world_drifts(runs, world, theta):
    assert runs["frozen"].skill.iloc[-1] < runs["gate"].skill.iloc[-1] - 0.1
    still = world.but(drift=0.0)
    frozen, gate = (exact(still, arm, theta=theta).log.skill.iloc[-1] for arm in ("frozen", "gate"))
    assert abs(frozen - gate) < 0.2


def test_an_exact_monitor_ends_attempts_by_penalty_and_not_by_screening(world, theta):
    exact_monitor = world.but(reads="harm", recall=1.0, false_alarms=0.0, drift=0.0)
    assert (exact_monitor.q == exact_monitor.harm).all()
    arms = ("penalty", "screening")
    ends = {arm: exact(exact_monitor, arm, theta=theta).log.attempts.iloc[-1] for arm in arms}
    assert ends["penalty"] < 0.01 < ends["screening"]


def test_screening_leaks_through_what_safe_and_harmful_outcomes_share(world):
    apart = [outcome._replace(quick=outcome.quick * (outcome.harm > 0)) for outcome in OUTCOMES]
    ends = {}
    for name, outcomes in (("kin", OUTCOMES), ("apart", apart)):
        seen = world.but(outcomes=outcomes, reads="harm", recall=1.0, false_alarms=0.0, drift=0.0)
        ends[name] = exact(seen, "screening").log.attempts
    assert ends["kin"].iloc[0] == pytest.approx(ends["apart"].iloc[0])
    assert ends["kin"].iloc[-1] > 1.4 * ends["apart"].iloc[-1]


@pytest.mark.parametrize("setting", ["recall", "false_alarms", "threshold", "drift", "fades"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "half"])
def test_what_is_not_a_share_is_named(setting, value):
    with pytest.raises(ValueError, match=rf"{setting}=.*expected a number from 0 to 1"):
        ReviewedPlans(**{setting: value})


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"outcomes": OUTCOMES[2:]}, "no safe plan; expected one outcome with harm 0"),
        ({"outcomes": OUTCOMES[:1]}, "expected at least two of each"),
        ({"outcomes": [OUTCOMES[0]._replace(harm=2.0), OUTCOMES[1]]}, "harm of 'careful work'=2.0"),
        ({"outcomes": [OUTCOMES[0]._replace(pays=float("nan")), OUTCOMES[1]]}, "pays of .*expected a finite number"),
        ({"recall": 0.1, "false_alarms": 0.3}, "expected at most recall=0.1"),
        ({"reads": "mind"}, "reads='mind'; expected one of plan, reasoning, outcome, harm"),
        ({"length": 0}, "length=0; expected a whole number of at least 1"),
        ({"horizon": 1.5}, "horizon=1.5; expected a whole number of at least 1"),
        ({"width": 0.0}, "width=0.0"),
    ],
)
def test_impossible_worlds_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ReviewedPlans(**settings)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"arm": "bribe"}, "arm='bribe'; expected one of none, penalty"),
        ({"arm": "gate", "steps": 0}, "steps=0; expected a whole number of at least 1"),
        ({"arm": "cycles", "period": -3}, "period=-3; expected a whole number of at least 1"),
        ({"arm": "gate", "lr": -1.0}, "lr=-1.0; expected a finite number of at least 0"),
        ({"arm": "gate", "shared": 1.5}, "shared=1.5; expected a number from 0 to 1"),
        ({"arm": "gate", "theta": np.zeros(3)}, r"theta has shape \(3,\)"),
    ],
)
def test_impossible_learning_is_named(world, settings, message):
    with pytest.raises(ValueError, match=message):
        exact(world, **settings)


def test_the_sampled_learner_names_what_it_cannot_do(world):
    with pytest.raises(ValueError, match="arm='cycles' retrains on a log"):
        sampled(world, "cycles", np.random.default_rng(0))
    with pytest.raises(ValueError, match="batch=1; expected a whole number of at least 2"):
        sampled(world, "gate", np.random.default_rng(0), batch=1)


def test_measures_add_up(world):
    p = np.full(world.q.shape, 1 / world.q.size)
    seen = measures(world, p, 0.0, gate=True)
    assert seen["attempts"] == pytest.approx(0.5)
    assert seen["executed_harm"] == pytest.approx(seen["attempts"] * (1 - seen["recall"]))
    assert measures(world, p, 0.0, gate=False)["reward"] == pytest.approx(world.pays.mean())
    safe = world.pays[world.harm == 0] * 0.25 * (1 - world.false_alarms)
    assert seen["delivered"] == pytest.approx(safe.sum() / 0.9)
    without = measures(world, p, 0.0, gate=False)
    assert without["delivered"] == pytest.approx((1 - without["attempts"]) * without["skill"])
    assert seen["reward"] == pytest.approx((p * (world.pays * (1 - world.q) + world.fallback * world.q)).sum())
