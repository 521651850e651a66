"""What holds for a whole project: the top-level keys of ``cytopipe.yaml`` beside the domains."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cytopipe.project.entry import FilePath
from cytopipe.units import Duration_s

__all__ = ["Settings"]


def _engine(spec: str) -> str:
    if not re.fullmatch(r"serial|(local|dask)(:[1-9]\d{0,3})?|dask:(tcp|tls|ucx|wss?)://\S+", spec):
        raise ValueError("expected serial, local, local:N, dask, dask:N or dask:tcp://HOST:PORT")
    return spec


def _folder(path: object) -> object:
    if isinstance(path, str) and re.match(r"[a-z][a-z0-9+]+://", path):
        raise ValueError("expected a directory: the FASTA stages are files that people edit by hand")
    return path


class Settings(BaseModel):
    """The project-wide settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    cytopipe: Literal[1] = 1
    """Version of this file's layout."""

    output: Annotated[FilePath, BeforeValidator(_folder)] = "outputs"
    """Directory under which every artifact is written, relative to this file."""

    engine: Annotated[str, AfterValidator(_engine)] = "local"
    """Where heavy work runs: serial, local, local:N (processes), dask, dask:N or dask:tcp://HOST:PORT."""

    keep_versions: Duration_s = Field(default=7 * 86400.0)
    """How long superseded versions of an artifact stay on disk, in seconds or as '7 days'."""
