"""What a chapter may claim: a number, its interval, what the interval covers, and what chance would give."""

from helpers.evidence.numbers import Number, number

__all__ = ["Number", "number"]
