"""What of a screen is made only where its entry asks for it: by the method of reads, or by an export."""

from __future__ import annotations

from cytopipe.defs.artifact import When
from cytopipe.defs.screen_sources import SCREENS
from cytopipe.project import DataSet

__all__ = [
    "BY_MODEL",
    "BY_PEAKS",
    "MONTAGES_EXPORTED",
    "PEAK_METHODS",
    "also_exported",
    "filtered",
    "plate_exported",
    "stage_exported",
]

PEAK_METHODS = ("median", "percentile")
"""Methods of reads that find spots as peaks of filtered images."""


def _method(screen: DataSet) -> str:
    """The method of reads; empty text where nothing was sequenced."""
    sbs = screen.entry.settings.sbs
    return sbs.reads.method if sbs is not None else ""


def _other_method(screen: DataSet) -> str:
    method = _method(screen)
    return f"reads by method: {method} do not use it" if method else "nothing was sequenced"


BY_PEAKS = When(of=SCREENS, unused=lambda one: "" if _method(one) in PEAK_METHODS else _other_method(one))
BY_MODEL = When(of=SCREENS, unused=lambda one: "" if _method(one) == "model" else _other_method(one))


def filtered(*stages: str) -> When:
    """Of an image that reads by peaks are made from: there, and where one of `stages` is exported."""

    def unused(screen: DataSet) -> str:
        if _method(screen) in PEAK_METHODS or set(stages) & set(screen.entry.settings.exported("sbs")):
            return ""
        return _other_method(screen)

    return When(of=SCREENS, unused=unused)


def stage_exported(acquisition: str, stage: str) -> When:
    """Where images of a stage are exported as OME-Zarr."""

    def unused(screen: DataSet) -> str:
        is_exported = stage in screen.entry.settings.exported(acquisition)
        return "" if is_exported else f"{acquisition}: omezarr_stages does not ask for {stage}"

    return When(of=SCREENS, unused=unused)


def plate_exported(acquisition: str, *stages: str) -> When:
    """Where images of one of `stages` are exported as OME-Zarr, and put together as a plate."""

    def unused(screen: DataSet) -> str:
        if not set(stages) & set(screen.entry.settings.exported(acquisition)):
            return f"{acquisition}: omezarr_stages asks for no image that a plate shows"
        is_wanted = screen.entry.settings.acquisitions[acquisition].omezarr.plate
        return "" if is_wanted else f"{acquisition}: omezarr_plate is false"

    return When(of=SCREENS, unused=unused)


def also_exported(acquisition: str, what: str) -> When:
    """Where an acquisition is exported as OME-Zarr, and asks for ``well`` or ``overlays``, too."""

    def unused(screen: DataSet) -> str:
        one = screen.entry.settings.acquisitions.get(acquisition)
        is_wanted = one is not None and getattr(one.omezarr, what)
        if is_wanted and screen.entry.settings.exported(acquisition):
            return ""
        return f"{acquisition}: omezarr_{what} is not asked for, or nothing is exported"

    return When(of=SCREENS, unused=unused)


def _no_montages(screen: DataSet) -> str:
    is_wanted = screen.entry.settings.aggregate.omezarr_export_overlays
    return "" if is_wanted else "aggregate: omezarr_export_overlays is false"


MONTAGES_EXPORTED = When(of=SCREENS, unused=_no_montages)
