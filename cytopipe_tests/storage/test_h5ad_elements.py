"""Elements written by h5py alone are those that anndata writes."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from cytopipe.storage.h5ad_elements import Categories, write_elements, write_frame

LABELS = ["b", None, "a", "b", "é"]
UNS = {
    "name": "x",
    "n": 5,
    "share": 0.5,
    "yes": True,
    "nested": {"a": np.arange(3.0), "texts": np.array(["q", "ü"], object), "none": np.array([], object)},
    "empty": {},
}


def _described(path) -> dict[str, tuple]:
    found = {}

    def describe(name: str, element) -> None:
        attributes = {key: (repr(value), type(value)) for key, value in element.attrs.items()}
        values = (element.dtype, element.shape, repr(element[()])) if hasattr(element, "shape") else None
        found[name] = (attributes, values)

    with h5py.File(path) as file:
        file.visititems(describe)
    return found


def test_every_attribute_and_value_is_that_of_anndata(tmp_path):
    """Frames of categories, numbers and truth values, an empty frame, and nested mappings."""
    index, number = list("vwxyz"), np.arange(5)
    many = [f"t{n:03d}" for n in range(200)]
    with h5py.File(tmp_path / "anndata.h5", "w") as file:
        columns = {"label": pd.Categorical(LABELS), "n": number, "ok": number > 1}
        write_elem(file, "obs", pd.DataFrame(columns, index=index))
        write_elem(file, "many", pd.DataFrame({"label": pd.Categorical(many)}, index=many))
        write_elem(file, "var", pd.DataFrame(index=["a", "b"]))
        write_elem(file, "uns", UNS)
    with h5py.File(tmp_path / "ours.h5", "w") as file:
        write_frame(file, "obs", index, {"label": Categories.of(LABELS), "n": number, "ok": number > 1})
        write_frame(file, "many", many, {"label": Categories.of(many)})
        write_frame(file, "var", ["a", "b"], {})
        write_elements(file, "uns", UNS)
    assert _described(tmp_path / "ours.h5") == _described(tmp_path / "anndata.h5")


def test_aggregation_imports_neither_anndata_nor_pandas():
    """They take two seconds, which a pass over 50,000 cells does not."""
    program = (
        "import cytopipe.atlas.pseudobulk, sys; print([m for m in ('anndata', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
