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

How codes are held while training is in :mod:`helpers.sae.codes`, orthogonality in :mod:`helpers.sae.penalties`.
"""

from .architectures import ARCHITECTURES, BatchTopK, JumpReLU, Matryoshka, TopK, architecture, build
from .codes import Active, Dense, Mixed, fastest
from .dictionary import SAE, squared_error
from .formats import load, load_saelens, save
from .instances import encode_together, losses_together, stack, tangential, train_together, unstack
from .metrics import dead_fraction, evaluate, feature_recovery, fvu, l0, loss_recovered, reconstruction_bias
from .penalties import (
    PENALTIES,
    ChunkMaxCosine,
    MaxCosine,
    MeanSquareCosine,
    NeighbourCosine,
    describe,
    penalty,
)
from .rescaled import Expanded, Gated, GatedSharedBias, Rescaled, RescaleShift
from .sources import Source, load_source
from .toy import STRUCTURES, SparseFeatures
from .training import revive, shuffled, train

__all__ = [
    "ARCHITECTURES", "PENALTIES", "SAE", "STRUCTURES", "Active", "BatchTopK", "ChunkMaxCosine", "Dense", "Expanded",
    "Gated", "GatedSharedBias", "JumpReLU", "Matryoshka", "MaxCosine", "MeanSquareCosine", "Mixed", "NeighbourCosine",
    "RescaleShift", "Rescaled", "Source", "SparseFeatures", "TopK", "architecture", "build",
    "dead_fraction", "describe", "encode_together", "evaluate", "fastest", "feature_recovery", "fvu", "l0", "load",
    "load_saelens", "load_source", "loss_recovered", "losses_together", "penalty", "reconstruction_bias", "revive",
    "save", "shuffled", "squared_error", "stack", "tangential", "train", "train_together", "unstack",
]  # fmt: skip
