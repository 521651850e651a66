"""A file name says where in the screen a file belongs, and is read back as it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytopipe.errors import InputError, UserError
from cytopipe.screen.names import get_filename, parse_filename

WORDS = st.from_regex(r"[A-Za-z0-9]{1,6}", fullmatch=True)
LOCATIONS = st.fixed_dictionaries(
    {},
    optional={"plate": WORDS, "well": WORDS, "tile": st.integers(0, 9999), "cycle": st.integers(0, 99)},
)


@given(LOCATIONS, WORDS, st.sampled_from(["tiff", "tsv", "ome.zarr", "parquet"]))
def test_a_name_is_read_back_as_it_was_written(location, info, ending):
    name = get_filename(location, info, ending)
    assert parse_filename(name) == (location, info, ending)
    assert list(parse_filename(name)[0]) == [
        one for one in ("plate", "well", "tile", "cycle") if one in location
    ]


def test_an_info_with_single_underscores_is_kept():
    assert parse_filename(get_filename({"plate": 1}, "ic_field", "tiff")) == (
        {"plate": "1"},
        "ic_field",
        "tiff",
    )


@pytest.mark.parametrize(
    "location",
    [{"well": "A_1"}, {"well": "../x"}, {"tile": "2b"}, {"tile": -1}, {"gene": "ATF1"}, {"plate": ""}],
)
def test_a_location_that_could_not_be_read_back_is_refused(location):
    with pytest.raises(InputError):
        get_filename(location, "aligned", "tiff")


@pytest.mark.parametrize("info", ["a/b", "a__b", "", "..", "x\n"])
def test_an_info_that_is_no_part_of_a_name_is_refused(info):
    with pytest.raises(UserError):
        get_filename({"plate": 1}, info, "tiff")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tiff",
        "P-1_W-A1__.tiff",
        "W-A1_P-1__x.tiff",
        "P-1_P-2__x.tiff",
        "T-2b__x.tiff",
        "Q-1__x.tiff",
        "P-__x.tiff",
    ],
)
def test_a_name_that_is_not_ours_is_refused(name):
    with pytest.raises(InputError, match="not the name of a file of a screen"):
        parse_filename(name)
