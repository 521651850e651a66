"""Nuclei, cells and cytoplasm as plain definitions have them, and what is refused."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cytopipe.errors import InputError, MissingToolError, ParameterError
from cytopipe.screen.parameters import SegmentationSettings
from cytopipe.screen.segmentation import segment
from cytopipe.screen.segmentation.cytoplasm import identify_cytoplasm
from cytopipe.screen.segmentation.kernels import disk_mean
from cytopipe.screen.segmentation.reconcile import compact, reconcile_nuclei_cells
from cytopipe.screen.segmentation.watershed import find_cells, segment_nuclei, segment_watershed

LABELS = arrays.arrays(np.uint16, (7, 9), elements=st.integers(0, 5))


def nuclei_image(seed=0, shape=(150, 160), number=25, touching=True) -> tuple[np.ndarray, np.ndarray]:
    """DAPI and one cytoplasm channel of round cells, and the centres of the nuclei."""
    random = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = random.normal(300, 15, (2, *shape))
    centres: list[tuple[int, int]] = []
    while len(centres) < number:
        at = random.integers(0, shape[0]), random.integers(0, shape[1])
        if min((np.hypot(at[0] - a, at[1] - b) for a, b in centres), default=99) > (9 if touching else 18):
            centres.append((int(at[0]), int(at[1])))
    for a, b in centres:
        distance = np.hypot(y - a, x - b)
        image[0] += 6000 / (1 + np.exp((distance - 5.5) * 2))
        image[1] += 2500 / (1 + np.exp(distance - 11))
    return image.clip(0, 65535).astype(np.uint16), np.array(centres)


def plain_cytoplasm(nuclei, cells):
    """Cell after cell, in ascending order: write the cell, then erase the nucleus of its label."""
    out = np.zeros(cells.shape, dtype=int)
    for label in sorted(set(cells.ravel().tolist()) - {0}):
        out[cells == label] = label
        out[nuclei == label] = 0
    return out


def plain_reconcile(nuclei, cells, how):
    centres = {}
    for label in sorted(set(nuclei.ravel().tolist()) - {0}):
        i, j = np.nonzero(nuclei == label)
        centres[(i.min() + i.max() + 1) // 2, (j.min() + j.max() + 1) // 2] = label
    owner = {label: int(cells[at]) for at, label in centres.items() if cells[at] > 0}
    held = {cell: [n for n, c in owner.items() if c == cell] for cell in owner.values()}
    new_nuclei, new_cells = np.zeros(nuclei.shape, dtype=int), np.zeros(cells.shape, dtype=int)
    if how == "consensus":
        pairs = sorted((n, c) for n, c in owner.items() if len(held[c]) == 1)
    else:
        pairs = [(n, c) for c in sorted(held) for n in held[c]]
    numbers = {c: k for k, c in enumerate(dict.fromkeys(c for _, c in pairs), start=1)}
    for nucleus, cell in pairs:
        new_nuclei[nuclei == nucleus] = numbers[cell]
        new_cells[cells == cell] = numbers[cell]
    return new_nuclei, new_cells


@settings(max_examples=200, deadline=None)
@given(LABELS, LABELS)
def test_cytoplasm_is_that_of_writing_cell_after_cell(nuclei, cells):
    if len(set(nuclei.ravel()) - {0}) != len(set(cells.ravel()) - {0}):
        with pytest.raises(InputError, match=r"differ in number.*\d nuclei and \d cells"):
            identify_cytoplasm(nuclei, cells)
        return
    made = identify_cytoplasm(nuclei, cells)
    assert made.dtype == np.int64
    np.testing.assert_array_equal(made, plain_cytoplasm(nuclei, cells))


@settings(max_examples=200, deadline=None)
@given(LABELS, LABELS, st.sampled_from(["consensus", "contained_in_cells"]))
def test_reconciled_labels_are_those_of_the_definition(nuclei, cells, how):
    made, expected = reconcile_nuclei_cells(nuclei, cells, how), plain_reconcile(nuclei, cells, how)
    for ours, theirs in zip(made, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40).flatmap(
        lambda height: arrays.arrays(np.uint8, st.tuples(st.just(height), st.integers(1, 40)))
    ),
    st.integers(1, 16),
)
def test_the_disk_mean_equals_the_rank_filter_of_scikit_image(image, radius):
    from skimage.filters import rank
    from skimage.morphology import disk

    np.testing.assert_array_equal(disk_mean(image, radius), rank.mean(image, disk(radius)))


def plain_nuclei(dapi, threshold, area_min, area_max, smooth, radius):
    """The same steps with scikit-image and SciPy, one object at a time."""
    from scipy import ndimage as ndi
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian, rank
    from skimage.measure import label, regionprops
    from skimage.morphology import disk
    from skimage.segmentation import watershed

    byte = (dapi // 256).astype(np.uint8)
    mask = byte > rank.mean(byte, disk(radius))
    for region in regionprops(label(mask, connectivity=1)):
        if region.area < area_min:
            mask[tuple(region.coords.T)] = False
    for region in regionprops(label(mask)):
        if dapi[tuple(region.coords.T)].mean() < threshold:
            mask[tuple(region.coords.T)] = False
    for region in regionprops(label(ndi.binary_fill_holes(mask) & ~mask)):
        if region.area < area_min:
            mask[tuple(region.coords.T)] = True
    distance = ndi.distance_transform_edt(mask)
    if smooth:
        distance = gaussian(distance, sigma=smooth)
    peaks = np.zeros(dapi.shape, dtype=bool)
    peaks[tuple(peak_local_max(distance, 1, footprint=np.ones((3, 3)), exclude_border=False).T)] = True
    found = watershed(-distance, ndi.label(peaks)[0], mask=mask)
    out, number = np.zeros_like(found), 0
    for region in regionprops(found):
        if area_min < region.area < area_max:
            number += 1
            out[tuple(region.coords.T)] = number
    return out


@pytest.mark.parametrize("seed", range(6))
def test_nuclei_are_those_of_the_same_steps_in_scikit_image(seed):
    image, _ = nuclei_image(seed)
    random = np.random.default_rng(seed)
    arguments = (
        int(random.integers(1000, 5000)),
        int(random.integers(0, 60)),
        int(random.integers(100, 400)),
        float(random.choice([0.0, 0.8, 1.35, 3.0])),
        int(random.integers(5, 20)),
    )
    np.testing.assert_array_equal(segment_nuclei(image, *arguments), plain_nuclei(image[0], *arguments))


def test_noise_gives_the_nuclei_of_scikit_image_too():
    """Holes in holes, pieces that touch by corners, no gap to the border."""
    for seed in range(5):
        random = np.random.default_rng(seed)
        dapi = (random.random((60, 70)) * 65535).astype(np.uint16)
        arguments = (20000, 3, 2000, 1.0, 4)
        np.testing.assert_array_equal(segment_nuclei(dapi, *arguments), plain_nuclei(dapi, *arguments))


def test_touching_nuclei_are_found_one_by_one():
    image, centres = nuclei_image(3)
    result = segment(image, SegmentationSettings(threshold_dapi=1500.0, threshold_cell=900.0, reconcile=None))
    inside = (centres > 4).all(axis=1) & (centres < np.array(image.shape[1:]) - 5).all(axis=1)
    labels = [int(result.nuclei[tuple(at)]) for at in centres[inside]]
    assert len(set(labels) - {0}) >= 0.9 * len(labels)


def test_cells_at_the_border_of_a_tile_are_kept_and_dropped_on_demand():
    image, _ = nuclei_image(1, touching=False)
    settings = SegmentationSettings(threshold_dapi=1500.0, threshold_cell=900.0)
    kept = segment(image, settings)
    dropped = segment(image, settings.model_copy(update={"clear_border": True}))
    edge = np.ones(kept.cells.shape, bool)
    edge[1:-1, 1:-1] = False
    at_border = set(np.unique(kept.cells[edge])) - {0}
    assert len(at_border) >= 2 and not dropped.cells[edge].any()
    assert dropped.cells.max() == kept.cells.max() - len(at_border)
    same = np.isin(kept.cells, list(at_border), invert=True) & (kept.cells > 0)
    np.testing.assert_array_equal(dropped.cells > 0, same)


def test_a_cell_has_its_nucleus_label_and_none_touches_the_border_where_these_are_dropped():
    image, _ = nuclei_image(1, touching=False)
    result = segment(
        image, SegmentationSettings(threshold_dapi=1500.0, threshold_cell=900.0, clear_border=True)
    )
    assert result.nuclei.dtype == result.cells.dtype == np.uint16
    assert set(np.unique(result.nuclei)) == set(np.unique(result.cells)) and result.cells.max() > 5
    inner = result.cells.copy()
    inner[1:-1, 1:-1] = 0
    assert not inner.any()
    assert (result.cells[result.nuclei > 0] == result.nuclei[result.nuclei > 0]).mean() > 0.99
    counts = result.stats.iloc[0]
    assert counts["final_nuclei"] == counts["final_cells"] == result.cells.max()
    assert counts["initial_cells"] >= counts["after_edge_removal_cells"] >= counts["final_cells"]
    assert identify_cytoplasm(result.nuclei, result.cells).any()


def test_channels_may_stand_in_another_order():
    image, _ = nuclei_image(2, touching=False)
    first = segment(image, SegmentationSettings(threshold_dapi=1500.0, threshold_cell=900.0))
    last = segment(
        image[::-1], SegmentationSettings(threshold_dapi=1500.0, threshold_cell=900.0, dapi_index=1)
    )
    np.testing.assert_array_equal(first.cells, last.cells)


def test_nuclei_alone_stand_for_cells():
    image, _ = nuclei_image(2, touching=False)
    result = segment(image[:1], SegmentationSettings(threshold_dapi=1500.0, segment_cells=False))
    np.testing.assert_array_equal(result.nuclei, result.cells)
    assert result.nuclei.max() > 10


def test_cycles_give_the_cells_of_their_darkest_cycle():
    image, _ = nuclei_image(4, touching=False)
    stack = np.stack([image, image // 2])
    one = segment_watershed(np.stack([image[0], image[1] // 2]), 1500, 45, 450, 400)[1]
    np.testing.assert_array_equal(segment_watershed(stack, 1500, 45, 450, 400)[1], one)


@pytest.mark.parametrize("value", [0, 700, 65535])
def test_an_image_without_nuclei_gives_empty_labels(value):
    image = np.full((3, 40, 50), value, dtype=np.uint16)
    for how in ("consensus", "contained_in_cells", None):
        result = segment(image, SegmentationSettings(reconcile=how))
        assert not result.nuclei.any() and not result.cells.any()
        assert (result.stats.to_numpy() == 0).all()
    assert not find_cells(np.zeros((5, 5), dtype=np.uint16), np.ones((5, 5), dtype=bool)).any()


def test_real_nuclei_are_found(real_data):
    """An image of the StarDist examples with its annotation: most annotated nuclei are hit by one label."""
    import tifffile

    image = tifffile.imread(real_data / "screen/stardist_nuclei_img2d.tif")
    truth = tifffile.imread(real_data / "screen/stardist_nuclei_mask2d.tif")
    scaled = (image / image.max() * 65535).astype(np.uint16)
    nuclei = segment_nuclei(scaled, 0.05 * 65535, 40, 5000, smooth=4, radius=10)
    overlap = np.zeros((truth.max() + 1, nuclei.max() + 1), dtype=np.int64)
    np.add.at(overlap, (truth, nuclei), 1)
    union = overlap.sum(axis=1)[:, None] + overlap.sum(axis=0)[None] - overlap
    matched = ((overlap / np.maximum(union, 1))[1:, 1:] > 0.5).any(axis=1)
    assert matched.mean() > 0.6


def test_many_labels_need_a_wider_dtype():
    assert compact(np.array([[0, 65_535]])).dtype == np.uint16
    assert compact(np.array([[0, 65_536]])).dtype == np.uint32


def test_images_that_cannot_be_segmented_are_told_at_once():
    with pytest.raises(InputError) as caught:
        segment(np.zeros((1, 5, 5)), SegmentationSettings(dapi_index=3, helper_index=4))
    assert len(caught.value.findings) == 4
    with pytest.raises(InputError, match="other axes"):
        segment(np.zeros((5, 5), dtype=np.uint16), SegmentationSettings())
    with pytest.raises(ParameterError, match="no nucleus can have that area"):
        SegmentationSettings(nucleus_area_min_px=500.0)


def test_labels_that_are_none_are_told_at_once():
    with pytest.raises(InputError) as caught:
        reconcile_nuclei_cells(np.zeros((3, 3)), np.full((2, 3), -1))
    assert [one.what for one in caught.value.findings] == [
        "labels are no integers",
        "a label is negative",
        "images differ in shape",
    ]
    with pytest.raises(InputError, match="consensus or contained_in_cells"):
        reconcile_nuclei_cells(np.zeros((3, 3), dtype=int), np.zeros((3, 3), dtype=int), how="both")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["cellpose", "stardist"])
def test_a_network_that_is_not_installed_says_what_to_install(method, monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments, **options):
        if name.split(".")[0] in ("cellpose", "stardist", "csbdeep"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    image = np.zeros((2, 20, 20), dtype=np.uint16)
    with pytest.raises(MissingToolError, match=f"pip install {method}"):
        segment(image, SegmentationSettings(method=method))


@pytest.mark.parametrize("method", ["cellpose", "stardist"])
def test_weights_that_are_absent_are_told(method, tmp_path):
    pytest.importorskip(f"{method}.models", reason=f"{method} is not installed")
    image = np.zeros((2, 20, 20), dtype=np.uint16)
    for path in ("", str(tmp_path / "none")):
        with pytest.raises(MissingToolError, match=f"for {method}"):
            segment(image, SegmentationSettings(method=method, nucleus_model=path))


def test_cellpose_runs_with_a_model_that_the_user_names(tmp_path):
    """With random weights: what it finds is of no importance, that it runs by path and gives labels is."""
    models = pytest.importorskip("cellpose.resnet_torch", reason="cellpose 3 is not installed")
    model = tmp_path / "model"
    models.CPnet([2, 32, 64, 128, 256], nout=3, sz=3).save_model(str(model))
    image, _ = nuclei_image(1)
    chosen = SegmentationSettings(
        method="cellpose", nucleus_model=str(model), cell_model=str(model), nucleus_diameter_px=12.0
    )
    for cells in (True, False):
        result = segment(image, chosen.replace(segment_cells=cells))
        assert result.nuclei.shape == result.cells.shape == image.shape[1:]
        assert result.stats["final_nuclei"][0] == len(set(result.nuclei.ravel()) - {0})


def test_stardist_runs_with_a_model_that_the_user_names(tmp_path):
    """With random weights, as above."""
    models = pytest.importorskip("stardist.models", reason="stardist is not installed")
    config = models.Config2D(
        n_rays=8, grid=(2, 2), unet_n_depth=1, unet_n_filter_base=4, net_conv_after_unet=8
    )
    network = models.StarDist2D(config, name="model", basedir=str(tmp_path))
    network.keras_model.save_weights(str(tmp_path / "model" / "weights_best.h5"))
    image, _ = nuclei_image(1)
    chosen = SegmentationSettings(
        method="stardist", nucleus_model=str(tmp_path / "model"), cell_model=str(tmp_path / "model")
    )
    result = segment(image, chosen)
    assert result.nuclei.shape == result.cells.shape == image.shape[1:]
