"""Language models: load one, stream its activations, splice something else in, and the tokens to do it on.

``load_lm()`` gives the model that comes with the installation, any other by path or name. :func:`activations` runs the
layers up to a hook and no further; :func:`spliced_loss` says what a replacement costs in nats.
"""

from .bridge import activations, cross_entropy, load_lm, spliced_loss
from .corpus import SPLITS, load_tokens
from .weights import EMBEDDED, fetch, model_folder

__all__ = [
    "EMBEDDED", "SPLITS", "activations", "cross_entropy", "fetch", "load_lm", "load_tokens", "model_folder",
    "spliced_loss",
]  # fmt: skip
