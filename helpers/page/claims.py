"""What a cell's assertion says where it no longer holds: which it was, and that this may be a finding."""

from __future__ import annotations

import traceback

ADVICE = (
    "The chapter says so of its own numbers. If you changed one, this is what that changes; take the line out to go on."
)


def explain_assertions(shell) -> None:
    """Let the notebook's ``shell`` name the assertion that failed; it still ends the cell as an error.

    Assertions inside functions of ``helpers`` are left alone: those are faults, and no claims.
    """
    shell.set_custom_exc((AssertionError,), _explained)


def _explained(shell, kind, error, trace, tb_offset=None):
    at = traceback.extract_tb(trace)[-1]
    if "helpers" not in at.filename and (at.line or "").startswith("assert"):
        seen = f" ({', '.join(map(str, error.args))})" if error.args else ""
        error.args = (f"this does not hold: {at.line.removeprefix('assert').strip()}{seen}. {ADVICE}",)
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
