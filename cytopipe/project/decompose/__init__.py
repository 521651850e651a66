"""Registration of `decompose`: sequences of a DNA barcode, split into species-like clusters."""

from cytopipe.project.domain import Domain

__all__ = ["DOMAIN"]

DOMAIN = Domain(
    name="decompose",
    help="Split DNA barcodes into species-like clusters.",
    package=__name__,
    entry=f"{__name__}.entry:SequenceSet",
    commands="cytopipe.commands.decompose:decompose",
    graph="cytopipe.defs.decompose:DECOMPOSE",
    parameters=("cytopipe.decompose.parameters:Parameters",),
)
