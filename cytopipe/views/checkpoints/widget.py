"""The history of a heat map in a notebook: look, compare, reload, branch, save.

    from cytopipe.views import CheckpointBrowser
    browser = CheckpointBrowser("results")
    browser                      # the panel
    browser.display.state        # the checkpoint that was reloaded last

What a button asks for is done beside the notebook's own work, one thing at a time, so that cells can go on
running. `anywidget` draws it (``pip install "cytopipe[notebook]"``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytopipe.errors import CytopipeError, InputError, MissingToolError

try:
    import anywidget
    import traitlets
except ImportError:
    raise MissingToolError(
        "the checkpoint browser needs anywidget", next='Install it: pip install "cytopipe[notebook]"'
    ) from None

from cytopipe.views.checkpoints.data import comparison_of, detail_of, nodes_of, palette
from cytopipe.views.panels import answered, text_of

if TYPE_CHECKING:
    import pandas as pd

    from cytopipe.heatmap.branches import Branches
    from cytopipe.heatmap.display import HeatmapDisplay
    from cytopipe.heatmap.index import Entry
    from cytopipe.heatmap.state import HeatmapState

__all__ = ["CheckpointBrowser"]


class CheckpointBrowser(anywidget.AnyWidget):
    """The checkpoints of a folder as a graph.

    Parameters
    ----------
    folder : Path or str
        Where checkpoints lie, and where new ones are saved. Branches can be computed in one that
        `cytopipe heatmap run` made, and in that of a data set of a project (``outputs/heatmap/blood``).
    display : HeatmapDisplay, optional
        What Save takes and Reload changes; at first there is none.
    cells : DataFrame, optional
        What is known of the cells, for provenance columns of saved checkpoints.
    on_load : callable, optional
        Called with the display after each reload.
    project : Path or str, optional
        The project whose data set it is, where none of the folders above is one.
    """

    _esm = text_of("checkpoints/browser.js")
    _css = text_of("checkpoints/browser.css")

    nodes = traitlets.List().tag(sync=True)
    loaded = traitlets.Unicode("").tag(sync=True)
    palette = traitlets.List().tag(sync=True)
    forms = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        folder: Path | str,
        display: HeatmapDisplay | None = None,
        *,
        cells: pd.DataFrame | None = None,
        on_load: Callable[[HeatmapDisplay], None] | None = None,
        project: Path | str | None = None,
    ) -> None:
        super().__init__()
        self.project = None if project is None else Path(project)
        self.folder, self.display, self.cells, self.on_load = Path(folder), display, cells, on_load
        if display is not None and cells is None:
            self.cells = display.cells
        self.palette = palette()
        self._one_at_a_time = ThreadPoolExecutor(1, "checkpoint-browser")
        self._entries: Mapping[str, Entry] = {}
        self.refresh()
        self.on_msg(self._asked)

    def refresh(self) -> None:
        """Look at the folder again."""
        from cytopipe.heatmap.index import open_history

        history = open_history(self.folder)
        self._entries = history.by_id
        self.forms = self._forms()
        self.loaded = self.display.loaded_id if self.display is not None else ""
        self.nodes = nodes_of(history, self._branches())

    def _branches(self) -> Branches | None:
        """What the folder is made by, if its recipe says it."""
        from cytopipe.heatmap.workspace import RECIPE, Workspace

        if not (self.folder / RECIPE).is_file():
            return None
        try:
            return Workspace.open(self.folder).branches
        except CytopipeError:  # who begins a branch is told; the history can be looked at all the same
            return None

    def close(self) -> None:
        """Take the panel away; what was begun is still finished."""
        self._one_at_a_time.shutdown(wait=False)
        super().close()

    # ------------------------------------------------------------------ what the buttons ask for

    def _asked(self, _: object, asked: Any, __: object) -> None:
        answers = {
            "detail": lambda: detail_of(self._state(asked["id"])),
            "compare": lambda: comparison_of(self._state(asked["a"]), self._state(asked["b"])),
            "load": lambda: self.load(asked["id"]),
            "save": lambda: self.save(**_save_fields(asked["values"])),
            "branch": lambda: self.branch(asked["id"], **_branch_fields(asked["values"])),
        }
        if not isinstance(asked, Mapping) or asked.get("what") not in answers:
            return
        number, answer = asked.get("number"), answers[asked["what"]]
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no notebook: answered at once
            self.send(answered(number, answer))
            return
        self._one_at_a_time.submit(lambda: loop.call_soon_threadsafe(self.send, answered(number, answer)))

    def _state(self, checkpoint: str) -> HeatmapState:
        from cytopipe.heatmap.artifact import load_heatmap_state

        return load_heatmap_state(self._path(checkpoint))

    def _path(self, checkpoint: str) -> Path:
        entry = self._entries.get(checkpoint)
        if entry is None:
            raise InputError(
                "the file of this checkpoint is not there", found=checkpoint[:80], where=str(self.folder)
            )
        return self.folder / entry.path

    # ------------------------------------------------------------------ the same, for a person who types

    def load(self, checkpoint: str) -> str:
        """Reload a checkpoint into `display`: matrix, colours, order, channels, filters, cut, embeddings.

        Parameters
        ----------
        checkpoint : str
            Its identifier.

        Returns
        -------
        str
            What was done, in words.
        """
        from cytopipe.heatmap.display import HeatmapDisplay

        state = self._state(checkpoint)
        if self.display is None:
            self.display = HeatmapDisplay(state, self.cells)
        else:
            self.display.state = state
        self.display.loaded_id = state.id
        self.loaded = state.id
        self.forms = self._forms()
        if self.on_load is not None:
            self.on_load(self.display)
        size = f"{state.n_clusters} clusters x {state.n_markers} markers"
        return f"Reloaded {self._path(checkpoint).name}: {size}."

    def save(
        self,
        step_id: str,
        description: str,
        *,
        metadata_cols: Sequence[str] = (),
        include_embeddings: bool = True,
        include_raw_medians: bool = True,
        name: str = "",
    ) -> str:
        """Save what is on display as a new checkpoint; parameters as `HeatmapDisplay.save`."""
        if self.display is None:
            raise InputError("nothing is on display", next="Reload a checkpoint first, or give a display.")
        path = self.display.save(
            self.folder,
            step_id,
            description,
            name=name or None,
            metadata_cols=list(metadata_cols) or None,
            include_embeddings=include_embeddings,
            include_raw_medians=include_raw_medians,
        )
        self.refresh()
        return f"Saved {path.name}."

    def branch(self, checkpoint: str, name: str, steps: Sequence[str], choices: Mapping[str, Any]) -> str:
        """Begin a branch at a checkpoint, and compute its steps.

        In a project it is written in the file of branches of the data set, and made by a run of the graph, as
        `cytopipe heatmap branch --make` does; the browser of Dagster shows that run.

        Parameters
        ----------
        checkpoint : str
            Identifier of where it begins.
        name : str
        steps : sequence of str
            Numbers or names.
        choices : mapping
            What the recipe says of a branch: ``{"subset": {"metaclusters": ["T cells"]}}``.
        """
        from cytopipe.heatmap.workspace import RECIPE, Workspace

        path = self._path(checkpoint)
        if (self.folder / RECIPE).is_file():
            workspace = Workspace.open(self.folder)
            begin = {"from": workspace.name_of(path), "steps": list(steps)}
            more = workspace.with_branch(name, {**choices, **begin})
            more.save_recipe()
            n_made = sum(one.how == "made" for one in more.run())
            self.refresh()
        else:
            known = len(self.nodes)
            told = self._branch_in_project(checkpoint, name, steps, choices)
            self.refresh()
            n_made = len(self.nodes) - known
            if not n_made:
                return f"Branch {name} is declared; nothing was made: {told}"
        return f"Branch {name}: {n_made} checkpoint{'' if n_made == 1 else 's'} made."

    def _branch_in_project(
        self, checkpoint: str, name: str, steps: Sequence[str], choices: Mapping[str, Any]
    ) -> str:
        """What the command line said, in a process of its own: a thread of a panel is no place for a run."""
        import subprocess
        import sys

        import yaml

        from cytopipe.heatmap.state import STEP_NUMBERS

        entry = self._entries[checkpoint]
        number = STEP_NUMBERS.get(entry.step_id)
        if not (entry.branch and (number or entry.step_id == "merged")):
            raise InputError(
                "this checkpoint is in no branch of the project",
                where=entry.path,
                next=f"Put it into one: cytopipe heatmap save {entry.path} DATASET main.2",
            )
        begin = f"{entry.branch}.{number}" if number else entry.branch
        command = [sys.executable, "-m", "cytopipe.cli"]
        if self.project is not None:
            command += ["--project", str(self.project)]
        command += ["heatmap", "branch", str(self.folder.absolute()), "--make", "--choices", "-"]
        command += [f"--from={begin}", f"--steps={','.join(map(str, steps))}", "--", name]
        done = subprocess.run(
            command,
            input=yaml.safe_dump(dict(choices), allow_unicode=True),
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip().removeprefix("cytopipe: ") or done.stdout.strip()
            raise InputError(f"the branch was not made: {said[-2000:]}")
        return done.stdout.strip()[-2000:]

    # ------------------------------------------------------------------ the forms

    def _forms(self) -> dict[str, list[dict[str, Any]]]:
        from cytopipe.heatmap.state import STEPS

        columns = [] if self.cells is None else list(map(str, self.cells.columns))
        step = "" if self.display is None else self.display.state.step_id
        save = [
            {"name": "step_id", "label": "Step", "value": step, "list": list(STEPS.values())},
            {"name": "description", "label": "Description"},
            {"name": "include_embeddings", "label": "Embeddings", "type": "checkbox", "value": True},
            {"name": "include_raw_medians", "label": "Raw medians", "type": "checkbox", "value": True},
            {
                "name": "name",
                "label": "File name",
                "help": "flowsom_<step>_<time>.h5ad where it is empty",
            },
        ]
        if columns:
            kept = {"name": "metadata_cols", "label": "Provenance columns", "options": columns, "many": True}
            save.insert(2, kept)
        branch = [
            {"name": "name", "label": "Name of the branch", "help": "letters, digits, '_' and '-'"},
            {"name": "steps", "label": "Steps", "value": "6, 7, 8, 9"},
            {
                "name": "choices",
                "label": "Choices (YAML)",
                "lines": 6,
                "value": "subset: {metaclusters: []}\nrevise: {}\n",
                "help": "As in a recipe: subset, revise, flowsom, heatmap, markers, finalize.",
            },
        ]
        return {"save": save, "branch": branch}


def _save_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in values.items()}


def _branch_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    import yaml

    try:
        choices = yaml.safe_load(values["choices"]) or {}
    except yaml.YAMLError as error:
        raise InputError("the choices are not YAML", found=str(error).splitlines()[0]) from None
    if not isinstance(choices, dict):
        raise InputError("the choices are no mapping", expected="such as subset: {metaclusters: [T cells]}")
    steps = [one.strip() for one in str(values["steps"]).split(",") if one.strip()]
    return {"name": str(values["name"]).strip(), "steps": steps, "choices": choices}
