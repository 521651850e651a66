"""An export in a notebook: choose options, look at one picture, start, watch, cancel.

    from cytopipe.views import ExportPanel
    panel = ExportPanel("job.yaml")
    panel                        # the panel
    panel.job.results()          # what became of each picture

The job runs in a thread of its own, so that cells can go on running. `anywidget` draws the panel
(``pip install "cytopipe[notebook]"``).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from cytopipe.errors import CytopipeError, MissingToolError, ParameterError

try:
    import anywidget
    import traitlets
except ImportError:
    raise MissingToolError(
        "the export panel needs anywidget", next='Install it: pip install "cytopipe[notebook]"'
    ) from None

from cytopipe.views.panels import answered, text_of

if TYPE_CHECKING:
    from cytopipe.export.job import Job
    from cytopipe.export.parameters import JobSettings

__all__ = ["ExportPanel"]

_PARTS = {"where": "cells", "settings": "rois"}
"""Options of a part of the job."""
_OPTIONS = (
    "mode", "marker_set", *_PARTS, "file_format", "downsample", "dpi", "quality", "scale_bar", "bar_um",
    "output",
)  # fmt: skip
_LOGGED = 500  # lines of the log that are shown; the manifest has all of them
_EVERY_S = 0.2  # between two looks at a running job


class ExportPanel(anywidget.AnyWidget):
    """The panel of one export.

    Parameters
    ----------
    job : Path, str or JobSettings
        A job file, or its settings with absolute paths. The options of the panel change them for the runs
        that are started here; the file stays as it is.
    """

    _esm = text_of("export/panel.js")
    _css = text_of("export/panel.css")

    form = traitlets.List().tag(sync=True)
    progress = traitlets.Dict().tag(sync=True)
    log = traitlets.List().tag(sync=True)
    folder = traitlets.Dict().tag(sync=True)

    def __init__(self, job: Path | str | JobSettings) -> None:
        from cytopipe.export.job_file import read_job
        from cytopipe.export.parameters import JobSettings

        super().__init__()
        self._settings = job if isinstance(job, JobSettings) else read_job(Path(job))
        self.job: Job | None = None
        """The job that was started last."""
        self._beside = ThreadPoolExecutor(2, "export-panel")
        self._following = ThreadPoolExecutor(1, "export-panel-job")
        self._looked = 0.0
        self.form = [_control(self._settings, name) for name in _options(self._settings)]
        self.progress = {"phase": "new", "done": 0, "total": 0, "states": {}, "error": ""}
        self.folder = _folder(self._settings)
        self.on_msg(self._asked)

    def close(self) -> None:
        """Take the panel away; a running job is cancelled, and what it made is kept."""
        if self.job is not None:
            self.job.cancel()
        self._beside.shutdown(wait=False)
        self._following.shutdown(wait=False)
        super().close()

    # ------------------------------------------------------------------ for a person who types

    def start(self, **options: object) -> Job:
        """Start the export with these options in place of those of the job file, and return at once.

        Raises
        ------
        CytopipeError
            The options, the images or the output folder do not allow it; nothing was written.
        ParameterError
            The export that was started before still runs.
        """
        return self._start(options, _here())

    def cancel(self) -> None:
        """Ask the running export to end soon; pictures that are made are kept."""
        if self.job is not None:
            self.job.cancel()

    def preview(self, **options: object) -> bytes:
        """The first picture of the export as PNG; nothing is written."""
        from cytopipe.export.encoding import encode
        from cytopipe.export.job import Job

        with Job(_changed(self._settings, options)) as job:
            return encode(job.preview()[1].picture, "png")

    # ------------------------------------------------------------------ what the buttons ask for

    def _asked(self, _: object, asked: Any, __: object) -> None:
        if not isinstance(asked, Mapping):
            return
        tell = _here()
        options = asked.get("values") or {}
        answers: dict[object, Callable[[], object]] = {
            "start": lambda: self._start(options, tell) and "",
            "cancel": lambda: self.cancel() or "",
            "preview": lambda: base64.b64encode(self.preview(**options)).decode(),
        }
        if asked.get("what") in answers:
            number, answer = asked.get("number"), answers[asked["what"]]

            def reply() -> None:
                told = answered(number, answer)
                tell(lambda: self.send(told))

            if asked["what"] == "cancel":  # at once: a preview may be under way
                reply()
            else:
                self._beside.submit(reply)

    # ------------------------------------------------------------------ a running job

    def _start(self, options: Mapping[str, object], tell: Callable[[Callable[[], None]], None]) -> Job:
        from cytopipe.export.job import Job

        if self.job is not None and self.job.status().phase == "running":
            raise ParameterError("the export is running", next="Wait for its end, or cancel it.")
        job = Job(_changed(self._settings, options))
        job.observe(lambda _: self._glance(job, tell))
        job.start()
        self.job = job
        tell(lambda: self._show(job))
        self._following.submit(self._follow, job, tell)
        return job

    def _glance(self, job: Job, tell: Callable[[Callable[[], None]], None]) -> None:
        """Show how far the job is, but not more often than a person can see."""
        now = time.monotonic()
        if now - self._looked >= _EVERY_S:
            self._looked = now
            tell(lambda: self._show(job))

    def _follow(self, job: Job, tell: Callable[[Callable[[], None]], None]) -> None:
        with contextlib.suppress(CytopipeError):  # the status holds it
            job.wait()
        tell(lambda: self._show(job))

    def _show(self, job: Job) -> None:
        status = job.status()
        ended = job.results()
        self.log = [
            {"file": one.file, "state": one.state, "error": one.error}
            for one in [*(one for one in ended if not one.ok), *(one for one in reversed(ended) if one.ok)][
                :_LOGGED
            ]
        ]
        self.folder = _folder(job.settings)
        self.progress = vars(status)


def _here() -> Callable[[Callable[[], None]], None]:
    """How another thread gets something done in this one: through the notebook's loop, where there is one."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        return lambda work: work()


def _options(settings: JobSettings) -> list[str]:
    return [name for name in _OPTIONS if name not in _PARTS or getattr(settings, _PARTS[name]) is not None]


def _changed(settings: JobSettings, options: Mapping[str, object]) -> JobSettings:
    """The settings with the options of the panel; a relative output folder is one of the working folder."""
    from cytopipe.export.job_file import job_settings

    written = settings.model_dump()
    unknown = sorted(set(options) - set(_options(settings)))
    if unknown:
        raise ParameterError(
            f"there is no option {unknown[0]!r}", expected=", ".join(_options(settings)), found=unknown[0]
        )
    for name, value in options.items():
        if name in _PARTS:
            written[_PARTS[name]][name] = value
        else:
            written[name] = str(Path(str(value)).expanduser().absolute()) if name == "output" else value
    return job_settings(written)


def _folder(settings: JobSettings) -> dict[str, str]:
    """The output folder, and its way from the notebook, where it lies below it."""
    path, here = Path(settings.output), Path.cwd()
    inside = path.relative_to(here).as_posix() if path.is_relative_to(here) else ""
    return {"path": str(path), "below": inside}


def _control(settings: JobSettings, name: str) -> dict[str, Any]:
    """What the form needs to know of a setting; its words are those of its declaration."""
    part = _PARTS.get(name, "")
    owner = getattr(settings, part) if part else settings
    declared, value = type(owner).model_fields[name], getattr(owner, name)
    control = {
        "name": name,
        "label": f"{part} {name}".strip().replace("_um", " (µm)").replace("_", " "),
        "help": declared.description or "",
        "value": "" if value is None else value,
        "kind": "text",
    }
    if get_origin(declared.annotation) is Literal:
        return control | {"kind": "choice", "choices": list(get_args(declared.annotation))}
    if isinstance(value, bool):
        return control | {"kind": "switch"}
    if declared.annotation in (int, float) or name == "bar_um":
        return control | {"kind": "number"}
    return control
