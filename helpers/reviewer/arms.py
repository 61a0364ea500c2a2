"""What a verdict touches, and what that does to the weights: arms and two learners on one policy.

The policy is a softmax over the next token: words, then the outcome, given the words. A learner moves its parameters by
``lr · E[ A ∇log π ]``, where the *credit* ``A`` of a plan is what an :class:`Arm` makes of its reward ``r`` and its
verdict ``v``. Every credit is linear in ``v``, so its expectation is the same expression with the plan's detection
probability ``q``. That gives both learners:

* :func:`exact` enumerates all plans (double precision, no noise);
* :func:`sampled` is REINFORCE: a batch of plans, their verdicts drawn, a leave-one-out baseline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..checks import finite, one_of, share, whole
from .deployed import measures
from .world import ReviewedPlans

# Credit before the baseline, and how much of the episode is kept (what the baseline is multiplied with):
# (reward, verdict, penalty, fallback) -> (x, kept); the credit is x - kept · baseline, the baseline E[x] / E[kept].


def _ignored(r, v, penalty, fallback):  # the verdict does nothing
    return r + 0 * v, 1 + 0 * v


def _penalised(r, v, penalty, fallback):  # it lowers the reward
    return r - penalty * v, 1 + 0 * v


def _unpaid(r, v, penalty, fallback):  # a vetoed plan earns nothing
    return r * (1 - v), 1 + 0 * v


def _replaced(r, v, penalty, fallback):  # the learner sees what was executed pay, and no verdict
    return r + (fallback - r) * v, 1 + 0 * v


def _dropped(r, v, penalty, fallback):  # a vetoed episode is not learned from
    return r * (1 - v), 1 - v


class Arm(NamedTuple):
    """One way to put a reviewer into the loop.

    ``credit`` is what learning makes of the verdict; ``reasoning`` the same for the words' part of the gradient, where
    that differs; ``reads`` what the training reviewer reads, where that is not what the world's reads; ``gate`` whether
    a veto stops execution; ``learns`` when.
    """

    touches: str
    credit: Callable = _ignored
    reasoning: Callable | None = None
    reads: str | None = None
    gate: bool = False
    learns: str = "always"
    split: bool = False


ARMS = {
    "none": Arm("nothing"),
    "penalty": Arm("reward", _penalised),
    "screening": Arm("data", _dropped),
    "gate": Arm("reward and execution", _unpaid, gate=True),
    "blind gate": Arm("execution", _replaced, gate=True),
    "frozen": Arm("execution, of fixed weights", gate=True, learns="never"),
    "cycles": Arm("execution, and so the data for retraining", _dropped, gate=True, learns="cycles"),
    "sandbox": Arm("execution; retraining is unreviewed", gate=True, learns="cycles"),
    "output penalty": Arm("reward, through the outcome alone", _penalised, reads="outcome"),
    "reward-targeted": Arm("the outcome's reward", _penalised, reasoning=_ignored, reads="outcome"),
    "split parameters": Arm("reward, through the outcome alone", _penalised, reads="outcome", split=True),
    "targeted and split": Arm("the outcome's reward", _penalised, reasoning=_ignored, reads="outcome", split=True),
}


class Policy:
    """Linear softmax over tokens: ``theta`` holds word and outcome logits, what words do to outcomes, style and haste.

    ``shared`` is the cosine between the style parameter of the words and that of the outcome: at 1 one number makes
    both show more of a shortcut, at 0 each has its own. ``haste`` is one number that all quick outcomes share.
    """

    def __init__(self, world: ReviewedPlans, shared: float = 0.8):
        share("shared", shared)
        V, K, T, C = len(world.words), len(world.outcomes), world.length, len(world.reasonings)
        self.counts = np.stack([(world.reasonings == v).sum(1) for v in range(V)], axis=1).astype(float)
        P = V + K + V * K + 3
        self.W = np.zeros((V, P))  # features of a word
        self.W[:, :V] = np.eye(V)
        self.W[:, -3] = world.word_shows
        self.O = np.zeros((C, K, P))  # features of an outcome, given the words
        self.O[:, :, V : V + K] = np.eye(K)
        self.O[:, :, V + K : -3] = np.einsum("cv,kj->ckvj", self.counts / T, np.eye(K)).reshape(C, K, V * K)
        self.O[:, :, -3] = shared * world.outcome_shows
        self.O[:, :, -2] = (1 - shared**2) ** 0.5 * world.outcome_shows
        self.O[:, :, -1] = world.quick
        self.shape = (V, K)

    def start(self, world: ReviewedPlans) -> np.ndarray:
        """An untrained agent: it says what it does, prefers safe outcomes, and open words go with open shortcuts."""
        theta = np.zeros(self.W.shape[1])
        V, K = self.shape
        theta[:V] = 1.2 * world.word_shows
        theta[V : V + K] = -1.3 * (world.harm > 0)
        theta[V + K : -3] = np.outer(2 * world.word_shows - 1, world.harm * (2 * world.outcome_shows - 1)).ravel()
        return theta

    def parts(self, theta: np.ndarray, theta_out: np.ndarray | None = None):
        """``p(c) (C,)``, ``p(o|c) (C, K)`` and the scores ``∇log p(c) (C, P)``, ``∇log p(o|c) (C, K, P)``.

        ``theta_out`` gives the outcome its own parameters, to tell the two parts of a derivative apart.
        """
        word, p_c, p_o = self._chances(theta, theta if theta_out is None else theta_out)
        s_c = self.counts @ (self.W - word @ self.W)
        s_o = self.O - np.einsum("ck,ckp->cp", p_o, self.O)[:, None]
        return p_c, p_o, s_c, s_o

    def _chances(self, theta: np.ndarray, theta_out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        word = _softmax(self.W @ theta)
        return word, np.exp(self.counts @ np.log(word)), _softmax(self.O @ theta_out)

    def plans(self, theta: np.ndarray, theta_out: np.ndarray | None = None) -> np.ndarray:
        """Probability of every plan, ``(C, K)``."""
        p_c, p_o = self._chances(theta, theta if theta_out is None else theta_out)[1:]
        return p_c[:, None] * p_o

    def gradient(self, theta: np.ndarray, credit: np.ndarray, reasoning: np.ndarray | None = None) -> np.ndarray:
        """``E[A_c ∇log p(c) + A_o ∇log p(o|c)]`` for credits ``(C, K)``; by default both are ``credit``."""
        p_c, p_o, s_c, s_o = self.parts(theta)
        p = p_c[:, None] * p_o
        words = (p * (credit if reasoning is None else reasoning)).sum(1) @ s_c
        return words + np.einsum("ck,ckp->p", p * credit, s_o)


class Run(NamedTuple):
    """A trajectory, one row a step, and the parameters at its end."""

    log: pd.DataFrame
    theta: np.ndarray


def expected_credit(
    world: ReviewedPlans, arm: str, p: np.ndarray, reward: np.ndarray, penalty: float = 1.0, time: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Every plan's expected credit, baseline taken off, ``(C, K)``: for the outcome's part, and for the words'."""
    rule, credits = ARMS[arm], []
    q = world.detection(rule.reads, time)
    for credit in (rule.credit, rule.reasoning or rule.credit):
        x, kept = credit(reward + 0 * q, q, penalty, world.fallback)
        credits.append((x - kept * (p * x).sum() / (p * kept).sum()) * (rule.learns != "never"))
    return credits[0], credits[1]


def exact(
    world: ReviewedPlans, arm: str, *, theta: np.ndarray | None = None, steps: int = 300, lr: float = 0.3,
    penalty: float = 1.0, shared: float = 0.8, period: int = 50, inner: int = 20,
) -> Run:  # fmt: skip
    """Learn by expected policy gradients, with no sampling noise.

    ``cycles`` and ``sandbox`` stand still for ``period`` steps, then take ``inner`` steps on that period's log, each
    plan weighted by its present probability over that at the time.

    >>> from helpers.reviewer import ReviewedPlans, exact
    >>> log = exact(ReviewedPlans(), "none", steps=100).log
    >>> bool(log.attempts.iloc[-1] > log.attempts.iloc[0])  # shortcuts pay, and nothing is done about them
    True
    """
    rule = _settings(arm, steps=steps, period=period, inner=inner, lr=lr, penalty=penalty)
    policy, theta = _begin(world, rule, theta, shared)
    rows = []

    def ascend(r, time):
        outcome, reasoning = expected_credit(world, arm, policy.plans(theta), r, penalty, time)
        return theta + lr * policy.gradient(theta, outcome, reasoning)

    for step in range(steps + 1):
        rows.append({"step": step, **measures(world, policy.plans(theta), step / steps, rule.gate)})
        if step < steps and rule.learns == "always":
            theta = ascend(world.reward(step / steps), step / steps)
        elif step and step % period == 0 and rule.learns == "cycles":
            logged = np.mean([world.reward(s / steps) for s in range(step - period, step)], axis=0)
            for _ in range(inner):
                theta = ascend(logged, step / steps)
    return Run(pd.DataFrame(rows), theta)


def sampled(
    world: ReviewedPlans, arm: str, generator: np.random.Generator, *, theta: np.ndarray | None = None,
    steps: int = 300, lr: float = 0.3, penalty: float = 1.0, shared: float = 0.8, batch: int = 128,
) -> Run:  # fmt: skip
    """Learn by REINFORCE: ``batch`` plans a step, their verdicts drawn, a leave-one-out mean as baseline.

    >>> import numpy as np
    >>> from helpers.reviewer import ReviewedPlans, sampled
    >>> run = sampled(ReviewedPlans(), "gate", np.random.default_rng(0), steps=3)
    >>> len(run.log), "attempts" in run.log
    (4, True)
    """
    rule = _settings(arm, steps=steps, batch=batch, lr=lr, penalty=penalty)
    if rule.learns == "cycles":
        raise ValueError(f"arm={arm!r} retrains on a log; expected an arm that learns as it goes: use exact")
    policy, theta = _begin(world, rule, theta, shared)
    rows = []
    for step in range(steps + 1):
        p_c, p_o, s_c, s_o = policy.parts(theta)
        p = p_c[:, None] * p_o
        rows.append({"step": step, **measures(world, p, step / steps, rule.gate)})
        if step == steps or rule.learns == "never":
            continue
        edges = p.ravel().cumsum()
        c, k = np.unravel_index(edges.searchsorted(generator.random(batch) * edges[-1]), p.shape)
        verdict = (generator.random(batch) < world.detection(rule.reads, step / steps)[c, k]).astype(float)
        reward = world.reward(step / steps)[k]
        credits = []
        for credit in (rule.credit, rule.reasoning or rule.credit):
            x, kept = credit(reward, verdict, penalty, world.fallback)
            credits.append(x - kept * (x.sum() - x) / np.maximum(kept.sum() - kept, 1))
        theta = theta + lr * (credits[1] @ s_c[c] + credits[0] @ s_o[c, k]) / batch
    return Run(pd.DataFrame(rows), theta)


def spillover(world: ReviewedPlans, theta: np.ndarray, shared: float = 0.8) -> dict[str, float]:
    """The two terms by which penalising an output monitor ``M_out`` moves ``M_cot``, a monitor of the reasoning.

    ``theta`` is meant for ``shared``: :func:`split` translates it for split parameters. Per unit of ``lr · penalty``:
    ``conditional`` = -∇_cot E[M_out] · ∇_cot E[M_cot], ``parametric`` = -∇_out E[M_out] · ∇_cot E[M_cot]. Here ∇_cot
    and ∇_out are the parts of the gradient that come through the words and the outcome.
    """
    policy = Policy(world, shared)
    out, cot, none = world.detection("outcome"), world.detection("reasoning"), np.zeros_like(world.q)
    target = policy.gradient(theta, none, cot)
    return {
        "conditional": -policy.gradient(theta, none, out) @ target,
        "parametric": -policy.gradient(theta, out, none) @ target,
    }


def split(theta: np.ndarray, shared: float = 0.8) -> np.ndarray:
    """The parameters that give the same plans where words and outcome have a style of their own each (``shared`` 0).

    >>> import numpy as np
    >>> from helpers.reviewer import Policy, ReviewedPlans, split
    >>> theta = np.random.default_rng(0).normal(size=Policy(ReviewedPlans()).W.shape[1])
    >>> one, two = (Policy(ReviewedPlans(), shared) for shared in (0.8, 0.0))
    >>> bool(np.allclose(one.plans(theta), two.plans(split(theta))))
    True
    """
    share("shared", shared)
    theta = np.array(theta, dtype=float)
    theta[-2] = shared * theta[-3] + (1 - shared**2) ** 0.5 * theta[-2]
    return theta


def _begin(world: ReviewedPlans, rule: Arm, theta: np.ndarray | None, shared: float) -> tuple[Policy, np.ndarray]:
    """The policy of an arm and its first parameters; split parameters start from the same plans as shared ones."""
    policy = Policy(world, 0.0 if rule.split else shared)
    theta = policy.start(world) if theta is None else np.array(theta, dtype=float)
    if theta.shape != policy.W.shape[1:]:
        raise ValueError(f"theta has shape {theta.shape}; expected {policy.W.shape[1:]}")
    return policy, split(theta, shared) if rule.split else theta


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _settings(arm: str, *, lr: float, penalty: float, **counts: int) -> Arm:
    one_of("arm", arm, ARMS)
    for name, value in counts.items():
        whole(name, value, 1 + (name == "batch"))  # a leave-one-out baseline needs two
    finite("lr", lr, least=0), finite("penalty", penalty, least=0)
    return ARMS[arm]
