"""FlowSOM: a self-organising map of the cells, and metaclusters of its nodes.

Van Gassen et al. 2015, doi:10.1002/cyto.a.22625. Codes and labels are those of the Python package `flowsom`
0.2.2 for the same seed; metaclusters come from a consensus over resamples, as the paper has it, which the
package leaves out.
"""

from __future__ import annotations

from cytopipe.on_demand import names_on_demand

_DOOR = {"FlowSOM": "clustering", "cluster_cells": "clustering"}

__all__ = list(_DOOR)
__getattr__, __dir__ = names_on_demand(__name__, _DOOR)
