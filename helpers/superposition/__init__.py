"""What directions cost each other: exact laws of interference, bounds, and readings simulated or measured on tokens."""

from .bounds import (
    active_for,
    coherence_bound,
    comment_bound,
    features_for,
    half_wrong,
    largest_overlap,
    post_bound,
    pursuit_bound,
    reading_bound,
)
from .interference import (
    AMPLITUDES,
    AnyError,
    Interference,
    Rule,
    any_error,
    false_alarm,
    gaussian_any_error,
    gaussian_error,
    miss,
    overlap_law,
    overlap_sf,
    per_feature_error,
    squared_length,
)
from .reading import Separation, best_errors, exact_auc, separation
from .readout import active_sets, directions, monte_carlo, pieces, tally
from .tokens import chance_power, one_shot, suffered

__all__ = [
    "AMPLITUDES", "AnyError", "Interference", "Rule", "Separation", "active_for", "active_sets", "any_error",
    "best_errors", "chance_power", "coherence_bound", "comment_bound", "directions", "exact_auc", "false_alarm",
    "features_for", "gaussian_any_error", "gaussian_error", "half_wrong", "largest_overlap", "miss", "monte_carlo",
    "one_shot", "overlap_law", "overlap_sf", "per_feature_error", "pieces", "post_bound", "pursuit_bound",
    "reading_bound", "separation", "squared_length", "suffered", "tally",
]  # fmt: skip
