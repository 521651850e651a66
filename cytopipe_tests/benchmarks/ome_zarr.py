"""How fast an image becomes an OME-Zarr pyramid, beside others on the same pixels in the same run.

    python -m cytopipe_tests.benchmarks.ome_zarr [--only NAME ...] [--repeat 3]

A seeded image of (5, 4096, 4096) uint16, smooth cells with Poisson noise, lies in an ``.npy`` file that
every contender maps into memory. Each writes level 0 and three coarser ones in chunks of 512 x 512, in a
process of its own, after a first small image: CPU seconds of writing and of the whole process, imports and
first image included, and the most memory it held above the image. The floor does nothing but numcodecs'
compression, means and files, without any metadata. ``labels`` is one 4096 x 4096 label image.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

CHUNK, LEVELS = 512, 4


def main() -> None:
    """Run the table, or one contender of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument(
        "--repeat", type=int, default=3, help="Runs of each; the one with the least CPU counts."
    )
    parser.add_argument("--one", nargs=3, metavar=("NAME", "IMAGE", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, image, folder = given.one
        CONTENDERS[name](np.load(image, mmap_mode="r")[..., :CHUNK, :CHUNK], Path(folder, "warm"))
        began = time.process_time()
        CONTENDERS[name](np.load(image, mmap_mode="r"), Path(folder, "out"))
        print(time.process_time() - began, _peak_bytes())
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(
            "| contender | CPU s | of the floor | CPU s, whole process | peak MB above image | files | MB |"
        )
        print("|---|---|---|---|---|---|---|")
        floor = None
        for name in given.only:
            image = _image(folder, "labels" if name.startswith("labels") else "intensities")
            runs = [_in_a_process(name, image, folder / "out") for _ in range(given.repeat)]
            cpu, whole, peak, files, size = min(runs)
            floor = cpu if name == "numcodecs floor" else floor
            ratio = f"{cpu / floor:.2f}" if floor and not name.startswith("labels") else ""
            peak_mb = (peak - image.stat().st_size) / 1e6
            print(
                f"| {name} | {cpu:.2f} | {ratio} | {whole:.2f} | {peak_mb:.0f} | {files} | {size / 1e6:.0f} |"
            )


def _image(folder: Path, kind: str) -> Path:
    """The pixels, drawn if they are not there."""
    path = folder / f"{kind}.npy"
    if path.exists():
        return path
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.random((512, 512)), 8)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    if kind == "labels":
        numbers = np.cumsum(rng.random((64, 64)) < 0.8).reshape(64, 64).astype(np.uint32)
        pixels = np.kron(numbers, np.ones((64, 64), np.uint32)) * np.tile(smooth > 0.4, (8, 8))
        np.save(path, pixels.astype(np.uint32))
    else:
        np.save(path, rng.poisson(np.tile(smooth * 3000 + 200, (5, 8, 8))).astype(np.uint16))
    return path


def _in_a_process(name: str, image: Path, folder: Path) -> tuple[float, float, int, int, int]:
    """CPU seconds of writing and of all, peak bytes, files and their bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("warm", "out"):
        (folder / part).mkdir(parents=True)
    command = [
        sys.executable,
        "-m",
        "cytopipe_tests.benchmarks.ome_zarr",
        "--one",
        name,
        str(image),
        str(folder),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    answer = process.stdout.read().split()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name} failed")
    files = [path for path in (folder / "out").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return float(answer[-2]), used.ru_utime + used.ru_stime, int(answer[-1]), len(files), size


def _peak_bytes() -> int:
    """Peak resident memory of this program; `ru_maxrss` would count the program that started it."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


# --------------------------------------------------------------------------- contenders


def _floor(pixels: np.ndarray, folder: Path) -> None:
    from numcodecs.blosc import Blosc

    codec = Blosc("zstd", 1, Blosc.BITSHUFFLE)

    def put(place: tuple, chunk: np.ndarray) -> None:
        (folder / "_".join(map(str, place))).write_bytes(codec.encode(np.ascontiguousarray(chunk)))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for c, plane in enumerate(pixels):
            for level in range(LEVELS):
                size = plane.shape[0]
                jobs = [
                    pool.submit(put, (level, c, y, x), plane[y : y + CHUNK, x : x + CHUNK])
                    for y in range(0, size, CHUNK)
                    for x in range(0, size, CHUNK)
                ]
                if level + 1 < LEVELS:
                    sums = np.add(plane[::2], plane[1::2], dtype=np.uint32)
                    sums = sums[:, ::2] + sums[:, 1::2]
                    plane = ((sums + 2) >> 2).astype(np.uint16)
                for job in jobs:
                    job.result()


def _cytopipe(**options) -> Callable[[np.ndarray, Path], None]:
    def write(pixels: np.ndarray, folder: Path) -> None:
        from cytopipe.storage.formats.image import Image
        from cytopipe.storage.formats.ome_zarr import OmeZarr

        image = Image(pixels, "CYX" if pixels.ndim == 3 else "YX", is_labels=pixels.ndim == 2)
        OmeZarr(**options).write(folder / "image.ome.zarr", image)

    return write


def _cytopipe_validated(pixels: np.ndarray, folder: Path) -> None:
    from cytopipe.storage.formats.ome_zarr import OME_ZARR

    _cytopipe()(pixels, folder)
    OME_ZARR.validate(folder / "image.ome.zarr")


def _ome_zarr_py(pixels: np.ndarray, folder: Path) -> None:
    import zarr
    from ome_zarr.writer import write_image

    group = zarr.open_group(folder / "image.ome.zarr", mode="w")
    write_image(np.asarray(pixels), group, axes="cyx", storage_options={"chunks": (1, CHUNK, CHUNK)})


def _ngff_zarr(pixels: np.ndarray, folder: Path) -> None:
    import ngff_zarr

    image = ngff_zarr.to_ngff_image(np.asarray(pixels), dims=list("cyx"[-pixels.ndim :]))
    chunks = {"c": 1, "y": CHUNK, "x": CHUNK}
    method = (
        ngff_zarr.Methods.ITKWASM_LABEL_IMAGE if pixels.ndim == 2 else ngff_zarr.Methods.ITKWASM_BIN_SHRINK
    )
    scales = ngff_zarr.to_multiscales(
        image, scale_factors=[2, 4, 8], chunks={d: chunks[d] for d in image.dims}, method=method
    )
    ngff_zarr.to_ngff_zarr(str(folder / "image.ome.zarr"), scales, version="0.5")


CONTENDERS = {
    "numcodecs floor": _floor,
    "cytopipe": _cytopipe(),
    "cytopipe, 2048 shards": _cytopipe(shard=2048),
    "cytopipe, NGFF 0.4": _cytopipe(ngff="0.4"),
    "cytopipe, written and validated": _cytopipe_validated,
    "ome-zarr-py": _ome_zarr_py,
    "ngff-zarr": _ngff_zarr,
    "labels, cytopipe": _cytopipe(),
    "labels, ngff-zarr": _ngff_zarr,
}


if __name__ == "__main__":
    main()
