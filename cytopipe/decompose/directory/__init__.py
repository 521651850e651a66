"""The directory of the plain command: stages made one after the other, looked at, edited, gone back to.

The clusters are made by the verbs of `cytopipe.decompose.stages` and published by the archive in the
formats of `cytopipe.decompose.formats`, as in a project; here is what only a directory has: what was asked
of it, whether it can be continued, and the points it can go back to.
"""

from cytopipe.decompose.directory.decomposition import Decomposition, StageResult

__all__ = ["Decomposition", "StageResult"]
