"""Resolving all losses whose λ is known: time against Singular's resolve.lib, and λ against its Bernstein polynomials.

    python -m benchmarks.singular [--rounds N]

Prints one table and writes ``singular.json`` and ``singular.md`` beside this file. Both get the same losses (Singular
the curve f where K is f²) and go in turns; reported are the sums over losses of medians over rounds. Singular's clock
starts when its libraries are loaded. It resolves over the complex numbers and keeps conjugate points together; here
every chart is written out, units included. λ is minus the largest root of the Bernstein polynomial: another theory.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

from benchmarks import report
from helpers.runs import ROOT
from helpers.singular import KNOWN, resolve

PEERS = Path(os.environ.get("PEERS_ENV", ROOT / ".venv-peers"))
HARD = "((y**2 - x**3)**2 + x**5*y)**2"  # its Bernstein polynomial takes Singular longer than all others together
PROGRAM = """\
LIB "resolve.lib"; LIB "bfun.lib";
system("--ticks-per-sec", 1000000); ring r = 0, (x, y), dp; int t; poly f; list L;
{calls}
quit;
"""


def binary(env: Path = PEERS) -> Path | None:
    """Singular's program in the peers' environment, if it is there."""
    return next(env.glob("lib/python3*/site-packages/sage_wheels/bin/Singular"), None)


def curve(K: str) -> tuple[str, int]:
    """f and 2 where K is f², K and 1 elsewhere."""
    square = re.fullmatch(r"\((.*)\)\*\*2", K)
    return (square[1], 2) if square else (K, 1)


def ask(call: str, losses, limit: float = 600.0) -> dict[str, tuple[float, str]]:
    """Seconds and what is printed, for a list that Singular computes for each of the losses."""
    calls = [
        f'f = {curve(K)[0].replace("**", "^")}; t = rtimer; L = {call}; t = rtimer - t; "BEGIN", t; L[1]; "END";'
        for K in losses
    ]
    program = PROGRAM.format(calls="\n".join(calls))
    out = subprocess.run(
        [str(binary()), "-q"], input=program, capture_output=True, text=True, check=True, timeout=limit
    )
    blocks = re.findall(r"BEGIN (\d+)\n(.*?)\nEND", out.stdout, re.DOTALL)
    return {K: (int(ticks) / 1e6, text) for K, (ticks, text) in zip(losses, blocks, strict=True)}


def rlct(K: str, printed: str) -> Fraction:
    """λ of K from the roots of the Bernstein polynomial of its curve."""
    roots = [Fraction(root) for root in re.findall(r"=(-?\d+(?:/\d+)?)", printed)]
    return -max(roots) / curve(K)[1]


def here(losses) -> dict[str, float]:
    """Seconds to resolve each and to write out every chart."""
    seconds = {}
    for K in losses:
        begun = time.perf_counter()
        for chart in resolve(K).charts:
            _ = chart.x, chart.y, chart.unit, chart.jacobian_unit
        seconds[K] = time.perf_counter() - begun
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the results")
    options = parser.parse_args()
    results = {**report.stamp(), "losses": len(KNOWN)}
    races: dict[str, list[dict[str, float]]] = {"here": [], "singular": []}
    here(KNOWN)
    for _ in range(options.rounds):
        races["here"].append(here(KNOWN))
        if binary():
            found = ask("resolve(ideal(f))", KNOWN)
            races["singular"].append({K: seconds for K, (seconds, _) in found.items()})
    results["seconds"] = {
        name: {K: median(turn[K] for turn in turns) for K in KNOWN} for name, turns in races.items() if turns
    }
    if binary():
        found = ask("bfct(f)", [K for K in KNOWN if K != HARD])
        results["bernstein"] = {K: seconds for K, (seconds, _) in found.items()}
        results["agree"] = sum(rlct(K, printed) == KNOWN[K][0] for K, (_, printed) in found.items())
    report.keep(results, report.singular(results), options.out, "singular")


if __name__ == "__main__":
    from benchmarks import singular

    singular.main()
