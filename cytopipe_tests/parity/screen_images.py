"""Golden cases of `screen`: names, illumination, alignment, filters and montage, equal to the last bit."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations, islice
from typing import Any

import numpy as np

from cytopipe.screen.alignment import (
    align_cycles,
    apply_offsets,
    apply_window,
    calculate_offsets,
    filter_percentiles,
)
from cytopipe.screen.filters import compute_standard_deviation, find_peaks, log_filter, max_filter
from cytopipe.screen.illumination import apply_ic_field, calculate_ic_field, combine_ic_images
from cytopipe.screen.montage import create_montage, image_log_scale, subimage
from cytopipe.screen.names import get_filename, parse_filename
from cytopipe.screen.phenotype_alignment import align_phenotype_channels, apply_custom_offsets
from cytopipe_tests.parity import Outcome, Verdict, agrees, differs, fails, unevaluated
from cytopipe_tests.parity.screen import GoldenCase, Source, equal


def judged(*pairs: tuple[str, Any, np.ndarray]) -> Verdict:
    """Every result equals what it is expected to be; the first that does not is told."""
    for name, ours, expected in pairs:
        if told := equal(name, ours, expected):
            return fails(told)
    return agrees(", ".join(f"{name} {expected.shape}" for name, _, expected in pairs))


#: Samples of tiles that are tried where the reference does not tell its own.
MOST_SAMPLES = 500

#: Options of the reference that change no pixel.
UNSEEN = ("backend", "debug", "n_jobs", "threading", "verbose")


def compared(function: Callable) -> Callable[[GoldenCase], Verdict]:
    """A function of one image: the first array goes in, with the other arguments of the call."""

    def compare(case: GoldenCase) -> Verdict:
        image = next(iter(case.inputs.values()))
        rest = [known(case, one) for one in case.positional[1:]]
        given = case.calls[0].keywords.items()
        words = {name: known(case, value) for name, value in given if name not in UNSEEN}
        ((name, expected),) = case.outputs.items()
        return judged((name, function(image, *rest, **words), expected))

    return compare


def known(case: GoldenCase, value: Any) -> Any:
    """The array that an argument names, or the argument itself."""
    return case[value] if isinstance(value, Source) else value


def cycles_agree(case: GoldenCase) -> Verdict:
    """Cycles of one stack, or of a first one and the others."""
    images = [
        cycle for stack in case.inputs.values() for cycle in (stack if stack.ndim == 4 else stack[None])
    ]
    given = {name: value for name, value in case.keywords.items() if name not in UNSEEN}
    words = {"channel_order": ["DAPI", "G", "T", "A", "C"]} | given
    verdict = judged(("aligned", align_cycles(images, **words), case["out_aligned"]))
    without_dapi = words["channel_order"][0] != "DAPI" and words.get("method") != "sbs_mean"
    if verdict.outcome is Outcome.FAILS and without_dapi:
        alone = np.concatenate([align_cycles([one], **words) for one in images])
        if not equal("aligned", alone, case["out_aligned"]):
            return differs("the reference leaves cycles without DAPI where they are; here bases are compared")
    return verdict


def offsets_agree(case: GoldenCase) -> Verdict:
    """Of the first channel's window, at every factor that an output ``oN`` names."""
    ((_, stack),) = case.inputs.items()
    window = next((one for one in _numbers(case.call, r"apply_window\(.*?,\s*([\d.]+)\)")), 2)
    channel = next(iter(_numbers(case.call, r"raw\[:,\s*(\d+)\]")), 0)
    frames = apply_window(stack[:, int(channel)] if stack.ndim == 4 else stack, window)
    return judged(
        *(
            (name, calculate_offsets(frames, int(name[1:])), expected)
            for name, expected in case.outputs.items()
            if name[1:].isdigit()
        )
    )


def field_agrees(case: GoldenCase) -> Verdict:
    """The field of all tiles; the reference drops the axis of a single channel."""
    words = {name: value for name, value in case.keywords.items() if name not in UNSEEN}
    tiles, expected = list(case["tiles"]), case["out_ic"]
    fraction = words.get("sample_fraction", 1)
    if fraction == 1:
        return judged(("field", calculate_ic_field(tiles, **words).reshape(expected.shape), expected))
    del words["sample_fraction"]
    for chosen in islice(combinations(tiles, max(1, int(len(tiles) * fraction))), MOST_SAMPLES):
        if not equal("field", calculate_ic_field(chosen, **words).reshape(expected.shape), expected):
            return differs("the reference samples tiles without a seed; the field of these tiles is the same")
    return unevaluated("the reference samples tiles without a seed, and which ones is not told")


def correction_agrees(case: GoldenCase) -> Verdict:
    """One tile and its field."""
    words = {name: value for name, value in case.keywords.items() if name == "rolling_ball"}
    if "rolling_ball" in words:
        radius = (case.keywords.get("rolling_ball_kwargs") or {}).get("radius", 100)
        words["rolling_ball_radius"] = radius
    tile, *fields = case.inputs.values()
    ((name, expected),) = case.outputs.items()
    return judged((name, apply_ic_field(tile, *fields, **words), expected))


def combination_agrees(case: GoldenCase) -> Verdict:
    """Two images, and the channels of each."""
    indices = case.positional[1] if len(case.positional) > 1 else case.keywords["indices"]
    ((name, expected),) = case.outputs.items()
    return judged((name, combine_ic_images(list(case.inputs.values()), indices), expected))


def channels_agree(case: GoldenCase) -> Verdict:
    """Aligned channels; of a target that stands behind its source, the reference removes another channel."""
    verdict = compared(align_phenotype_channels)(case)
    words = dict(zip(("image_data", "target", "source"), case.positional, strict=False)) | case.keywords
    target, source = words["target"], words["source"]
    if verdict.outcome is Outcome.FAILS and words.get("remove_channel") == "target" and source < target:
        kept = {name: value for name, value in words.items() if name not in (*UNSEEN, "image_data")}
        image, (expected,) = next(iter(case.inputs.values())), case.outputs.values()
        whole = align_phenotype_channels(image, **kept | {"remove_channel": None})
        order = [one for one in range(len(image)) if one != source]
        order.insert(target + 1, source)
        if not equal("aligned", np.delete(whole[order], target, axis=0), expected):
            return differs("the reference removes another channel where the target stands behind its source")
    return verdict


def crops_agree(case: GoldenCase) -> Verdict:
    """One crop per call, in the order of the outputs."""
    ((_, image),) = case.inputs.items()
    crops = [subimage(image, *call.positional[1:], **call.keywords) for call in case.calls]
    return judged(
        *((name, crop, expected) for crop, (name, expected) in zip(crops, case.outputs.items(), strict=True))
    )


def montage_agrees(case: GoldenCase) -> Verdict:
    """Crops ``crops_0``, ``crops_1`` and so on, or one stack of them."""
    crops = [*case.inputs.values()] if len(case.inputs) > 1 else [*next(iter(case.inputs.values()))]
    rest = [one for one in case.positional[1:] if not isinstance(one, Source)]
    ((name, expected),) = case.outputs.items()
    return judged((name, create_montage(crops, *rest, **case.keywords), expected))


def names_agree(case: GoldenCase) -> Verdict:
    """Every name is read as the reference reads it, and written again as it was."""
    for name, (location, info, ending) in zip(case.document["names"], case.document["parsed"], strict=True):
        if parse_filename(name) != (location, info, ending):
            return fails(f"{name} is read as {parse_filename(name)}")
        if get_filename(location, info, ending) != name:
            return fails(f"{name} is written as {get_filename(location, info, ending)}")
    return agrees(f"{len(case.document['names'])} names")


def _numbers(text: str, pattern: str) -> list[float]:
    return [float(one) for one in re.findall(pattern, text)]


COMPARE: dict[str, Callable[[GoldenCase], Verdict]] = {
    "align_cycles": cycles_agree,
    "align_phenotype_channels": channels_agree,
    "apply_custom_offsets": compared(apply_custom_offsets),
    "apply_ic_field": correction_agrees,
    "apply_offsets": compared(apply_offsets),
    "calculate_ic_field": field_agrees,
    "calculate_offsets": offsets_agree,
    "combine_ic_images": combination_agrees,
    "compute_standard_deviation": compared(compute_standard_deviation),
    "create_montage": montage_agrees,
    "filter_percentiles": compared(filter_percentiles),
    "find_peaks": compared(find_peaks),
    "get_filename": names_agree,
    "image_log_scale": compared(image_log_scale),
    "log_filter": compared(log_filter),
    "max_filter": compared(max_filter),
    "parse_filename": names_agree,
    "subimage": crops_agree,
}
