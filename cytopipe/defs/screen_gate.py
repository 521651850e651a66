"""Where a screen stops for a person: the well's cells of the phenotype go on when its sequencing is approved.

gate -> qc/approval -> phenotype/nuclei, phenotype/cells and all that is made from them

Without `stop_after` an approval is made like anything else. With it, one is held until the project file names
its plate or well, or a person materializes it alone. It says the same in every case, so that an approval
makes nothing stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cytopipe.defs.artifact import Check, CheckResult, Source, artifact
from cytopipe.defs.screen_sources import WELLS
from cytopipe.project import DataSet
from cytopipe.storage.formats.document import JSON

if TYPE_CHECKING:
    from cytopipe.project.screen.entry import ScreenPart

__all__ = ["MEMBERS"]

GATE = Source(
    asset="screen/gate",
    by=WELLS,
    description="Whether the project file stops a well after the quality of its sequencing, and whether it "
    "approves it.",
    load=lambda well: well.entry,
    values=lambda well: {"stop_after": well.entry.settings.stop_after, "held": bool(well.entry.hold)},
    kinds=("yaml",),
)


def _of_its_well(approval: dict[str, object], data: DataSet) -> CheckResult:
    meant = (data.entry.plate, data.entry.well)
    found = (approval.get("plate"), approval.get("well"))
    return CheckResult(() if found == meant else (f"approves {found} instead of {meant}",))


OF_ITS_WELL = Check(
    name="of_its_well", description="It approves the well that it is named after.", evaluate=_of_its_well
)


@artifact(
    "screen/qc/approval",
    JSON,
    by=WELLS,
    inputs={"gate": GATE.asset},
    place="screen/{screen}/qc/approval/P-{plate}_W-{well}__approval.json",
    held=lambda well: well.entry.hold,
    checks=(OF_ITS_WELL,),
)
def approval(well: DataSet, gate: ScreenPart) -> dict[str, object]:
    """The well goes on: to the cells of the phenotype, their features, the merge.

    Where the project file has `stop_after: sbs_qc`, this waits for a person. Look at screen/qc/plate and at
    the checks of screen/qc/reads and screen/qc/cells; then materialize this asset alone for the wells that
    are good, or name them under `approved:` in the project file. To withdraw it, remove its file.
    """
    return {"plate": gate.plate, "well": gate.well, "approved": True}


MEMBERS = (GATE, approval)
"""The source and the artifact of the gate."""
