"""Three features, three latents: when is it cheaper, under L1, to read the pair than the rare feature?

Inputs are sums of three orthonormal features: f1 alone, f2 alone, f1 and f2 together, f3 alone. A dictionary is three
unit rows ``D (3, 3)``; its loss on an input is the least one over codes c ≥ 0 of

    ‖x - c D‖² + λ Σ c .

The inputs and what rows read of them; the best dictionaries, by three independent routes; encoders that give the codes.
"""

from .encoders import best_encoder, encoder
from .features import (
    COMPOSED,
    DIAGONAL,
    NAMED,
    NEAR,
    SEPARATE,
    amplitudes,
    blocks,
    composes,
    kind,
    label,
    patterns,
    readers,
)
from .optima import KINDS, best, expected_loss, in_plane, optimal_codes, planar, saving, search, threshold

__all__ = [
    "COMPOSED", "DIAGONAL", "KINDS", "NAMED", "NEAR", "SEPARATE", "amplitudes", "best", "best_encoder", "blocks",
    "composes", "encoder", "expected_loss", "in_plane", "kind", "label", "optimal_codes", "patterns", "planar",
    "readers", "saving", "search", "threshold",
]  # fmt: skip
