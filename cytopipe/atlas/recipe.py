"""What decides an artifact besides its inputs, as JSON values: for provenance, and to tell whether it is
fresh.
"""

from __future__ import annotations

from cytopipe.atlas.registry import Level
from cytopipe.atlas.settings import ActivitySettings, Settings
from cytopipe.atlas.signatures import regularization_of

__all__ = ["inference_recipe", "level_recipe"]


def level_recipe(
    level: Level,
    sample: str | None = None,
    settings: Settings | None = None,
    *,
    counts: str = "X",
    duplicate_genes: str = "refuse",
) -> dict[str, object]:
    """How the cells of a level are added up."""
    return (settings or Settings()).as_json() | {
        "level": str(level),
        "sample": sample or "",
        "counts": counts,
        "duplicate_genes": duplicate_genes,
    }


def inference_recipe(signature: str, settings: ActivitySettings | None = None) -> dict[str, object]:
    """How the activity of a signature is inferred, the penalty it was made for filled in."""
    chosen = (settings or ActivitySettings()).as_json()
    if chosen["method"] == "ridge" and chosen["regularization"] is None:
        chosen["regularization"] = regularization_of(signature)
    return {"signature": signature, **chosen}
