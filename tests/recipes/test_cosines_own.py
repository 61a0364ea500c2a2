"""The shipped tables of cosines are those of the shipped dictionaries."""

import pandas as pd
import pytest

from helpers.geometry import kth_largest_cosine
from helpers.runs import artifact
from helpers.sae import load
from recipes import cosines


def test_means_are_those_of_the_dictionaries_and_nulls_lie_apart_from_random_ones():
    own = pd.read_csv(artifact("cosines_own.csv")).set_index(["architecture", "site", "kind", "k"])
    assert len(own) == len(cosines.KEPT) * 2 * len(cosines.KS)
    arm, site = "gated", "blocks.6.hook_mlp_out"
    rows = load(artifact(f"dictionaries/{arm}-{site}")).W_dec
    seen = kth_largest_cosine(rows, cosines.KS).mean(0)
    for k, mean in zip(cosines.KS, seen.tolist(), strict=True):
        assert own.loc[(arm, site, "signed", k), "mean"] == pytest.approx(mean, abs=1e-5)
    draws = own[[f"moment_{seed}" for seed in cosines.SEEDS]]
    assert (draws.max(axis=1) - draws.min(axis=1)).max() < 0.005
    assert (draws.xs("absolute", level="kind") > draws.xs("signed", level="kind")).all().all()
