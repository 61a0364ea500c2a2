"""Data with known answers: sparse codes times known directions, plus noise.

``x = codes @ features + noise``, with unit rows in ``features (n_features, d_model)``. What varies is how features come
on together (``structure``) and what a feature's projection looks like when it is off (``background``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import one_of, share, whole

STRUCTURES = ("independent", "correlated", "hierarchical")


class SparseFeatures:
    """A source of ``(x, codes)`` pairs.

    Parameters
    ----------
    n_features, d_model
        How many directions, in how many dimensions. With ``n_features ≤ d_model`` they are orthonormal, else random.
    p
        Probability that a feature is on (of a root, if ``structure="hierarchical"``).
    structure
        ``"independent"``; ``"correlated"``: in groups of four, through a Gaussian copula with correlation 0.8;
        ``"hierarchical"``: each root has three children, each on with probability ½, and only where the root is.
    amplitude
        ``(mean, sd)`` of a feature that is on; drawn normally and kept positive.
    background
        Standard deviation of the projection on a feature's direction while it is off.
    overlap
        Cosine between the directions of features in the same group of four; with room for all, others are orthogonal.
    noise
        Standard deviation of isotropic noise in ``x``.
    generator
        Draws the directions (seed 0 by default).

    ``SparseFeatures.bimodal(d_model)`` is the toy of the gated SAE paper's Appendix F: a projection is N(0, 1) when the
    feature is off and N(2, ¼) when it is on, each half of the time.

    >>> import torch
    >>> from helpers.sae import SparseFeatures
    >>> source = SparseFeatures(8, 16, p=0.25)
    >>> x, codes = source.sample(1000, torch.Generator().manual_seed(0))
    >>> tuple(x.shape), tuple(codes.shape), torch.allclose(x, codes @ source.features)
    ((1000, 16), (1000, 8), True)
    """

    def __init__(
        self,
        n_features: int,
        d_model: int,
        *,
        p: float = 0.05,
        structure: str = "independent",
        amplitude: tuple[float, float] = (1.0, 0.25),
        background: float = 0.0,
        overlap: float = 0.0,
        noise: float = 0.0,
        generator: torch.Generator | None = None,
    ):
        n_features, d_model = whole("n_features", n_features, 1), whole("d_model", d_model, 1)
        share("p", p, strictly=True), one_of("structure", structure, STRUCTURES)
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap={overlap!r}; expected a cosine from 0 up to, not including, 1")
        if (structure != "independent" or overlap) and n_features % 4:
            seen = f"n_features={n_features!r}; structure={structure!r}, overlap={overlap!r}"
            raise ValueError(f"{seen} works in groups of four")
        if min(amplitude[1], background, noise) < 0:
            raise ValueError(
                f"amplitude={amplitude!r}, background={background!r}, noise={noise!r}; no sd may be negative"
            )
        generator = generator or torch.Generator().manual_seed(0)
        groups = n_features // 4 if overlap else 0
        rows = torch.randn(n_features + groups, d_model, generator=generator)
        if len(rows) <= d_model:
            rows = torch.linalg.qr(rows.T).Q.T
        rows = rows / rows.norm(dim=1, keepdim=True)
        if groups:
            shared = rows[n_features:].repeat_interleave(4, dim=0)
            rows = overlap**0.5 * shared + (1 - overlap) ** 0.5 * rows[:n_features]
        self.features = rows / rows.norm(dim=1, keepdim=True)
        self.p, self.structure, self.amplitude = p, structure, amplitude
        self.background, self.noise = background, noise

    @classmethod
    def bimodal(cls, d_model: int, generator: torch.Generator | None = None) -> SparseFeatures:
        return cls(d_model, d_model, p=0.5, amplitude=(2.0, 0.5), background=1.0, generator=generator)

    def on(self, n: int, generator: torch.Generator) -> Tensor:
        """Which features are on: ``(n, n_features)`` bool."""
        m = len(self.features)
        if self.structure == "correlated":
            shared = torch.randn(n, m // 4, 1, generator=generator)
            own = torch.randn(n, m // 4, 4, generator=generator)
            level = torch.special.ndtri(torch.tensor(1 - self.p))
            return (0.8**0.5 * shared + 0.2**0.5 * own > level).reshape(n, m)
        on = torch.rand(n, m, generator=generator) < self.p
        if self.structure == "hierarchical":
            trees = on.reshape(n, m // 4, 4)
            coin = torch.rand(n, m // 4, 3, generator=generator) < 0.5
            on = torch.cat([trees[..., :1], trees[..., :1] & coin], dim=-1).reshape(n, m)
        return on

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``x (n, d_model)`` and the true ``codes (n, n_features)``, zero where a feature is off."""
        on = self.on(n, generator)
        mean, sd = self.amplitude
        codes = (mean + sd * torch.randn(on.shape, generator=generator)).clamp_min(0) * on
        projections = codes
        if self.background:
            projections = codes + self.background * torch.randn(on.shape, generator=generator) * ~on
        x = projections @ self.features
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator)
        return x, codes
