"""Sparse autoencoders ("dictionaries"), one class each, with losses in the form the papers give them.

All share ``W_enc (d_model, d_sae)``, ``b_enc (d_sae,)``, ``W_dec (d_sae, d_model)``, ``b_dec (d_model,)`` and

    pre = (x - b_dec) @ W_enc + b_enc           x_hat = codes @ W_dec + b_dec

and differ in how ``pre`` becomes codes and what is penalised. :meth:`SAE.losses` returns the terms already weighted:
``reconstruction`` is the squared error summed over ``d_model``, ``sparsity`` the penalty on codes summed over
``d_sae``; both are means over the batch, so the training loss is the sum of the dict. Rows of ``W_dec`` are kept at
unit norm by training (:meth:`SAE.project`), so penalties on codes need no weighting by norms.

Sources: gated [Rajamanoharan et al. 2024, arXiv:2404.16014], JumpReLU [arXiv:2407.14435], TopK [Gao et al. 2024,
arXiv:2406.04093], BatchTopK [Bussmann et al. 2024, arXiv:2412.06410], Matryoshka [Bussmann et al. 2025,
arXiv:2503.17547], orthogonality [OrtSAE, arXiv:2509.22033].

This module is the one to import from. Behind it: :mod:`helpers.dictionary` (the parent class),
:mod:`helpers.architectures` (its children), :mod:`helpers.penalties` (orthogonality), :mod:`helpers.formats` (files).
"""

from .architectures import (
    ARCHITECTURES,
    BatchTopK,
    Expanded,
    Gated,
    GatedSharedBias,
    JumpReLU,
    Matryoshka,
    Rescaled,
    RescaleShift,
    TopK,
    architecture,
    build,
)
from .dictionary import SAE, squared_error
from .formats import load, load_saelens, save
from .penalties import PENALTIES

__all__ = [
    "ARCHITECTURES",
    "PENALTIES",
    "SAE",
    "BatchTopK",
    "Expanded",
    "Gated",
    "GatedSharedBias",
    "JumpReLU",
    "Matryoshka",
    "Rescaled",
    "RescaleShift",
    "TopK",
    "architecture",
    "build",
    "load",
    "load_saelens",
    "save",
    "squared_error",
]
