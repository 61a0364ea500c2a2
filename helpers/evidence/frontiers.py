"""Comparing arms at equal sparsity.

A dictionary's fidelity means little without its L0, and two arms never land on the same L0. So each arm's runs are
joined into a frontier (fidelity against log L0, one curve per seed), and arms are compared where their curves overlap.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..checks import finite, one_of, reals, whole

POINTS = 33


def overlap(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """``POINTS`` values of log L0, evenly spaced over the range that all curves ``(l0, y)`` cover."""
    curves = _read(curves)
    low = max(np.log(l0).min() for l0, _ in curves.values())
    high = min(np.log(l0).max() for l0, _ in curves.values())
    if not low < high:
        ranges = {name: (round(float(l0.min()), 1), round(float(l0.max()), 1)) for name, (l0, _) in curves.items()}
        raise ValueError(f"curves share no range of L0: {ranges}. Add sparsity levels.")
    return np.linspace(low, high, POINTS)


def mean_gain(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], arm: str, base: str = "standard") -> float:
    """Mean over the common range of log L0 of ``y(arm) - y(base)``, by linear interpolation.

    ``y`` may carry leading axes (resamples): shape ``(…, runs)`` gives an array of that shape without the last.
    """
    at, curves = overlap(curves), _read(curves)
    one_of("arm", arm, curves), one_of("base", base, curves)
    return _along(curves[arm], at).mean(-1) - _along(curves[base], at).mean(-1)


def share_closed(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], arm: str, best: str, base: str = "standard"):
    """How much of the gain of ``best`` over ``base`` the ``arm`` makes: 0 none of it, 1 all, negative is worse."""
    one_of("best", best, _read(curves))
    return mean_gain(curves, arm, base) / mean_gain(curves, best, base)


def curves_of(table: pd.DataFrame, arms, y: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """One curve per arm from the rows of one site and seed."""
    table = _columns(table, ("architecture", "l0", y), f"architecture, l0 and y={y!r}")
    out = {}
    for arm in arms:
        rows = table[table.architecture == arm].sort_values("l0")
        if len(rows) < 2:
            raise ValueError(f"arm {arm!r} has {len(rows)} runs here; a frontier needs two or more")
        out[arm] = (rows.l0.to_numpy(), rows[y].to_numpy())
    return out


def _columns(table, columns: tuple, wanted: str = "") -> pd.DataFrame:
    """``table``, if it is one and has the ``columns``."""
    wanted = wanted or ", ".join(columns)
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"table is {table!r}; expected a DataFrame with the columns {wanted}")
    lacks = [repr(name) for name in columns if name not in table.columns]
    if lacks:
        raise ValueError(f"table lacks {', '.join(lacks)}; expected the columns {wanted}")
    return table


def _read(curves) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Curves as float64, refused by name where one is none."""
    if not isinstance(curves, Mapping) or not curves:
        raise ValueError(f"curves={curves!r}; expected arms by name, each a pair (l0, y)")
    out = {}
    for name, curve in curves.items():
        if not isinstance(curve, tuple | list | np.ndarray) or len(curve) != 2:
            raise ValueError(f"curves[{name!r}]={curve!r}; expected a pair (l0, y)")
        l0, y = (reals(f"curves[{name!r}]", part) for part in curve)
        if l0.ndim != 1 or not l0.size or y.shape[-1:] != l0.shape or not ((l0 > 0) & np.isfinite(l0)).all():
            seen = f"l0 {l0.tolist()}, y of shape {y.shape}"
            raise ValueError(f"curves[{name!r}] has {seen}; expected positive finite l0 (runs,) and y (…, runs)")
        out[name] = (l0, y)
    return out


def at_l0(l0: np.ndarray, y: np.ndarray, where: float) -> np.ndarray:
    """``y (…, runs)`` at L0 ``where``, by linear interpolation in log L0 between the runs' ``l0 (runs,)``.

    Where all runs have one L0 (TopK), it must be ``where`` to within 1%, and their mean is returned. Raises ValueError
    outside the runs' range: nothing is extrapolated.
    """
    l0, y, where = reals("l0", l0), reals("y", y), finite("where", where)
    if l0.ndim != 1 or not l0.size or y.shape[-1:] != l0.shape:
        raise ValueError(f"l0 has shape {l0.shape}, y {y.shape}; expected (runs,) and (…, runs), one run or more")
    if not ((l0 > 0) & np.isfinite(l0)).all():
        raise ValueError(f"l0={l0.tolist()}; expected positive finite numbers")
    if np.allclose(l0, where, rtol=0.01):
        return y.mean(-1)
    if not l0.min() <= where <= l0.max():
        raise ValueError(f"where={where!r} lies outside the L0 of the runs, {l0.min():.1f} to {l0.max():.1f}")
    return _along((l0, y), np.log([where]))[..., 0]


def _along(curve: tuple[np.ndarray, np.ndarray], at: np.ndarray) -> np.ndarray:
    l0, y = curve
    l0, group = np.unique(l0, return_inverse=True)  # sorted; runs at one L0 are averaged
    x, y = np.log(l0), np.stack([np.asarray(y)[..., group == i].mean(-1) for i in range(len(l0))], -1)
    right = np.clip(np.searchsorted(x, at), 1, len(x) - 1)
    weight = (at - x[right - 1]) / (x[right] - x[right - 1])
    return y[..., right - 1] * (1 - weight) + y[..., right] * weight


def bootstrap_share(
    table: pd.DataFrame, losses: Mapping[str, np.ndarray], site: str, split: int, arm: str = "expanded",
    best: str = "gated", base: str = "standard", n: int = 2000, seed: int = 0,
) -> tuple[float, np.ndarray]:  # fmt: skip
    """Share of cross-entropy recovered that ``arm`` closes at ``site``, and ``n`` bootstrap draws of it.

    Sequences and seeds are resampled together: arms keep their pairing on both. ``losses[run]`` is
    ``(split, 3, sequences)``: clean, spliced, zero-ablated. Only seeds with all runs of the three arms count.
    Sparsity is that of the text judged: column ``l0`` for split 0, ``l0_human`` for split 1.

    Raises ``ValueError`` for a table without the columns or the arms, and for runs whose losses are missing, of another
    shape or not finite.
    """
    arms, column = (base, arm, best), ("l0", "l0_human")[one_of("split", split, (0, 1))]
    n, rng = whole("n", n, 1), np.random.default_rng(whole("seed", seed))
    table = _columns(table, ("architecture", "site", "seed", "level", column))
    rows = table[(table.site == one_of("site", site, table.site.unique())) & table.architecture.isin(arms)]
    for name in arms:
        one_of("arm", name, rows.architecture.unique())
    full = rows.groupby("seed").size()
    seeds = full[full == full.max()].index.to_numpy()
    losses = {key: _losses(losses, key, split) for key in _keys(rows[rows.seed.isin(seeds)])}
    counts = {part.shape[1] for part in losses.values()}
    if len(counts) > 1:
        raise ValueError(f"losses are of {sorted(counts)} sequences; expected equally many in every run")
    n_seq = counts.pop()
    weights = np.vstack([np.ones(n_seq), rng.multinomial(n_seq, np.full(n_seq, 1 / n_seq), n)])
    gains = np.empty((2, len(seeds), n + 1))
    for i, s in enumerate(seeds):
        curves = {}
        for name in arms:
            part = rows[(rows.seed == s) & (rows.architecture == name)].sort_values("l0")
            if len(part) < 2:
                raise ValueError(f"arm {name!r} has {len(part)} runs at site={site!r}, seed {s}; a frontier needs two")
            runs = np.stack([losses[key] for key in _keys(part)])
            clean, spliced, zero = np.einsum("rks,ns->knr", runs, weights)
            curves[name] = (part[column].to_numpy(), (zero - spliced) / (zero - clean))
        gains[0, i], gains[1, i] = mean_gain(curves, arm, base), mean_gain(curves, best, base)
    picks = rng.integers(0, len(seeds), (n, len(seeds)))
    drawn = np.stack([gains[:, picks[j], j + 1].sum(1) for j in range(n)])
    return float(gains[0, :, 0].sum() / gains[1, :, 0].sum()), drawn[:, 0] / drawn[:, 1]


def _keys(rows: pd.DataFrame) -> list[str]:
    """Names of runs among the losses."""
    each = zip(rows.architecture, rows.site, rows.seed, rows.level, strict=True)
    return ["/".join(map(str, run)) for run in each]


def _losses(losses, key: str, split: int) -> np.ndarray:
    """One run's losses on a split, ``(3, sequences)``: clean, spliced, zero-ablated."""
    if not isinstance(losses, Mapping) or key not in losses:
        seen = f"lacks {key!r}" if isinstance(losses, Mapping) else f"is a {type(losses).__name__}"
        raise ValueError(f"losses {seen}; expected arrays (split, 3, sequences) by 'architecture/site/seed/level'")
    found = reals(f"losses[{key!r}]", losses[key])
    if found.ndim != 3 or found.shape[1] != 3 or len(found) <= split or not found.size or not np.isfinite(found).all():
        raise ValueError(f"losses[{key!r}] has shape {found.shape}; expected finite (split, 3, sequences)")
    return found[split]
