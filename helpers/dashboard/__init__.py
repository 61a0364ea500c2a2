"""Every feature of a model's dictionaries, described from tokens that go by once, named, and written as pages.

:func:`collect` keeps a bounded account of each feature; :func:`name_features` says which n-grams tell its places apart,
how well, and whether a null's features are told apart as well; :func:`loss_effects` what it is worth to predictions.
:func:`feature_card` shows one in a notebook, :func:`write_browser` all of them as static pages that need no server.
"""

from .cards import Card, feature_card
from .collected import Collected, Site
from .collecting import collect
from .effects import loss_effects
from .names import Names, name_features, nameable, null_gap, null_percentile
from .neighbours import link_sites
from .pages import write_browser
from .words import Words

__all__ = [
    "Card", "Collected", "Names", "Site", "Words", "collect", "feature_card", "link_sites", "loss_effects",
    "name_features", "nameable", "null_gap", "null_percentile", "write_browser",
]  # fmt: skip
