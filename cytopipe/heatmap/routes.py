"""The steps of the workflow beside each other: which belong together, and from which each is made.

The definitions of the graph are loaded by every command; what they need of the workflow stands here, where
nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CODE", "FINALS", "PARENTS_OF_STEP", "ROUTES"]

CODE = "1"
"""Version of the steps: raised when the same parents and choices would give another state."""

ROUTES: Mapping[str, tuple[int, ...]] = {"main": (1, 2, 3, 5), "lineage": (6, 7, 8, 9), "mixed": (10, 11)}
"""The steps of each kind of branch, in their order."""

PARENTS_OF_STEP: Mapping[int, tuple[int, ...]] = {
    1: (),
    2: (1,),
    3: (1, 2),
    5: (1, 2, 3),
    6: (1, 2, 3, 5),
    7: (6,),
    8: (6, 7),
    9: (6, 7, 8),
    10: (3, 5),
    11: (10,),
}
"""From which steps a step can be made. Every parent has a smaller number, so that the graph has no circle."""

FINALS = (5, 9, 11)
"""The steps that end a branch; they can be merged."""
