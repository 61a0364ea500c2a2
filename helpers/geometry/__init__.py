"""How directions lie: cosines between a dictionary's rows, and what chance, activations or packing would give.

:func:`kth_largest_cosine` measures; :func:`random_kth_cosine` is the exact law for isotropic random rows;
:func:`covariance_directions`, :func:`mixture_directions` and :func:`data_directions` draw rows from where activations
lie, :func:`moment_directions` from where a dictionary's own rows do; :func:`packing_bound` and :func:`pack` say how far
apart rows can be kept; :class:`FollowedNeighbours` which rows are near while they move; :func:`hubness` whether few
rows are the neighbours of many; :func:`peaks` where a histogram has its peaks.
"""

from .cosines import Neighbours, kth_largest_cosine, nearest_neighbours
from .followed import FollowedNeighbours
from .histograms import Peak, density, peaks
from .hubs import Hubness, hubness, in_degree
from .laws import KthCosine, random_kth_cosine, welch_bound
from .nulls import (
    GaussianLike,
    covariance_directions,
    data_directions,
    effective_dimension,
    mixture_directions,
    moment_directions,
    whitened,
)
from .packing import descend, pack, packing_bound
from .units import unit_rows

__all__ = [
    "FollowedNeighbours", "GaussianLike", "Hubness", "KthCosine", "Neighbours", "Peak", "covariance_directions",
    "data_directions", "density", "descend", "effective_dimension", "hubness", "in_degree", "kth_largest_cosine",
    "mixture_directions", "moment_directions", "nearest_neighbours", "pack", "packing_bound", "peaks",
    "random_kth_cosine", "unit_rows", "welch_bound", "whitened",
]  # fmt: skip
