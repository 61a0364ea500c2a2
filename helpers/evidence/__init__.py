"""What the data say and how sure that is: arms compared at equal sparsity, paired differences, intervals.

:func:`number` publishes a value from a cell together with its interval, what that covers, and its null.
"""

from .frontiers import at_l0, bootstrap_share, curves_of, mean_gain, overlap, share_closed
from .intervals import interval, paired_difference, plain, wilson, with_interval
from .numbers import MIME, Number, number

__all__ = [
    "MIME", "Number", "at_l0", "bootstrap_share", "curves_of", "interval", "mean_gain", "number", "overlap",
    "paired_difference", "plain", "share_closed", "wilson", "with_interval",
]  # fmt: skip
