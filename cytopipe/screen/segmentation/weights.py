"""Where the weights of a network are: the user has them, nothing is downloaded."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from cytopipe.errors import MissingToolError

__all__ = ["release", "weights"]


def weights(path: str, method: str) -> str:
    """The path of weights, if something is there.

    Raises
    ------
    MissingToolError
        The settings name none, or a file that is absent.
    """
    if path and Path(path).exists():
        return path
    raise MissingToolError(
        f"there are no weights for {method}" if path else f"no weights are named for {method}",
        where="nucleus_model, cell_model",
        expected="a file (cellpose) or folder (stardist) of a trained model",
        found=path,
        next="Name it by its path; we download none.",
    )


def release(package: str) -> int:
    """Major version of an installed package."""
    return int(version(package).split(".")[0])
