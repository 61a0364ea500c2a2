"""How far apart directions can be kept: lower bounds on the largest cosine, and rows that come near them.

All bounds are one argument. Let c be the largest |cos| (or cos) of n unit rows, and f a polynomial with f(t) ≤ 0 for
|t| ≤ c (or -1 ≤ t ≤ c) whose Gegenbauer coefficients are all ≥ 0. Then ``n² f₀ ≤ Σ_ij f(cos_ij) ≤ n f(1)``, with
``f₀ = E f`` over a random direction (Delsarte's linear programming bound); solved for c, that is a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sqrt

import torch
from torch import Tensor

from ..checks import drawing, finite, reals, whole
from ..runs import progress, rise_and_fall
from .cosines import unit_rows


def packing_bound(n: int, d: int, absolute: bool = True) -> float:
    """A lower bound on the largest |cos| (or cos) among n directions in d dimensions; the best of those below.

    ``absolute=True``, lines:

    * with ``f = t^(2k-2) (t² - c²)`` and ``m_k = E cos^2k = 1·3…(2k-1) / (d(d+2)…(d+2k-2))``,
      ``c² ≥ (n m_k - 1) / (n m_(k-1) - 1)``. k=1 is Welch's bound; k=2 is Levenshtein's,
      ``(3n-d²-2d) / ((d+2)(n-d))``, the better one beyond n = d(d+1)/2; higher k take over as n grows past d³.
      f's coefficients are ≥ 0 when c² ≤ m_k/m_(k-1), and a larger c is above the bound anyway.
    * the orthoplex bound (Rankin): ``c ≥ 1/√d`` once n > d(d+1)/2.

    ``absolute=False``, directions with a sign:

    * the simplex and the orthoplex (Rankin): ``c ≥ -1/(n-1)``, and ``c ≥ 0`` once n > d+1;
    * for n > 2d Levenshtein's third bound, from ``f = (t-c) (t+a)²`` with ``a = (1+c)/(1+dc)``:
      ``n ≤ d (1-c) (2+(d+1)c) / (1-dc²)``, here solved for c.

    Sources: Welch's family, Datta, Howard and Cochran, arXiv:0909.0206; that real rows admit more than it, Tan,
    arXiv:1612.06343; which bounds are in use, Jasper, King and Mixon, arXiv:1907.07848 (for complex lines). For real
    rows the formulas follow from the argument at the head of this module.

    >>> from helpers.geometry import packing_bound
    >>> round(packing_bound(6, 3), 3)  # the six diagonals of an icosahedron reach it
    0.447
    """
    n, d = whole("n", n, 2), whole("d", d, 2)
    if d == 2:  # the optimum itself: evenly spaced
        return cos(pi / n) if absolute else cos(2 * pi / n)
    if not absolute:
        if n <= 2 * d:
            return 0.0 if n > d + 1 else -1 / (n - 1)
        b, rest = d * (d - 1), n - d - 1
        return 2 * (n - 2 * d) / (b + sqrt(b * b + 4 * d * rest * (n - 2 * d)))
    best, moment, k = 1 / d if 2 * n > d * (d + 1) else 0.0, 1.0, 1
    while n * moment > 1:
        following = moment * (2 * k - 1) / (d + 2 * k - 2)
        bound = (n * following - 1) / (n * moment - 1)
        if bound < best and k > 2:  # they rise to the best one, then fall
            break
        best = max(best, bound)
        moment, k = following, k + 1
    return sqrt(best)


def pack(
    n: int,
    d: int,
    steps: int = 1000,
    *,
    generator: torch.Generator,
    absolute: bool = True,
    sharpness: tuple[float, float] = (1.0, 300.0),
    lr: float = 0.05,
    chunk: int = 1024,
) -> Tensor:
    """n unit rows ``(n, d)`` with a small largest |cos| (or cos), from a random start: a local optimum, not a proof.

    Adam on the smooth maximum ``(1/β) log Σ_(i≠j) exp(β |cos_ij|)``, while β/√d grows geometrically through
    ``sharpness`` and the rate falls to zero. The best rows seen are returned. Cosines are made and forgotten ``chunk``
    rows at a time; a step costs two products of that size with all rows.

    Raises ValueError unless n, d ≥ 2, steps, chunk ≥ 1 and sharpness is positive and does not fall.

    >>> import torch
    >>> from helpers.geometry import kth_largest_cosine, pack
    >>> rows = pack(6, 3, generator=torch.Generator().manual_seed(0))
    >>> round(kth_largest_cosine(rows, (1,), absolute=True).max().item(), 2)
    0.45
    """
    n, d, steps, chunk = whole("n", n, 2), whole("d", d, 2), whole("steps", steps, 1), whole("chunk", chunk, 1)
    lr, generator, ends = finite("lr", lr, least=0), drawing(generator), reals("sharpness", sharpness)
    if ends.shape != (2,) or not 0 < ends[0] <= ends[1] < torch.inf:
        raise ValueError(f"sharpness={sharpness!r}; expected two positive finite numbers that do not fall")
    sharpness = ends.tolist()
    x = unit_rows(torch.randn(n, d, generator=generator, device=generator.device)).requires_grad_()
    optimiser = torch.optim.Adam([x], lr=lr / sqrt(d), betas=(0.9, 0.99))
    best, least = x.detach().clone(), torch.inf
    for step in progress(range(steps + 1), desc="packing", delay=2):
        t = step / steps
        beta = sqrt(d) * sharpness[0] ** (1 - t) * sharpness[1] ** t
        with torch.no_grad():
            x.grad, largest = _pressure(x, beta, absolute, chunk)
            if largest < least:
                best, least = x.detach().clone(), largest
        optimiser.param_groups[0]["lr"] = lr / sqrt(d) * (1 - t)
        optimiser.step()
        with torch.no_grad():
            x.copy_(unit_rows(x))
    return best


def descend(
    penalty: Callable[[Tensor, torch.Generator], Tensor],
    n: int,
    d: int,
    steps: int = 600,
    *,
    generator: torch.Generator,
    lr: float = 3e-3,
) -> Tensor:
    """n unit rows ``(n, d)`` where a penalty on cosines alone leads from a random start: no data.

    Adam with the schedule that dictionaries are trained with, and unit rows restored after every step.
    """
    n, d, steps, lr = whole("n", n, 2), whole("d", d, 2), whole("steps", steps, 1), finite("lr", lr, above=0)
    x = unit_rows(torch.randn(n, d, generator=drawing(generator))).requires_grad_()
    if not callable(penalty):
        raise ValueError(f"penalty={penalty!r}; expected a function of rows and a generator")
    optimiser = torch.optim.Adam([x], lr=lr, betas=(0.0, 0.999), fused=True)
    for step in progress(range(steps), desc="descending", delay=2):
        optimiser.param_groups[0]["lr"] = lr * rise_and_fall(step, steps, 0.05, 0.2)
        optimiser.zero_grad(set_to_none=True)
        loss = penalty(x, generator)
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.grad_fn is None or not loss.isfinite():
            raise ValueError(f"penalty gave {loss!r} at step {step}; expected a finite scalar tensor with a gradient")
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            x /= x.norm(dim=1, keepdim=True)
    return x.detach()


def _pressure(x: Tensor, beta: float, absolute: bool, chunk: int) -> tuple[Tensor, float]:
    """The smooth maximum's gradient along the sphere ``(n, d)`` for unit rows x, and the hard maximum.

    Row i's is ``2 Σ_j p_ij sign_ij x_j``, with p the softmax of β |cos| over all ordered pairs; sums are kept relative
    to the largest cosine so far.
    """
    force, total, top = torch.zeros_like(x), 0.0, -2.0
    for start in range(0, len(x), chunk):
        part = x[start : start + chunk]
        cosines = part @ x.T
        own = torch.arange(len(part), device=x.device)
        size = cosines.abs() if absolute else cosines.clone()
        size[own, start + own] = -torch.inf
        new = max(top, size.max().item())
        shrink = torch.exp(torch.tensor(beta * (top - new), dtype=torch.float64)).item()
        p = size.sub_(new).mul_(beta).exp_()
        force *= shrink
        total = total * shrink + p.sum(dtype=torch.float64).item()
        force[start : start + chunk] = 2 * (p * cosines.sign() if absolute else p) @ x
        top = new
    force /= total
    return force - (force * x).sum(1, keepdim=True) * x, top
