"""What others can use to prove their own artifacts: contracts, damage, and a harness that kills writers.

A :class:`Contract` says how a version of an artifact is published and read; `kill_writers`, `inject_faults`
and `race` publish it under murder, faults and company, and count what a reader finds afterwards; `damages`
makes the kinds of damage a verification must find; `warm_apart` runs a function in a process of its own.
"""

from cytopipe.testing.contracts import CONTRACTS, Contract, Torn
from cytopipe.testing.crash import Figures, inject_faults, kill_writers, race, trace_publication, warm_apart
from cytopipe.testing.damage import DAMAGES, Damage

__all__ = [
    "CONTRACTS",
    "DAMAGES",
    "Contract",
    "Damage",
    "Figures",
    "Torn",
    "inject_faults",
    "kill_writers",
    "race",
    "trace_publication",
    "warm_apart",
]
