"""The graph of a screen: sequencing and phenotype of the same wells.

An entry of the project file is a screen (``crop``). It has plates (``crop.1``), wells (``crop.1-A1``) and, in
each acquisition, tiles (``crop.1-A1|7``). Files lie as the field's reference pipeline names them, below
``screen/<screen>``.
"""

from __future__ import annotations

from cytopipe.defs.artifact import Graph
from cytopipe.defs.screen_aggregate import MEMBERS as AGGREGATE
from cytopipe.defs.screen_brieflow import with_trees
from cytopipe.defs.screen_gate import MEMBERS as GATE
from cytopipe.defs.screen_merge import MEMBERS as MERGE
from cytopipe.defs.screen_omezarr import MEMBERS as OMEZARR
from cytopipe.defs.screen_overlays import MEMBERS as OVERLAYS
from cytopipe.defs.screen_phenotype import MEMBERS as PHENOTYPE
from cytopipe.defs.screen_quality import MEMBERS as QUALITY
from cytopipe.defs.screen_sbs import MEMBERS as SBS
from cytopipe.defs.screen_wells import MEMBERS as WHOLE_WELLS

__all__ = ["SCREEN"]

SCREEN = Graph(
    *with_trees((*GATE, *SBS, *PHENOTYPE, *MERGE, *QUALITY, *AGGREGATE, *OMEZARR, *WHOLE_WELLS, *OVERLAYS)),
    jobs={f"all_{of}_omezarr": f"screen/{of}/omezarr" for of in ("sbs", "phenotype")},
)
