"""What directions cost each other: exact laws of interference, bounds, and a readout simulated at any size."""

from .bounds import active_for, coherence_bound, comment_bound, features_for, half_wrong, largest_overlap, post_bound
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
from .readout import active_sets, directions, monte_carlo, pieces, tally

__all__ = [
    "AMPLITUDES", "AnyError", "Interference", "Rule", "active_for", "active_sets", "any_error", "coherence_bound",
    "comment_bound", "directions", "false_alarm", "features_for", "gaussian_any_error", "gaussian_error", "half_wrong",
    "largest_overlap", "miss", "monte_carlo", "overlap_law", "overlap_sf", "per_feature_error", "pieces", "post_bound",
    "squared_length", "tally",
]  # fmt: skip
