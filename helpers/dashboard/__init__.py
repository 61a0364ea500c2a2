"""Features collected, described and written as pages."""

from .cards import Card, feature_card
from .collected import Collected, Site
from .collecting import collect
from .effects import loss_effects
from .names import Names, name_features, nameable, null_percentile
from .pages import write_browser
from .words import Words

__all__ = [
    "Card", "Collected", "Names", "Site", "Words", "collect", "feature_card", "loss_effects", "name_features",
    "nameable", "null_percentile", "write_browser",
]  # fmt: skip
