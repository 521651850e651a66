"""Binary files of others, each made to read another file, run code, or fill the memory."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import pickle
import struct
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from cytopipe.errors import BudgetError, CytopipeError, InputError, RefusedError
from cytopipe.storage.fasta import read_fasta
from cytopipe.storage.formats.h5ad import check_h5ad, read_h5ad
from cytopipe.storage.guard.budget import load_npy
from cytopipe.storage.guard.hdf5 import open_hdf5
from cytopipe.storage.guard.tiff import survey_tiff
from cytopipe.storage.guard.trees import survey_tree
from cytopipe.storage.guard.zarr_store import survey_zarr

# --------------------------------------------------------------------------- HDF5


def _external_link(file, folder):
    file["secret"] = h5py.ExternalLink(folder / "other.h5", "/x")


def _external_storage(file, folder):
    (folder / "raw.bin").write_bytes(b"secret!!")
    file.create_dataset("secret", (8,), "u1", external=[(str(folder / "raw.bin"), 0, 8)])


def _virtual(file, folder):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", shape=(3,))
    file.create_virtual_dataset("secret", layout)


def _hard_cycle(file, folder):
    group = file.create_group("a/b")
    group["back"] = file["a"]


def _soft_cycle(file, folder):
    group = file.create_group("a/b")
    group["back"] = h5py.SoftLink("/a")


def _soft_through_external(file, folder):
    file["door"] = h5py.ExternalLink(folder / "other.h5", "/")
    file["secret"] = h5py.SoftLink("/door/x")


def _dangling(file, folder):
    file["secret"] = h5py.SoftLink("/nowhere")


def _web(file, folder):
    """Thirty groups, each holding the next one twice: 2^30 paths."""
    group = file.create_group("g0")
    for level in range(30):
        inner = file.create_group(f"x{level}")
        group["left"] = inner
        group["right"] = inner
        group = inner


def _deep(file, folder):
    file.create_group("/".join(["g"] * 100))


HDF5 = [
    _external_link,
    _external_storage,
    _virtual,
    _hard_cycle,
    _soft_cycle,
    _soft_through_external,
    _dangling,
    _web,
    _deep,
]


@pytest.mark.parametrize("make", HDF5)
def test_hdf5_that_leads_elsewhere_or_nowhere_is_refused(make, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = [1.0, 2.0, 3.0]
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        make(file, tmp_path)
    for opener in (check_h5ad, read_h5ad):
        with pytest.raises(RefusedError, match=r"x\.h5ad"):
            opener(tmp_path / "x.h5ad")


def test_hdf5_that_declares_more_than_memory_is_not_read(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("huge", (10**7, 10**7), "f8", chunks=(100, 100))
    with pytest.raises(BudgetError, match="800,000,000,000,000 bytes"), open_hdf5(tmp_path / "x.h5"):
        pass


def _atlas(path: Path, n_genes: int, names) -> Path:
    """A file that an atlas could be, whose gene names are as `names` writes them."""
    with h5py.File(path, "w") as file:
        obs, var, X = file.create_group("obs"), file.create_group("var"), file.create_group("X")
        obs["_index"] = ["c0", "c1"]
        obs["type"] = ["T", "B"]
        names(var)
        for frame in (obs, var):
            frame.attrs["_index"] = "_index"
        X.attrs["encoding-type"], X.attrs["shape"] = "csr_matrix", [2, n_genes]
        X["data"], X["indices"], X["indptr"] = np.ones(2, "f4"), np.array([0, 1], "i4"), np.array([0, 1, 2])
    return path


def _two_thousand_million(var) -> None:
    var.create_dataset("_index", (1 << 31,), h5py.string_dtype(), chunks=(1 << 20,), compression="gzip")


def _one_shared_string(**storage):
    def names(var) -> None:
        """References of 20,000 names, all made to lead to the first, a string of 2 MB."""
        n = 20_000
        index = var.create_dataset("_index", (n,), h5py.string_dtype(), **storage)
        index[0] = "G" * (2 << 20)
        var.file.flush()
        if storage:
            _, raw = index.id.read_direct_chunk((0,))
            raw = zlib.decompress(raw)
            index.id.write_direct_chunk((0,), zlib.compress(raw[:16] * n))
        else:
            offset, path = index.id.get_offset(), var.file.filename
            first = os.pread(descriptor := os.open(path, os.O_RDWR), 16, offset)
            os.pwrite(descriptor, first * n, offset)
            os.close(descriptor)

    return names


@pytest.mark.parametrize(
    ("n_genes", "names"),
    [
        (1 << 31, _two_thousand_million),
        (20_000, _one_shared_string()),
        (20_000, _one_shared_string(chunks=(20_000,), compression="gzip")),
    ],
    ids=["2^31 names", "one string, plain", "one string, gzip"],
)
def test_gene_names_that_fill_the_memory_are_refused_before_they_are_read(n_genes, names, tmp_path):
    """A small file whose names are 40 GB of text as Python reads them."""
    from cytopipe.atlas import open_cells

    path = _atlas(tmp_path / "x.h5ad", n_genes, names)
    assert path.stat().st_size < 16 << 20
    tracemalloc.start()
    for opener in (lambda: open_cells(path), lambda: read_h5ad(path)):
        with pytest.raises(BudgetError, match=r"x\.h5ad"):
            opener()
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_ordinary_names_are_read_whatever_way_they_are_stored(tmp_path):
    """Plain, chunked, gzip, shuffled, lzf: the lengths that are looked at first are those of the names."""
    from cytopipe.storage.guard.hdf5 import read_texts, text_bytes

    names = [f"GENE{number}é" for number in range(300)]
    storages = [{}, {"chunks": (100,)}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number, storage in enumerate([*storages, {"compression": "lzf"}]):
            file.create_dataset(str(number), data=names, dtype=h5py.string_dtype(), **storage)
    with h5py.File(tmp_path / "x.h5") as file:
        for number in range(5):
            assert read_texts(file[str(number)], "x.h5") == names
        length = sum(len(name.encode()) for name in names)
        assert {text_bytes(file[str(number)]) for number in range(4)} == {300 * 64 + length}


def test_hdf5_with_a_chunk_beyond_its_limit_is_not_read(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("huge", (10**6, 10**6), "u1", chunks=(50_000, 50_000), compression="gzip")
    with pytest.raises(BudgetError, match="a chunk"), open_hdf5(tmp_path / "x.h5", streamed=("/",)):
        pass


def test_hdf5_compressed_by_an_absent_filter_is_refused_by_its_number(tmp_path):
    """zstd, which atlases use, is read; without its filter the file is refused before anything is read."""
    import hdf5plugin

    path = tmp_path / "zstd.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("genes", data=[b"CD3", b"CD8"], **hdf5plugin.Zstd())
    with open_hdf5(path) as file:
        assert file["genes"][:].tolist() == [b"CD3", b"CD8"]
    assert _in_a_process_of_its_own(_refuse_without_zstd, path) == 0


def _refuse_without_zstd(path: Path) -> None:
    import hdf5plugin

    h5py.h5z.unregister_filter(hdf5plugin.ZSTD_ID)
    with pytest.raises(RefusedError, match="/genes: holds data compressed by HDF5 filter 32015"):
        open_hdf5(path).__enter__()


def test_hdf5_with_flipped_bits_never_crashes(tmp_path):
    """In a process of its own: a damaged file can leave the HDF5 library damaged for whoever comes next."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("a")["d"] = np.arange(10)
        file["s"] = ["x", "y"]
    assert _in_a_process_of_its_own(_open_with_flips, tmp_path) == 0


def _in_a_process_of_its_own(function, path: Path) -> int | None:
    child = multiprocessing.get_context("spawn").Process(target=function, args=(path,))
    child.start()
    child.join(120)
    return child.exitcode


def _open_with_flips(folder: Path) -> None:
    whole = (folder / "x.h5").read_bytes()
    for at in range(0, len(whole), 97):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        path = folder / f"{at}.h5"
        path.write_bytes(broken)
        try:
            with open_hdf5(path):
                pass
        except CytopipeError:
            pass


# --------------------------------------------------------------------------- zarr


def _v2(folder: Path, **changes) -> Path:
    """A small version 2 array, with some of its metadata changed."""
    store = folder / "x.zarr"
    array = zarr.create_array(store, shape=(64, 64), chunks=(16, 16), dtype="u2", zarr_format=2)
    array[:] = 7
    document = json.loads((store / ".zarray").read_text()) | changes
    (store / ".zarray").write_text(json.dumps(document))
    return store


def _v3(folder: Path, **arguments) -> Path:
    store = folder / "x.zarr"
    array = zarr.create_array(store, shape=(64, 64), chunks=(16, 16), dtype="u2", **arguments)
    array[:] = np.arange(64 * 64).reshape(64, 64)
    return store


class _Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["CYTOPIPE_EVIL"],)


def test_a_pickle_filter_is_refused_before_it_can_run(tmp_path, monkeypatch):
    monkeypatch.setenv("CYTOPIPE_EVIL", str(tmp_path / "owned"))
    store = _v2(tmp_path, dtype="|O", filters=[{"id": "pickle", "protocol": 4}], compressor=None)
    for chunk in store.glob("[0-9]*"):
        chunk.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(RefusedError, match="'pickle'"):
        survey_zarr(store, inflate_chunks=True)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": [{"id": "json2"}]},
        {"filters": [{"id": "msgpack2"}]},
        {"compressor": {"id": "imagecodecs_tiff"}},
        {"dtype": "|O", "filters": None},
    ],
    ids=str,
)
def test_a_codec_that_is_not_on_the_list_is_refused(tmp_path, changes):
    with pytest.raises(RefusedError):
        survey_zarr(_v2(tmp_path, **changes))


def test_a_pickle_filter_hidden_in_consolidated_metadata_is_refused(tmp_path):
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=2)
    group.create_array("a", shape=(4,), dtype="u1")
    hidden = {"shape": [4], "chunks": [4], "dtype": "|O", "filters": [{"id": "pickle"}], "compressor": None}
    document = {"zarr_consolidated_format": 1, "metadata": {"a/.zarray": hidden}}
    (tmp_path / "x.zarr" / ".zmetadata").write_text(json.dumps(document))
    with pytest.raises(RefusedError, match="'pickle'"):
        survey_zarr(tmp_path / "x.zarr")


@pytest.mark.parametrize("codec", ["numcodecs.pickle", "my_codec"])
def test_a_version_3_codec_that_is_not_on_the_list_is_refused(tmp_path, codec):
    store = _v3(tmp_path)
    document = json.loads((store / "zarr.json").read_text())
    document["codecs"].append({"name": codec, "configuration": {}})
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(RefusedError, match=codec):
        survey_zarr(store)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"shards": (32, 32)},
        {"compressors": None},
        {"compressors": zarr.codecs.BloscCodec()},
        {"compressors": zarr.codecs.GzipCodec()},
        {"compressors": [zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()]},
    ],
    ids=["zstd", "shards", "none", "blosc", "gzip", "zstd and crc32c"],
)
def test_a_whole_store_passes_with_every_chunk_inflated(tmp_path, arguments):
    survey = survey_zarr(_v3(tmp_path, **arguments), inflate_chunks=True)
    assert survey.declared_bytes == 64 * 64 * 2


def test_a_whole_version_2_store_passes(tmp_path):
    assert survey_zarr(_v2(tmp_path), inflate_chunks=True).declared_bytes == 8192


def _blosc_bomb() -> bytes:
    from numcodecs import blosc

    return blosc.compress(b"\0" * (8 << 20), b"lz4", 5, 1)


def _zstd_bomb() -> bytes:
    from numcodecs.zstd import Zstd

    return Zstd().encode(b"\0" * (8 << 20))


BOMBS = {
    "gzip": lambda: gzip.compress(b"\0" * (8 << 20)),
    "zlib": lambda: zlib.compress(b"\0" * (8 << 20)),
    "blosc": _blosc_bomb,
    "zstd": _zstd_bomb,
}


@pytest.mark.parametrize("codec", BOMBS)
def test_a_chunk_that_inflates_beyond_its_size_is_stopped(tmp_path, codec):
    compressor = {"id": codec} | ({"level": 1} if codec != "blosc" else {})
    store = _v2(tmp_path, compressor=compressor)
    for chunk in store.glob("[0-9]*"):
        chunk.write_bytes(BOMBS[codec]())
    with pytest.raises(BudgetError, match=f"{codec} data inflates"):
        survey_zarr(store, inflate_chunks=True)


def test_a_shard_whose_index_lies_is_told(tmp_path):
    store = _v3(tmp_path, shards=(32, 32))
    shard = next(path for path in store.rglob("c/*/*"))
    shard.write_bytes(shard.read_bytes()[:-30])
    with pytest.raises(InputError):
        survey_zarr(store, inflate_chunks=True)


def test_a_chunk_that_declares_too_much_is_refused(tmp_path):
    with pytest.raises(BudgetError):
        survey_zarr(_v2(tmp_path, shape=[10**9, 10**9], chunks=[10**6, 10**6]))


def test_a_store_that_declares_more_than_its_budget_is_refused(tmp_path):
    with pytest.raises(BudgetError, match="2,000,000,000,000 bytes"):
        survey_zarr(_v2(tmp_path, shape=[10**6, 10**6]), budget=10**9)


@pytest.mark.parametrize("shape", [[-1, 4], ["x", 4], None, [1.5, 2]], ids=str)
def test_a_shape_that_is_none_is_told(tmp_path, shape):
    with pytest.raises(InputError, match="cannot be used"):
        survey_zarr(_v2(tmp_path, shape=shape))


def test_a_link_inside_a_store_is_refused(tmp_path):
    store = _v3(tmp_path)
    (store / "c" / "9").symlink_to("/etc")
    with pytest.raises(RefusedError, match="symbolic link"):
        survey_zarr(store)


def test_a_pipe_inside_a_store_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RefusedError, match="pipe"):
        survey_tree(tmp_path)


def test_a_directory_without_metadata_is_no_zarr(tmp_path):
    with pytest.raises(InputError, match="not a zarr store"):
        survey_zarr(tmp_path)


# --------------------------------------------------------------------------- NumPy


def test_a_pickled_array_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CYTOPIPE_EVIL", str(tmp_path / "owned"))
    np.save(tmp_path / "x.npy", np.array([_Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(RefusedError, match="pickled"):
        load_npy(tmp_path / "x.npy")
    assert not (tmp_path / "owned").exists()


def test_an_array_that_declares_too_much_or_is_cut_off_is_told(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10))
    assert load_npy(tmp_path / "x.npy").sum() == 45
    raw = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(raw[:-8])
    with pytest.raises(InputError, match="cut off"):
        load_npy(tmp_path / "cut.npy")
    (tmp_path / "huge.npy").write_bytes(raw.replace(b"(10,), }" + b" " * 12, b"(10000000000000,), }"))
    with pytest.raises(BudgetError, match="80,000,000,000,000 bytes"):
        load_npy(tmp_path / "huge.npy")
    (tmp_path / "text.npy").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"not a \.npy"):
        load_npy(tmp_path / "text.npy")


# --------------------------------------------------------------------------- TIFF


def _tiff(
    width: int, length: int, *, data: bytes = b"\0" * 16, following: int = 0, start: int | None = None
) -> bytes:
    fields = [
        (256, 4, 1, width),
        (257, 4, 1, length),
        (258, 3, 1, 16),
        (273, 4, 1, 8 if start is None else start),
        (277, 3, 1, 1),
        (279, 4, 1, len(data)),
    ]
    directory = struct.pack("<H", len(fields))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in fields)
    directory += struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + b"\0\0"


def test_a_tiff_is_surveyed_page_by_page(tmp_path):
    (tmp_path / "x.tif").write_bytes(_tiff(4, 2))
    (page,) = survey_tiff(tmp_path / "x.tif")
    assert (page.width_px, page.length_px, page.declared_bytes) == (4, 2, 16)


def test_a_tiff_that_declares_a_million_squared_is_refused(tmp_path):
    (tmp_path / "x.tif").write_bytes(_tiff(10**6, 10**6))
    with pytest.raises(BudgetError, match="2,000,000,000,000 bytes"):
        survey_tiff(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (_tiff(4, 2, following=24), "cycle"),
        (_tiff(4, 2)[:40], "cut off"),
        (_tiff(4, 2, start=10**6), "pixels lie beyond its end"),
        (b"II*\0\xff\xff\xff\xff", "a page lies beyond its end"),
        (b"II*\0", "cut off"),
        (b"hello", "not a TIFF"),
        (b"", "not a TIFF"),
    ],
    ids=["cycle", "cut", "pixels", "directory", "header", "text", "empty"],
)
def test_a_tiff_with_a_fault_is_told(tmp_path, data, told):
    (tmp_path / "x.tif").write_bytes(data)
    with pytest.raises(CytopipeError, match=told):
        survey_tiff(tmp_path / "x.tif")


def test_real_tiffs_pass(real_data):
    for path in sorted((real_data / "screen").glob("*.tif")):
        assert survey_tiff(path)[0].width_px == 512


# --------------------------------------------------------------------------- memory


def _peak_bytes(function) -> int:
    """Most memory that Python held at once while `function` was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(BudgetError):
            function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_never_takes_more_memory_than_its_budget(tmp_path):
    """256 MiB of zeros in 260 kB: at most the budget, a piece of it and the file are held."""
    bomb = gzip.compress(b"\0" * (256 << 20), compresslevel=1)
    (tmp_path / "x.fasta.gz").write_bytes(bomb)
    assert _peak_bytes(lambda: list(read_fasta(tmp_path / "x.fasta.gz", max_bytes=4 << 20))) < 16 << 20
    store = _v2(tmp_path, compressor={"id": "gzip", "level": 1})
    (store / "0.0").write_bytes(bomb)
    assert _peak_bytes(lambda: survey_zarr(store, inflate_chunks=True)) < 16 << 20
