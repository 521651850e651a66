"""Channels of a phenotype image brought onto each other: known whole shifts first, then measured ones.

Channels of two imaging rounds share one stain: the `source` channel is brought onto the `target` channel, and
`riders`, which were imaged with the source, take its shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from cytopipe.errors import InputError, ParameterError
from cytopipe.screen.alignment import apply_offsets, apply_window, calculate_offsets
from cytopipe.screen.parameters import PhenotypeAlignmentSettings

__all__ = ["align_phenotype", "align_phenotype_channels", "apply_custom_offsets"]


def align_phenotype(image: np.ndarray, settings: PhenotypeAlignmentSettings) -> np.ndarray:
    """All that `settings` ask for: custom offsets, then each step on the channels the last one left.

    Parameters
    ----------
    image : (C, Y, X) uint16

    Returns
    -------
    (C, Y, X) uint16
        Without the channels that steps remove.
    """
    if settings.custom_channel_offsets:
        image = apply_custom_offsets(image, settings.custom_channel_offsets)
    for step in settings.steps:
        image = align_phenotype_channels(
            image,
            step.target,
            step.source,
            step.riders,
            step.upsample_factor,
            step.window,
            step.remove_channel,
        )
    return image


def align_phenotype_channels(
    image_data: np.ndarray,
    target: int,
    source: int,
    riders: int | Sequence[int] = (),
    upsample_factor: int = 2,
    window: float = 2,
    remove_channel: Literal["target", "source", False] | None = None,
) -> np.ndarray:
    """Bring a channel, and those that ride with it, onto another one.

    Parameters
    ----------
    image_data : (C, Y, X) or (Z, C, Y, X), uint8 or uint16
        Of a stack, the maximum over Z is compared.
    target, source : int
        Channels, counted from 0.
    riders : sequence of int
        Channels that take the shift of the source.
    upsample_factor : int
        The shift is a multiple of 1 / upsample_factor px.
    window : float
        The centre 1 / window of the image is compared.
    remove_channel : {'target', 'source'}, optional
        Removed after alignment. The source takes the place of a target that is removed.

    Returns
    -------
    (C, Y, X) or (Z, C, Y, X) of the same dtype
    """
    if image_data.ndim not in (3, 4):
        raise InputError("no image of channels", expected="CYX or ZCYX", found=str(image_data.shape))
    n = image_data.shape[-3]
    moved = [source, *([riders] if isinstance(riders, int | np.integer) else riders)]
    if wrong := [one for one in (target, *moved) if not 0 <= one < n]:
        raise ParameterError(
            "a channel to align does not exist", expected=f"0 to {n - 1}", found=", ".join(map(str, wrong))
        )
    if target in moved:
        raise ParameterError("a channel cannot be aligned on itself", found=f"target {target}, moved {moved}")
    if remove_channel not in (None, False, "target", "source"):
        raise ParameterError("remove_channel", expected="target, source or None", found=repr(remove_channel))
    flat = image_data.max(axis=0) if image_data.ndim == 4 else image_data
    shift = calculate_offsets(apply_window(flat[[target, source]], window), upsample_factor)[1]
    offsets = np.zeros((n, 2))
    offsets[moved] = shift
    planes = image_data.reshape(-1, n, *image_data.shape[-2:])
    aligned = np.stack([apply_offsets(one, offsets) for one in planes]).reshape(image_data.shape)
    order = list(range(n))
    if remove_channel:
        order.remove(source)
    if remove_channel == "target":
        order[order.index(target)] = source
    return aligned if len(order) == n else aligned[..., order, :, :]


def apply_custom_offsets(data: np.ndarray, offsets_dict: Mapping[int, Sequence[float]]) -> np.ndarray:
    """Shift channels by known offsets.

    Parameters
    ----------
    data : (C, Y, X) uint8 or uint16
    offsets_dict : mapping of int to (y, x)
        By channel, counted from 0, in px: y above 0 shifts up, x above 0 shifts left.

    Returns
    -------
    (C, Y, X) of the same dtype
        0 where nothing was imaged.
    """
    if wrong := [one for one in offsets_dict if not 0 <= one < len(data)]:
        raise ParameterError(
            "an offset for a channel that does not exist",
            expected=f"0 to {len(data) - 1}",
            found=", ".join(map(str, wrong)),
        )
    offsets = np.zeros((len(data), 2))
    for channel, offset in offsets_dict.items():
        offsets[channel] = offset
    return apply_offsets(data, offsets)
