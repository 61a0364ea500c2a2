"""The few checks of arguments that all modules share, so that every error says the same in the same words.

Each takes the argument's name and value, returns the value (numbers as plain ``int`` or ``float``), and otherwise
raises ``ValueError``: the name, the value or shape seen, and what was expected.

>>> share("recall", 0.9)
0.9
>>> whole("steps", 2.5, 1)
Traceback (most recent call last):
ValueError: steps=2.5; expected a whole number of at least 1
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real

import numpy as np
import torch
from torch import Tensor


def whole(name: str, value, least: int = 0, most: int | None = None) -> int:
    """``value`` as an ``int``: a whole number from ``least`` to ``most``; 3.0 is one, True and "3" are none."""
    if _is_real(value) and math.isfinite(value) and int(value) == value >= least and (most is None or value <= most):
        return int(value)
    wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name}={value!r}; expected a whole number {wanted}")


def wholes(name: str, values, least: int = 0) -> np.ndarray:
    """An array of whole numbers (or one), as integers of its shape, each at least ``least``."""
    seen = np.asarray(values)
    if seen.dtype.kind in "iu" and (not seen.size or seen.min() >= least):
        return seen
    raise ValueError(f"{name}={values!r}; expected whole numbers of at least {least}")


def finite(name: str, value, above: float | None = None, least: float | None = None) -> float:
    """``value`` as a ``float``: a finite number, where asked for one ``above`` a bound, or not below ``least``."""
    right = _is_real(value) and math.isfinite(value)
    if right and (above is None or value > above) and (least is None or value >= least):
        return float(value)
    bound = f" above {above:g}" if above is not None else f" of at least {least:g}" if least is not None else ""
    raise ValueError(f"{name}={value!r}; expected a finite number{bound}")


def reals(name: str, values) -> np.ndarray:
    """An array of real numbers (or one), as float64 of its shape; bool and complex are none."""
    try:
        seen = np.asarray(values.detach() if isinstance(values, Tensor) else values)
    except (TypeError, ValueError):
        seen = np.array(None)
    if seen.dtype.kind in "fiu":
        return seen.astype(float)
    raise ValueError(f"{name}={values!r}; expected real numbers")


def share(name: str, value, strictly: bool = False) -> float:
    """``value`` as a ``float`` from 0 to 1; ``strictly`` between them, if so asked."""
    if _is_real(value) and (0 < value < 1 if strictly else 0 <= value <= 1):
        return float(value)
    raise ValueError(f"{name}={value!r}; expected a number {'strictly between 0 and 1' if strictly else 'from 0 to 1'}")


def one_of(name: str, value, known: Iterable):
    """``value``, if it is one of the names ``known``."""
    known = list(known)
    if value in known:
        return value
    raise ValueError(f"{name}={value!r}; expected one of {', '.join(map(str, known))}")


def real(name: str, value) -> Tensor:
    """``value`` as a tensor of real numbers: a tensor, an array or nested lists of them; bool and complex are none.

    >>> real("x", [[1, 2.5]]).tolist()
    [[1.0, 2.5]]
    """
    try:
        seen = value if isinstance(value, Tensor) else torch.as_tensor(_forwards(np.asarray(value)))
    except (TypeError, ValueError):
        raise ValueError(f"{name} is a {type(value).__name__}; expected a tensor or an array of real numbers") from None
    if seen.dtype == torch.bool or seen.is_complex():
        raise ValueError(f"{name} has dtype {seen.dtype}; expected real numbers")
    return seen


def drawing(generator) -> torch.Generator:
    """``generator``, if it is one of torch's: nothing is drawn from another."""
    if isinstance(generator, torch.Generator):
        return generator
    raise ValueError(f"generator is a {type(generator).__name__}; expected a torch.Generator")


def matrix(name: str, value, columns: str = "d_model", d: int | None = None) -> Tensor:
    """``value`` as a tensor, if it is :func:`real`, floating and ``(n, columns)``, with a column or more, or ``d``."""
    width = columns if d is None else f"{columns}={d}"
    value = real(name, value)
    if value.ndim != 2 or not value.is_floating_point() or not (value.shape[1] if d is None else value.shape[1] == d):
        raise ValueError(f"{name} has shape {tuple(value.shape)}, {value.dtype}; expected floating (n, {width})")
    return value


def all_finite(name: str, value: Tensor) -> Tensor:
    """``value``, if none of its entries is NaN or infinite."""
    # one sum first: it is finite for nearly every tensor that is, and much cheaper than a mask
    if not torch.isfinite(value.sum()) and not (good := torch.isfinite(value)).all():
        raise ValueError(f"{name} holds {int((~good).sum())} values that are NaN or infinite; expected finite numbers")
    return value


def _forwards(array: np.ndarray) -> np.ndarray:
    """An array that torch can read: a copy where one is read backwards."""
    return array.copy() if any(step < 0 for step in array.strides) else array


def _is_real(value) -> bool:
    return isinstance(value, Real | np.number) and not isinstance(value, bool | np.bool_ | complex | np.complexfloating)
