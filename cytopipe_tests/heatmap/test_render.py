"""The picture of a heat map: the same bytes twice, readable at any size, safe with any name."""

from __future__ import annotations

import io
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from cytopipe.errors import InputError, ParameterError
from cytopipe.heatmap.artifact import document_of
from cytopipe.heatmap.parameters import HeatmapSettings, RenderSettings
from cytopipe.heatmap.render import draw_heatmap, render_heatmap, thumbnail_of
from cytopipe.heatmap.state import HeatmapState
from cytopipe.storage.formats.figure import figure_bytes
from cytopipe_tests.heatmap.states import HOSTILE, make_state


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_state_gives_the_same_bytes(kind):
    first, second = (render_heatmap(make_state(), kind) for _ in range(2))
    assert first == second and len(first) > 1000


def test_names_counts_and_parts_are_told():
    figure = draw_heatmap(make_state())
    told = texts(figure)
    for expected in (
        "cluster_001",
        "cluster_012",
        "CD4 label",
        "revision",
        "cut",
        "metacluster",
        "Metacluster 1",
    ):
        assert expected in told
    assert told.count("Unassigned") == 1
    assert any("12 clusters x 5 markers, 469 cells" in text for text in told)
    bare = draw_heatmap(
        make_state(),
        RenderSettings(dendrograms=False, side_bars=False, cluster_labels=False, legend=False),
    )
    assert "cluster_001" not in texts(bare) and "Metacluster 1" not in texts(bare)
    assert len(bare.axes) < len(figure.axes)


def test_a_flip_turns_the_picture_and_keeps_its_colours():
    state = make_state(30, 4)
    tall, wide = (pixels(render_heatmap(one)) for one in (state, state.flipped()))
    assert tall.shape[0] > wide.shape[0] and tall.shape[1] < wide.shape[1]
    colours = [{tuple(one) for one in image.reshape(-1, 3)[::7]} for image in (tall, wide)]
    saved = [tuple(int(one[k : k + 2], 16) for k in (1, 3, 5)) for one in state.colours.values()]
    assert sum(one in colours[0] and one in colours[1] for one in saved) >= 3


def test_hostile_names_are_drawn_as_they_are():
    state = make_state(
        12,
        8,
        names=dict(enumerate(HOSTILE)),
        labels=HOSTILE,
        description=HOSTILE[0],
        cluster_ids=[*HOSTILE, *"abcd"],
        step_id=HOSTILE[1],
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a font without Chinese
        svg = render_heatmap(state, "svg")
        assert render_heatmap(state, "pdf")
    ElementTree.fromstring(svg)
    assert b"<b>" not in svg
    told = texts(draw_heatmap(state))
    assert HOSTILE[0] in told and "a\\nb\\tc" in told and "\\u202eright" in told
    assert not any("\n" in text for text in told)


def test_labels_of_two_thousand_clusters_do_not_overlap():
    state = make_state(2000, 4, n_cells=10)
    figure = draw_heatmap(state)
    labels = [text for text in figure.findobj(Text) if text.get_text().startswith("cluster_")]
    assert len(labels) == 2000
    height = figure.get_size_inches()[1]
    axes = labels[0].axes.get_position()
    pitch = axes.height * height / 2000 * 72
    assert 4 <= labels[0].get_fontsize() < pitch
    assert height * 150 < 65_000  # what a PNG can have


def test_more_clusters_than_a_png_has_room_for_are_told():
    state = HeatmapState(
        [str(number) for number in range(9000)], ["m"], np.zeros((9000, 1)), np.zeros(9000, int)
    )
    with pytest.raises(InputError, match="larger than a PNG"):
        render_heatmap(state)
    assert render_heatmap(state, settings=RenderSettings(cluster_labels=False))


def test_the_least_and_the_odd_are_drawn():
    least = HeatmapState(["only"], ["CD3"], np.zeros((1, 1)), np.zeros(1, int))
    shuffled = make_state(row_order=np.random.default_rng(0).permutation(12))
    crossing = make_state(col_linkage=np.array([[9, 9, 1, 2.0]] * 4))
    for state in (least, least.flipped(), shuffled, crossing):
        assert render_heatmap(state)
    whole = len(draw_heatmap(make_state()).axes)
    assert len(draw_heatmap(shuffled).axes) == len(draw_heatmap(crossing).axes) == whole - 1
    with pytest.raises(InputError, match="no figure format"):
        render_heatmap(least, "gif")


def test_a_figure_of_a_notebook_is_drawn_without_our_writer():
    """Names with TeX in them raised in `Figure.savefig`."""
    sink = io.BytesIO()
    draw_heatmap(make_state(names={0: "$\\x$"}, labels=["$\\y$"] * 5)).savefig(sink)
    assert sink.getvalue()[:4] == b"\x89PNG" and figure_bytes(draw_heatmap(make_state()))


def test_a_thumbnail_is_small_turned_as_the_view_and_refused_where_it_is_damaged():
    state = make_state(100, 50)
    assert thumbnail_of(document_of(state)).shape == (40, 32)
    assert thumbnail_of(document_of(state.flipped())).shape == (32, 40)
    small = document_of(make_state(3, 2))
    assert thumbnail_of(small).shape == (3, 2)
    small["thumbnail"]["z"] = "!"
    with pytest.raises(InputError, match="damaged"):
        thumbnail_of(small)


def test_settings_that_contradict_are_told():
    with pytest.raises(ParameterError, match="ward linkage needs euclidean"):
        HeatmapSettings(method="ward", metric="cosine")
    with pytest.raises(ParameterError):
        RenderSettings(z_limit=0.0)
