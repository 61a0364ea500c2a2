"""Chapter 6's runs: what the recipes draw, and the finding on dead latents by another route."""

import numpy as np
import pytest
import torch

from helpers import composition as C
from recipes import several_pairs, three_features, three_features_repaired

RATIOS, SPARSITY, SEEDS = (2, 16), (0.25, 0.5), range(8)


def by_hand(revive: bool, tangent: bool, steps: int = 2000, lr: float = 3e-3):
    """Plain torch, nothing of `helpers.sae`: the exact expected gradient over the four inputs, no batches.

    Returns cells, kinds of the dictionaries reached, and whether each has a dead latent.
    """
    cells = [(r, s, seed) for r in RATIOS for s in SPARSITY for seed in SEEDS]
    x = torch.tensor(C.patterns(1.0)[0])
    p = torch.tensor(np.stack([C.patterns(r)[1] for r, *_ in cells]))
    lam = torch.tensor([s for _, s, _ in cells], dtype=torch.float64)[:, None]
    rows = [torch.randn(3, 3, generator=torch.Generator().manual_seed(1000 + c[2])).double() for c in cells]
    D = torch.nn.functional.normalize(torch.stack(rows), dim=2).requires_grad_()
    E = D.detach().clone().requires_grad_()  # encoder rows
    b = torch.zeros(len(cells), 3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([D, E, b], lr=lr)
    codes = lambda: torch.relu(torch.einsum("nd,imd->inm", x, E) + b[:, None])  # noqa: E731
    for step in range(steps):
        adam.param_groups[0]["lr"] = lr * min(1, (step + 1) / 100, (steps - step) / 400)
        f = codes()
        error = (x - f @ D).pow(2).sum(-1)
        adam.zero_grad()
        (p * (error + lam * min(1, (step + 1) / 200) * f.sum(-1))).sum().backward()
        if tangent:
            D.grad -= (D.grad * D).sum(-1, keepdim=True).detach() * D.detach()
        adam.step()
        with torch.no_grad():
            D /= D.norm(dim=2, keepdim=True)
            if revive and step % 100 == 0 and 100 <= step <= 1300:
                for i, j in (codes() > 0).any(1).logical_not().nonzero().tolist():
                    worst = x[(p[i] * error[i]).argmax()]
                    D[i, j], E[i, j], b[i, j] = worst / worst.norm(), 0.3 * worst / worst.norm(), 0.0
                    for parameter in (D, E, b):
                        for moment in ("exp_avg", "exp_avg_sq"):
                            adam.state[parameter][moment][i, j] = 0.0
    fires = (codes() > 0).any(1).numpy()
    kinds = [C.kind(C.label(d, f)) for d, f in zip(D.detach().numpy(), fires, strict=True)]
    return cells, kinds, ~fires.all(1)


@pytest.fixture(scope="module")
def reached():
    """Share of runs that read what the best dictionary reads, and share with a dead latent, for each way."""
    best = {(r, s): C.best(r, s) for r in RATIOS for s in SPARSITY}
    wanted = {cell: C.kind(C.label(found[found["winner"]]["D"])) for cell, found in best.items()}
    found = {}
    for name, way in (("plain", (False, False)), ("revived", (True, False)), ("both", (True, True))):
        cells, kinds, dead = by_hand(*way)
        found[name] = np.mean([wanted[r, s] == k for (r, s, _), k in zip(cells, kinds, strict=True)]), dead.mean()
    return found


def test_in_plain_torch_too_dead_latents_stand_between_training_and_the_best_dictionary(reached):
    assert reached["plain"][1] > 0.3 and reached["revived"][1] < 0.1
    assert reached["revived"][0] > reached["plain"][0] + 0.15


def test_in_plain_torch_too_the_gradient_along_rows_takes_more_away(reached):
    assert reached["both"][0] > reached["revived"][0] and reached["both"][0] > reached["plain"][0] + 0.25


def test_the_revived_studies_repeat_the_grid_and_change_no_other_study():
    for arm in ("standard", "gated", "topk"):
        known = three_features.conditions("grid", arm, 3)
        assert three_features.conditions("revived", arm, 3) == three_features.conditions("both", arm, 3) == known
    assert not set(three_features_repaired.STUDIES) & set(three_features.STUDIES)
    assert three_features.conditions("penalty_both", "gated", 3) == three_features.conditions("penalty", "gated", 3)
    largest = [row for row in three_features.conditions("penalty", "standard", 3) if row["strength"] == 1]
    for study in ("penalty_revived", "penalty_tangent"):
        assert three_features.conditions(study, "standard", 3) == largest


def test_several_pairs_are_drawn_as_often_as_asked():
    rows = [{"ratio": 4, "seed": 0}, {"ratio": 16, "seed": 0}]
    batch = several_pairs.batches(rows, 2)
    x = torch.stack([batch(t) for t in range(300)], 1).reshape(2, -1, 6)
    torch.testing.assert_close(batch(7), batch(7))
    known, p = C.blocks(2, 4)
    for pattern, mass in zip(known, p, strict=True):
        share = (x[0] == torch.tensor(pattern, dtype=torch.float32)).all(1).double().mean()
        assert share == pytest.approx(mass, abs=0.02)
    assert (x[1, :, 2::3].sum() < x[0, :, 2::3].sum() / 2).item()


def least(n: int, ratio: float, sparsity: float) -> float:
    """The least loss of a block with ``n`` latents of its own: so many in the plane, and one on f3 or none."""
    x, p = C.patterns(ratio)
    alone = [
        C.planar(k, x, p, sparsity, zooms=5)[0] if k else p[:3] @ (x[:3] ** 2).sum(1) for k in range(min(n, 3) + 1)
    ]
    options = [alone[min(n, 3)] + p[3]]
    if n:
        options.append(alone[min(n - 1, 3)] + p[3] * (sparsity - sparsity**2 / 4))
    return min(options)


@pytest.mark.parametrize("ratio", several_pairs.RATIOS)
@pytest.mark.parametrize("sparsity", several_pairs.SPARSITY)
def test_equal_blocks_do_best_with_three_latents_each(ratio, sparsity):
    gains = np.diff([least(n, ratio, sparsity) for n in range(6)])
    assert (np.diff(gains) > -1e-6).all()  # each further latent of a block is worth less than the one before


@pytest.mark.slow
def test_a_blind_search_over_two_pairs_finds_nothing_better_than_block_by_block():
    x, p = C.blocks(2, 8.0)
    loss, D = C.search(x, p[None], np.array([0.5]), restarts=60, steps=60, m=6)
    found = C.best(8.0, 0.5)
    assert loss[0] == pytest.approx(found[found["winner"]]["loss"], abs=2e-3)
    assert loss[0] > found[found["winner"]]["loss"] - 1e-6
