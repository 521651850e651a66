"""Result files: tables, documents and figures of one result, published and replaced together."""

from __future__ import annotations

import pandas as pd
import pytest

from cytopipe.errors import DamagedError, InputError
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats.files import FilesFormat
from cytopipe.storage.formats.h5ad import H5AD_IN_PARTS, H5adFile

RESULT = FilesFormat("result", ("table.tsv", "points.parquet", "score.json", "scatter_*.png"))
TABLE = pd.DataFrame({"target": ["IL6", "TNF"], "rho": [0.1 + 0.2, None]})
VALUE = {"table.tsv": TABLE, "points.parquet": TABLE, "score.json": {"score": 0.5, "missing": []}}
PLACE = Place("validation/cima", "cima_cytosig_organ")


@pytest.fixture
def archive(tmp_path) -> Archive:
    return Archive(tmp_path)


def test_what_was_written_is_read_back_under_its_ends(archive):
    receipt = archive.put(PLACE, RESULT, VALUE)
    found = archive.get(PLACE, RESULT)
    assert sorted(found) == sorted(VALUE) and receipt.n_files == 3
    pd.testing.assert_frame_equal(found["table.tsv"], TABLE)
    pd.testing.assert_frame_equal(found["points.parquet"], TABLE)
    assert found["score.json"] == VALUE["score.json"]
    names = {path.name for path in (archive.root / PLACE.path).iterdir() if not path.name.startswith(".")}
    assert names == {f"cima_cytosig_organ_{end}" for end in VALUE}


def test_the_same_value_gives_the_same_version_and_another_one_another(archive):
    first = archive.put(PLACE, RESULT, VALUE).version
    assert archive.put(PLACE, RESULT, VALUE).version == first
    assert archive.put(PLACE, RESULT, VALUE | {"score.json": {}}).version != first


def test_sets_whose_names_begin_alike_share_a_folder(archive):
    """Levels `organ` and `organ_celltype` of one atlas."""
    archive.put(PLACE, RESULT, VALUE | {"scatter_il6.png": b"1"})
    other = Place(PLACE.path, "cima_cytosig_organ_celltype")
    archive.put(other, RESULT, VALUE | {"scatter_tnf.png": b"2"})
    archive.put(PLACE, RESULT, VALUE)
    assert "scatter_tnf.png" in archive.get(other, RESULT)
    assert "scatter_il6.png" not in archive.get(PLACE, RESULT)
    assert archive.store.verify() == []


@pytest.mark.parametrize("harm", ["edited", "removed"])
def test_a_change_by_hand_is_never_read_and_the_next_publication_replaces_it(archive, harm):
    archive.put(PLACE, RESULT, VALUE)
    path = archive.root / PLACE.path / "cima_cytosig_organ_table.tsv"
    path.write_text("target\trho\n") if harm == "edited" else path.unlink()
    found = archive.look(PLACE, RESULT)
    assert found.kind == "edited" and path.name in found.words
    with pytest.raises(DamagedError):
        archive.get(PLACE, RESULT)
    archive.put(PLACE, RESULT, VALUE)
    assert archive.look(PLACE, RESULT).kind == "whole"


def test_files_that_were_published_one_by_one_are_replaced(archive):
    """As earlier versions did, each with a manifest of its own."""
    for end in ("table.tsv", "scatter_old.png"):
        archive.store.publish_bytes(f"{PLACE.path}/cima_cytosig_organ_{end}", b"old\n")
    archive.store.publish_bytes(f"{PLACE.path}/cima_cytosig_other_table.tsv", b"another's\n")
    assert archive.look(PLACE, RESULT).kind == "absent" and archive.receipt(PLACE) is None
    archive.put(PLACE, RESULT, VALUE)
    assert "scatter_old.png" not in archive.get(PLACE, RESULT)
    assert archive.store.verify() == []
    assert (archive.root / PLACE.path / "cima_cytosig_other_table.tsv").read_bytes() == b"another's\n"


def test_none_keeps_a_file_as_it_stands(archive):
    archive.put(PLACE, RESULT, VALUE)
    archive.put(PLACE, RESULT, {"table.tsv": None, "score.json": {}})
    found = archive.get(PLACE, RESULT)
    assert sorted(found) == ["score.json", "table.tsv"]
    pd.testing.assert_frame_equal(found["table.tsv"], TABLE)


def test_an_end_that_no_format_is_known_for_is_refused(archive):
    odd = FilesFormat("odd", ("*",))
    with pytest.raises(InputError, match="no format is known"):
        archive.put(PLACE, odd, {"table.xlsx": TABLE})


# ------------------------------------------------------------------------------------------- h5ad in parts


def test_a_file_is_proved_once_by_a_process_and_again_when_it_changed(archive, monkeypatch):
    """Steps of a run hand gigabytes from one to the next; a change in between is noticed."""
    import anndata
    import numpy as np

    from cytopipe.storage import files

    digested = []
    digest = files.digest_file
    monkeypatch.setattr(files, "digest_file", lambda path: digested.append(path) or digest(path))
    data = anndata.AnnData(np.arange(6.0).reshape(2, 3), uns={"atlas": "cima"})
    place = Place("a.h5ad")
    archive.put(place, H5AD_IN_PARTS, data)
    digested.clear()
    found = archive.get(place, H5AD_IN_PARTS)
    assert isinstance(found, H5adFile) and not digested
    assert found.uns["atlas"] == "cima" and list(found.obs.index) == ["0", "1"]
    assert (found.to_memory().X == data.X).all()
    path = archive.root / place.path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError):
        archive.get(place, H5AD_IN_PARTS)
    assert digested
