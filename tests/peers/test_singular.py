"""Singular finds the same λ by another theory: the largest root of the Bernstein polynomial is -λ.

That is the complex threshold, which for these losses is also the real one. Run with the peers' environment in place
(``make bench`` or ``benchmarks/peers.sh`` builds it): ``pytest -m peers``.
"""

import pytest

from benchmarks.singular import HARD, ask, binary, rlct
from helpers.singular import KNOWN, resolve

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(binary() is None, reason=".venv-peers is not there; benchmarks/peers.sh builds it"),
]
FURTHER = (
    "((x - 1)**2 + y**4)",
    "(x*y*(x + y)*(x - 2*y)*(x + 3*y))**2",
    "((x**2 + y)*(x**3 + y**2))**2",
    "(y**3 - x**4 + x**3*y)**2",
    "(x**2 - 2)**2 + y**4",
    "(x**2*y - 1)**2*(x**2 + y**2)",
)


@pytest.fixture(scope="module")
def bernstein():
    losses = [*(K for K in KNOWN if K != HARD), *FURTHER]
    return {K: rlct(K, printed) for K, (_, printed) in ask("bfct(f)", losses).items()}


@pytest.mark.parametrize("K", [K for K in KNOWN if K != HARD])
def test_bernstein_polynomials_have_the_known_thresholds(K, bernstein):
    assert bernstein[K] == KNOWN[K][0] == resolve(K).rlct


@pytest.mark.parametrize("K", FURTHER)
def test_bernstein_polynomials_have_the_thresholds_found_here(K, bernstein):
    assert bernstein[K] == resolve(K).rlct


@pytest.mark.slow
def test_the_hardest_too():
    ((_, printed),) = ask("bfct(f)", [HARD]).values()
    assert rlct(HARD, printed) == KNOWN[HARD][0] == resolve(HARD).rlct
