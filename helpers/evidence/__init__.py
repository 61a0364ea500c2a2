"""What the data say and how sure that is: arms compared at equal sparsity, paired differences, intervals."""

from .frontiers import at_l0, bootstrap_share, curves_of, mean_gain, overlap, share_closed
from .intervals import interval, paired_difference, plain, with_interval

__all__ = [
    "at_l0", "bootstrap_share", "curves_of", "interval", "mean_gain", "overlap", "paired_difference", "plain",
    "share_closed", "with_interval",
]  # fmt: skip
