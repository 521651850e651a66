"""Colours of metaclusters: evenly spaced, kept, exported and imported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytopipe.errors import InputError
from cytopipe.heatmap.artifact import load_heatmap_state, save_heatmap_state
from cytopipe.heatmap.colours import colours_of, husl, with_colours
from cytopipe.heatmap.palettes import export_palette, palette_of, parse_palette, read_palette, with_palette
from cytopipe_tests.heatmap.states import HOSTILE, make_state


def test_hues_are_those_of_the_palette_of_seaborn():
    """`sns.color_palette("husl", 8).as_hex()`."""
    expected = ["#f77189", "#ce9032", "#97a431", "#32b166", "#36ada4", "#39a7d0", "#a48cf4", "#f561dd"]
    assert husl(8) == expected and husl(0) == []
    assert colours_of([3, -1, 0]) == {-1: "#9e9e9e", 0: husl(2)[0], 3: husl(2)[1]}


@given(st.sets(st.integers(-1, 500), max_size=40), st.sets(st.integers(-1, 500), max_size=40))
def test_a_metacluster_keeps_its_colour_and_no_new_one_takes_it(first, second):
    known = colours_of(first)
    more = with_colours(known, first | second)
    assert {key: more[key] for key in known} == known
    assert len(set(more.values())) == len(more) == len(first | second)


def test_a_palette_comes_back_from_its_file_and_from_a_checkpoint(tmp_path):
    state = make_state(names={0: HOSTILE[0], 1: HOSTILE[3]})
    palette = palette_of(state)
    (tmp_path / "theme.json").write_bytes(export_palette(palette))
    assert read_palette(tmp_path / "theme.json") == palette
    path = save_heatmap_state(state, tmp_path / "x.h5ad")
    assert read_palette(path) == palette == palette_of(load_heatmap_state(path))
    assert export_palette(palette) == export_palette(palette_of(load_heatmap_state(path)))


def test_a_plain_mapping_of_colours_is_taken():
    assert parse_palette(b'{"-1": "#9E9E9E", "0": "#d8a282"}').colours == {-1: "#9e9e9e", 0: "#d8a282"}


def test_colours_follow_names_or_numbers():
    theme = palette_of(make_state(names={7: "T cells", 1: "B cells"}, colours={7: "#111111", 1: "#222222"}))
    state = make_state(names={0: "T cells"})
    by_name, absent = with_palette(state, theme)
    assert by_name.colours[0] == "#111111" and "T cells" not in absent and absent
    assert by_name.names == state.names
    by_number, _ = with_palette(state, theme, by="number")
    assert by_number.colours[1] == "#222222" and by_number.names[1] == "B cells"
    assert {key: by_name.colours[key] for key in (1, 2)} == {key: state.colours[key] for key in (1, 2)}


def test_where_states_differ_the_first_that_names_a_metacluster_wins():
    one, other = make_state(names={0: "A"}, colours={0: "#111111"}), make_state(names={0: "B", 1: "C"})
    merged = palette_of(one, other)
    assert merged.names[0] == "A" and merged.names[1] == "C"
    assert merged.colours[0] == "#111111" and merged.colours[1] == other.colours[1]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"format": "x"}', 1),
        ('{"format": "cytopipe palette", "version": 1}', 1),
        ('{"format": "cytopipe palette", "version": 1, "metaclusters": [{}, {"metacluster": true}]}', 2),
        ('{"0": "red", "x": "#111111", "-2": "#111111"}', 3),
        ('[{"metacluster": 0, "name": 5}, {"metacluster": 0}, {"metacluster": 1, "colour": 7}]', 2),
        ("3", 1),
        ("{", 1),
    ],
)
def test_everything_wrong_in_a_palette_is_told_at_once(text, count):
    with pytest.raises(InputError) as caught:
        parse_palette(text.encode(), where="theme.json")
    assert len(caught.value.findings) == count
