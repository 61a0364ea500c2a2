"""The penalties on cosines are what brute force gives, in value, in gradient and in who has one."""

import pytest
import torch
from samples import seeded

from helpers.geometry import nearest_neighbours
from helpers.sae import PENALTIES, MaxCosine, NeighbourCosine, build, describe, load, penalty, save


def only(term, **settings):
    return NeighbourCosine(**{"mean": 0, "mean_max": 0, "max_max": 0, term: 1.0, **settings})


def random(n, d, seed=0):
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(("n", "kind"), [(60, torch.float64), (60, torch.float32), (400, torch.float64)])
def test_the_terms_are_what_brute_force_gives(n, kind, absolute):
    rows = random(n, 7).to(kind)
    unit = torch.nn.functional.normalize(rows, dim=1)
    cosines = (unit @ unit.T).abs() if absolute else unit @ unit.T
    others = cosines[~torch.eye(n, dtype=torch.bool)].reshape(n, n - 1)
    expected = {"mean": others.mean(), "mean_max": others.amax(1).mean(), "max_max": others.max()}
    tolerance = 1e-12 if kind is torch.float64 else 4e-3  # the nearest may be looked for in bfloat16
    for term, value in expected.items():
        seen = only(term, absolute=absolute)(rows, seeded())
        torch.testing.assert_close(seen, value, atol=tolerance, rtol=0)
    weights = {"mean": 2.0, "mean_max": 0.5, "max_max": 3.0}
    whole = NeighbourCosine(**weights, absolute=absolute)(rows, seeded())
    torch.testing.assert_close(whole, sum(weights[k] * v for k, v in expected.items()), atol=6 * tolerance, rtol=0)


@pytest.mark.parametrize("absolute", [False, True])
def test_a_nearest_row_that_is_given_is_not_looked_for(absolute):
    form, rows = NeighbourCosine(absolute=absolute, queries=30), random(60, 7).requires_grad_()
    nearest = nearest_neighbours(rows.detach(), absolute).index
    values, slopes = [], []
    for penalty_ in (NeighbourCosine(absolute=absolute), NeighbourCosine(mean=0, absolute=absolute)):
        for known in (None, nearest):
            value = penalty_(rows, seeded(), nearest=known)
            values.append(value.item())
            slopes.append(torch.autograd.grad(value, rows)[0])
    assert values[0] == pytest.approx(values[1]) and values[2] == pytest.approx(values[3])
    torch.testing.assert_close(slopes[0], slopes[1])
    whole, part = (only("mean_max", absolute=absolute, queries=q)(rows, seeded()) for q in (60, 30))
    given = only("mean_max", absolute=absolute, queries=30)(rows, seeded(), nearest=nearest)
    assert given.item() == pytest.approx(whole.item()) and abs(part - whole) > 1e-4  # over all rows, not over queries
    assert form(rows, seeded(), nearest=nearest.flip(0)) < form(rows, seeded(), nearest=nearest) - 0.1


def test_a_subset_of_rows_estimates_the_same_mean():
    rows = random(400, 16)
    whole = only("mean_max")(rows, seeded())
    parts = [only("mean_max", queries=100)(rows, seeded(s)) for s in range(30)]
    assert abs(torch.stack(parts).mean() - whole) < 5e-3


@pytest.mark.parametrize("absolute", [False, True])
def test_every_row_can_be_drawn_and_without_a_generator_none_is(absolute):
    rows = random(400, 16).requires_grad_()
    part = only("mean", absolute=absolute, queries=64)
    parts = torch.stack([part(rows, seeded(s)).detach() for s in range(200)])
    assert abs(parts.mean() - only("mean", absolute=absolute)(rows, seeded())) < 1e-3
    before = torch.get_rng_state()
    assert part(rows) == part(rows)
    assert torch.equal(before, torch.get_rng_state())


def test_one_row_has_no_neighbour_to_be_kept_from():
    for form in PENALTIES:
        with pytest.raises(ValueError, match="W_dec has 1 rows"):
            penalty(form)(random(1, 4), seeded())


def test_the_max_max_moves_one_pair():
    rows = random(50, 8).requires_grad_()
    only("max_max")(rows, seeded()).backward()
    assert int((rows.grad.norm(dim=1) > 0).sum()) == 2


def test_every_dictionary_can_be_trained_with_it():
    sae = build("standard", 8, 32, generator=seeded(), orthogonality=0.5, penalty=NeighbourCosine(absolute=True))
    terms = sae.losses(random(16, 8).float(), generator=seeded())
    assert terms["orthogonality"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": 0, "mean_max": 0, "max_max": 0}, "at least one term"),
        ({"mean": -1.0}, "mean=-1.0"),
        ({"queries": 0}, "queries=0; expected a whole number of at least 1"),
        ({"queries": 2.5}, "queries=2.5"),
    ],
)
def test_settings_that_are_none_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NeighbourCosine(**settings)


def test_a_penalty_is_an_object_a_name_or_its_description():
    form = NeighbourCosine(max_max=0.1, absolute=True)
    assert penalty(describe(form)) == penalty(form) == form
    assert penalty("max") == penalty({"form": "max"}) == MaxCosine()
    with pytest.raises(ValueError, match="penalty='cosine'; expected one of mean_square, max, chunk_max, neighbour"):
        penalty("cosine")
    with pytest.raises(ValueError, match="penalty=.*weight"):
        penalty({"form": "max", "weight": 2})


def test_a_dictionary_keeps_its_penalty_on_disk(tmp_path):
    form = NeighbourCosine(mean=0, max_max=0.5)
    save(build("gated", 4, 8, generator=seeded(), orthogonality=0.1, penalty=form), tmp_path / "sae")
    assert load(tmp_path / "sae").hyper["penalty"] == form
