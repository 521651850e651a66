"""What measurements of cells mean, where they are undefined, and where they differ from the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cytopipe.errors import InputError
from cytopipe.screen.features import (
    as_profiles,
    count_foci,
    extract_phenotype_cp_emulator,
    extract_phenotype_minimal,
    features_page,
    find_foci,
    measure,
    objects_in,
)
from cytopipe.screen.features.catalogue import CATALOGUE, FOCI, columns
from cytopipe.screen.parameters import FeatureSettings
from cytopipe_tests.screen.label_images import image_of, labels_of

CHANNELS = ["DAPI", "actin"]
WHERE = {"plate": "1", "well": "A1", "tile": "7"}


def one(labels, image=None, channel_names=("DAPI",), **settings):
    """The table of nuclei alone, by label."""
    if image is None:
        image = np.full((len(channel_names), *labels.shape), 1000, np.uint16)
    chosen = FeatureSettings(**settings)
    table = measure(image, labels, None, channel_names=channel_names, settings=chosen, **WHERE)
    return table.set_index("label").rename(columns=lambda name: name.removeprefix("nucleus_"))


def box(row, col, height, width, shape=(40, 40), label=1):
    labels = np.zeros(shape, np.int32)
    labels[row : row + height, col : col + width] = label
    return labels


def disk(row, col, radius, shape=(80, 80)):
    rows, cols = np.indices(shape)
    return ((rows - row) ** 2 + (cols - col) ** 2 <= radius**2).astype(np.int32)


# ---------------------------------------------------------------------- what values mean


def test_a_rectangle_has_the_shape_of_a_rectangle():
    row = one(box(3, 5, 4, 9)).loc[1]
    assert (row.area, row.extent, row.solidity, row.euler_number) == (36, 1, 1, 1)
    assert row.perimeter == 2 * (3 + 8)
    assert (row.min_feret_diameter, row.max_feret_diameter) == (3, np.hypot(3, 8))
    assert (row.i, row.j) == (4.5, 9)
    assert list(row[[f"bounds_{n}" for n in range(4)]]) == [3, 5, 7, 14]
    assert row.major_axis == pytest.approx(4 * np.sqrt((9**2 - 1) / 12))
    assert row.minor_axis == pytest.approx(4 * np.sqrt((4**2 - 1) / 12))
    assert abs(row.orientation) == pytest.approx(np.pi / 2)


def test_a_hole_lowers_the_euler_number_and_does_not_count_as_rim():
    labels = box(5, 5, 9, 9)
    labels[8:11, 8:11] = 0
    image = np.full((1, 40, 40), 10, np.uint16)
    image[0, 7:12, 7:12] = 500  # the pixels around the hole
    row = one(labels, image).loc[1]
    assert row.euler_number == 0
    assert row.DAPI_max_edge == 10
    assert row.DAPI_max == 500


def test_rings_and_their_shares_add_up():
    labels = disk(40, 40, 20)
    row = one(labels, image_of("bright", labels.shape, 1, 1)).loc[1]
    assert sum(row[f"DAPI_frac_at_d_{n}"] for n in range(4)) == pytest.approx(1)
    even = one(labels).loc[1]
    assert [even[f"DAPI_mean_frac_{n}"] for n in range(4)] == pytest.approx([1] * 4)
    assert [even[f"DAPI_radial_cv_{n}"] for n in range(4)] == pytest.approx([0] * 4)


def test_channels_that_are_proportional_correlate_fully():
    labels = disk(40, 40, 12)
    image = np.repeat(image_of("bright", labels.shape, 2, 1) // 4, 2, axis=0)
    image[1] *= 3
    row = one(labels, image, CHANNELS).loc[1]
    assert row.correlation_DAPI_actin == pytest.approx(1)
    assert row.lstsq_slope_DAPI_actin == pytest.approx(3)
    assert row.overlap_DAPI_actin == pytest.approx(1)
    assert (row.K_DAPI_actin, row.K_actin_DAPI) == pytest.approx((3, 1 / 3))
    assert row.manders_DAPI_actin == row.rwc_DAPI_actin  # equal ranks weigh 1


def test_neighbours_share_sides_and_corners_touch():
    labels = box(10, 10, 4, 4) + box(10, 14, 4, 4, label=2) + box(14, 18, 4, 4, label=5)
    table = one(labels)
    assert list(table.number_neighbors_1) == [1, 1, 0]
    assert list(table.percent_touching_1 * 12) == pytest.approx([4, 5, 1])
    assert list(table.first_neighbor_distance) == pytest.approx([4, 4, np.sqrt(32)])


def test_neighbours_in_one_line_have_an_angle():
    labels = sum(box(5, col, 3, 3, label=n) for n, col in enumerate((3, 11, 27), 1))
    assert list(one(labels).angle_between_neighbors) == [0, 180, 0]


def test_objects_with_one_centre_are_each_others_nearest():
    labels = disk(40, 40, 20)
    labels[disk(40, 40, 10) == 1] = 2
    assert list(one(labels).first_neighbor_distance) == [0, 0]


def test_places_do_not_matter_but_to_places():
    """The same objects elsewhere, under other labels, in another order."""
    labels = labels_of("ellipses", 3)
    image = image_of("bright", labels.shape, 4, 2)
    table = one(labels, image, CHANNELS)
    other = np.zeros((120, 130), np.int64)
    other[31:111, 17:107] = np.where(labels, 1000 - 7 * labels, 0)
    moved = np.zeros((2, 120, 130), np.uint16)
    moved[:, 31:111, 17:107] = image
    again = one(other, moved, CHANNELS)
    again.index = (1000 - again.index) // 7
    again = again.loc[table.index]
    places = [name for name in table if name in ("i", "j", *WHERE) or "bounds" in name or "_feret_" in name]
    rim = [name for name in table if "touching" in name]
    unmoved = [name for name in table if name not in {*places, *rim}]
    np.testing.assert_allclose(
        again[unmoved].to_numpy(float), table[unmoved].to_numpy(float), rtol=1e-9, atol=1e-12
    )


def test_the_same_input_gives_the_same_bits():
    labels = labels_of("blobs", 5)
    image = image_of("bright", labels.shape, 6, 2)
    first, second = (one(labels, image, CHANNELS) for _ in range(2))
    assert first.to_numpy(str).tolist() == second.to_numpy(str).tolist()


# ---------------------------------------------------------------------- what is undefined


def test_a_single_pixel_has_what_a_point_has():
    row = one(box(39, 0, 1, 1)).loc[1]
    assert (row.area, row.convex_area, row.DAPI_mean, row.DAPI_std, row.max_radius) == (1, 1, 1000, 0, 1)
    assert (row.eccentricity, row.major_axis, row.perimeter) == (0, 0, 0)
    undefined = [
        "form_factor",
        "min_feret_diameter",
        "zernike_0_0",
        "DAPI_haralick_5_0",
        "first_neighbor_distance",
    ]
    assert row[undefined].isna().all()


def test_a_dark_channel_has_no_centre_of_intensity():
    labels = box(5, 5, 9, 9)
    image = np.zeros((2, 40, 40), np.uint16)
    image[1] = image_of("bright", labels.shape, 1, 1)
    row = one(labels, image, CHANNELS).loc[1]
    undefined = ["center_mass_r", "mass_displacement", "frac_at_d_0", "radial_cv_0", "weighted_hu_moments_0"]
    assert row[[f"DAPI_{name}" for name in undefined]].isna().all()
    pairs = ["correlation_DAPI_actin", "lstsq_slope_DAPI_actin", "overlap_DAPI_actin", "manders_actin_DAPI"]
    assert row[pairs].isna().all()
    assert row.DAPI_int == 0
    assert (row.DAPI_max_location_r, row.DAPI_max_location_c) == (0, 0)


def test_a_tile_without_cells_has_the_same_columns():
    labels = labels_of("boxes", 1)
    settings = FeatureSettings(foci_channels=("actin",))
    tables = [
        measure(
            np.full((2, *labels.shape), 100, np.uint16),
            *[found] * 3,
            channel_names=CHANNELS,
            settings=settings,
            **WHERE,
        )
        for found in (labels, np.zeros_like(labels))
    ]
    assert list(tables[0]) == list(tables[1])
    assert list(tables[0].dtypes) == list(tables[1].dtypes)
    assert len(tables[1]) == 0


def test_each_compartment_has_the_channels_that_are_named_for_it():
    labels = disk(40, 40, 12)
    image = image_of("bright", labels.shape, 2, 3)
    settings = FeatureSettings(nucleus_channels=("DNA",), cell_channels=("ER", "DNA"))
    names = ["DNA", "actin", "ER"]
    table = measure(image, labels, labels, labels, channel_names=names, settings=settings, **WHERE)
    has = [one for one in ("nucleus", "cell", "cytoplasm") for name in names if f"{one}_{name}_mean" in table]
    assert has == ["nucleus", "cell", "cell", "cytoplasm", "cytoplasm", "cytoplasm"]
    assert table.cell_correlation_ER_DNA[0] == table.cytoplasm_correlation_DNA_ER[0]
    assert table.nucleus_DNA_mean[0] == image[0][labels == 1].mean()


def test_labels_that_only_some_compartments_have_keep_their_rows():
    nuclei, cells = box(2, 2, 5, 5, label=4), box(20, 20, 9, 9, label=2) + box(2, 2, 9, 9, label=4)
    table = measure(np.ones((1, 40, 40), np.uint16), nuclei, cells, channel_names=["DAPI"], **WHERE)
    assert list(table.label) == [4, 2]
    assert table.nucleus_area.isna().tolist() == [False, True]
    assert list(table.cell_area) == [81, 81]


def test_everything_wrong_is_told_at_once():
    image, labels = np.zeros((2, 8, 9), np.uint16), np.zeros((8, 8), np.int32)
    settings = FeatureSettings(foci_channels=("ER",))
    with pytest.raises(InputError) as error:
        measure(image, labels, labels, channel_names=["DAPI"] * 3, settings=settings, **WHERE)
    text = str(error.value)
    for words in ("2 names", "one name", "labels of nucleus", "labels of cell", "'ER'"):
        assert words in text
    with pytest.raises(InputError, match="negative label"):
        objects_in(np.full((3, 3), -1))
    with pytest.raises(InputError, match="label image"):
        objects_in(np.zeros((3, 3)))
    with pytest.raises(InputError, match="make one name"):
        measure(np.zeros((4, 8, 8), np.uint16), labels, None, channel_names=["a", "b_c", "a_b", "c"], **WHERE)


def test_labels_beyond_any_table_are_found():
    labels = box(2, 2, 3, 3, label=1 << 30) + box(10, 10, 2, 2, label=5)
    assert list(one(labels).index) == [5, 1 << 30]


# ---------------------------------------------------------------------- foci


def spots(*places, shape=(60, 60)):
    rows, cols = np.indices(shape)
    image = np.full(shape, 100.0)
    for row, col in places:
        image += 3000 * np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / 4)
    return image.astype(np.uint16)


def test_foci_that_touch_are_two():
    assert find_foci(spots((20, 20), (20, 26), (45, 40))).max() == 3


def test_foci_beside_the_dark_border_of_an_alignment_are_removed():
    image = spots((20, 4), (45, 40))
    image[:, :2] = 0
    assert np.unique(find_foci(image, remove_border_foci=True)).size == 2  # background and one
    assert np.unique(find_foci(image)).size == 3


def test_foci_are_counted_in_the_cell_in_which_they_lie():
    labels = box(10, 10, 20, 20, (60, 60), label=3) + box(35, 30, 20, 20, (60, 60), label=9)
    counted = count_foci(objects_in(labels), find_foci(spots((20, 15), (20, 24), (45, 40), (5, 50))))
    assert counted[:, 0].tolist() == [2, 1]
    assert (counted[:, 1] > 5).all()


# ---------------------------------------------------------------------- faults of the reference, shown


def test_texture_does_not_jump_where_a_value_reaches_256():
    """The reference takes values as grey levels as long as none reaches 256, and divides them by 256 then."""
    labels, rng = box(5, 5, 25, 25), np.random.default_rng(0)
    dim = rng.integers(100, 256, size=(1, 40, 40)).astype(np.uint16)
    brighter = dim.copy()
    brighter[0, 10, 10] = 256

    def contrast(image, **settings):
        return one(labels, image, **settings).loc[1, "DAPI_haralick_5_1"]

    assert contrast(dim, parity=True) > 1000
    assert np.isnan(contrast(brighter, parity=True))  # all but one pixel have grey level 0
    assert np.isnan(contrast(dim))
    assert np.isnan(contrast(brighter))
    with_ceiling = [contrast(image, texture_ceiling=1023) for image in (dim, brighter)]
    assert with_ceiling[0] == pytest.approx(with_ceiling[1], rel=0.01)


def test_a_triangle_has_feret_diameters():
    """The reference asks corners in turn and notes the farthest once a nearer one follows; here none does."""
    labels = np.zeros((40, 40), np.int32)
    for row in range(9):
        labels[5 + row, 5 : 6 + row] = 1
    assert one(labels).loc[1, "min_feret_diameter"] == pytest.approx(8 / np.sqrt(2))
    assert np.isnan(one(labels, parity=True).loc[1, "min_feret_diameter"])


def test_a_whole_diameter_is_whole_anywhere():
    """The reference's circle of a disk of radius 14 is 28.000000000001 wide, which it rounds up to 29."""
    mahotas = pytest.importorskip("mahotas.features")
    found = [one(disk(row, 25, 14)).loc[1, "zernike_2_0"] for row in (20, 59)]
    assert found[0] == found[1]
    moments = [
        mahotas.zernike_moments(disk(30, 30, 14), radius=r / 2, degree=9, cm=(30, 30)) for r in (28, 29)
    ]
    assert found[0] == pytest.approx(moments[0][2])
    assert abs(moments[1][2] / moments[0][2] - 1) > 1


def test_the_slope_over_a_constant_channel_is_undefined():
    """The reference's solver takes the line of the smallest slope and intercept through one abscissa."""
    labels = disk(40, 40, 12)
    image = image_of("bright", labels.shape, 2, 2)
    image[0] = 7
    mean = image[1][labels == 1].mean()
    assert np.isnan(one(labels, image, CHANNELS).loc[1, "lstsq_slope_DAPI_actin"])
    least = one(labels, image, CHANNELS, parity=True).loc[1, "lstsq_slope_DAPI_actin"]
    assert least == pytest.approx(7 * mean / (7**2 + 1))


def test_two_channels_name_their_correlation():
    labels = disk(40, 40, 12)
    image = image_of("bright", labels.shape, 2, 2)
    table = extract_phenotype_cp_emulator(image, labels, labels, WHERE, channel_names=CHANNELS)
    assert {"nucleus_correlation", "cell_correlation"} < set(table)  # as the reference has it
    assert "correlation_DAPI_actin" in one(labels, image, CHANNELS)


def test_the_reference_measures_as_many_channels_as_there_are_and_no_empty_compartment():
    labels = disk(40, 40, 12)
    image = image_of("bright", labels.shape, 2, 3)
    table = extract_phenotype_cp_emulator(
        image, labels, labels, WHERE, np.zeros_like(labels), foci_channel=[0, 2]
    )
    assert {"nucleus_gh2ax_mean", "cell_dapi_foci_count", "cell_gh2ax_foci_count"} < set(table)
    assert not [name for name in table if "phalloidin" in name or name.startswith("cytoplasm")]


# ---------------------------------------------------------------------- names


def test_every_column_is_in_the_catalogue():
    labels = box(5, 5, 9, 9)
    table = one(labels, channel_names=CHANNELS, foci_channels=("actin",))
    expected = [name for family in CATALOGUE if family is not FOCI for name, _ in columns(family, CHANNELS)]
    assert [name for name in table if name not in WHERE and "foci" not in name] == expected
    assert [name for name in table if "foci" in name] == [
        f"cell_{name}" for name, _ in columns(FOCI, ["actin"])
    ]


def test_the_page_of_measurements_is_current():
    page = Path(__file__).parents[2] / "docs" / "screen-features.md"
    assert page.read_text() == features_page(), (
        "python -m cytopipe.screen.features.catalogue > docs/screen-features.md"
    )


def test_the_minimal_table_says_where_nuclei_are():
    table = extract_phenotype_minimal(None, box(3, 5, 4, 9, label=6), {"well": "A1", "tile": 2})
    assert table.iloc[0].to_dict() == {
        "area": 36.0, "i": 4.5, "j": 9.0, "cell": 6, "bounds": (3, 5, 7, 14), "tile": 2, "well": "A1",
    }  # fmt: skip


def test_profiles_open_in_pycytominer():
    pycytominer = pytest.importorskip("pycytominer")
    from pycytominer.cyto_utils import infer_cp_features

    labels = labels_of("ellipses", 3)
    image = image_of("bright", labels.shape, 4, 2)
    settings = FeatureSettings(foci_channels=("actin",))
    table = measure(image, labels, labels, channel_names=CHANNELS, settings=settings, **WHERE)
    table["cell_barcode_0"], table["gene_symbol_0"] = "ACGT", "TP53"
    profiles = as_profiles(table)
    found = infer_cp_features(profiles)
    assert len(found) == len(table.columns) - 4 - 2 * 6 - 2
    assert {"Cells_DAPI_mean", "Nuclei_zernike_9_9", "Cells_actin_foci_count"} < set(found)
    assert {"Metadata_label", "Metadata_cell_i", "Metadata_cell_barcode_0"} < set(profiles)
    normalized = pycytominer.normalize(profiles, features="infer", method="mad_robustize")
    assert normalized.Cells_DAPI_mean.median() == pytest.approx(0, abs=1e-6)
