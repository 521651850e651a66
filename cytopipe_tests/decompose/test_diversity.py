"""Where species are divided follows what varies within them, and finds a marker's own gap."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from cytopipe.decompose import split as split_rule
from cytopipe.decompose.distance import Distances
from cytopipe.decompose.diversity import species_cut
from cytopipe.decompose.growth import grow_all
from cytopipe.decompose.neighbours import open_neighbours
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.refinement import refine_close
from cytopipe.decompose.sequences import SequenceSet
from cytopipe_tests.benchmarks.decompose_coalescent import Design, coalescent_set

DEFAULT = Parameters()


class Given:
    """Distances that are all the same."""

    def __init__(self, value):
        self.value = value

    def pairs(self, rows, columns):
        return np.full(len(rows), self.value)


@pytest.mark.parametrize(
    ("within", "cut"), [(0.0, 0.01), (0.002, 0.01), (0.003, 0.012), (0.004, 0.016), (0.009, 0.02)]
)
def test_the_cut_is_four_times_what_varies_within_species_in_its_limits(within, cut):
    assert species_cut([range(5), range(5, 30)], Given(within), DEFAULT) == pytest.approx(cut)


def test_clusters_that_say_nothing_of_what_varies_leave_the_cut_where_nothing_is_joined():
    assert species_cut([(0, 1, 2), (3,)], Given(0.001), DEFAULT) == DEFAULT.lump
    assert species_cut([], Given(0.001), DEFAULT) == DEFAULT.lump


def grown(records):
    found = SequenceSet.from_records(records)
    distances = Distances(found.sequences)
    neighbours = open_neighbours("kmer", found.sequences, DEFAULT)
    clusters = [g.members for g in grow_all(found.sequences, distances, neighbours, DEFAULT)]
    labels = [(r.description, k) for k, members in enumerate(clusters) for r in found.expand(members)]
    return clusters, adjusted_rand_score(*zip(*labels, strict=True)), distances, neighbours


def cut_at_max_lump(monkeypatch):
    """Divide nothing that one fixed threshold joins."""
    monkeypatch.setattr(split_rule, "narrowest_cut", lambda parameters, gap=None: parameters.lump)
    monkeypatch.setattr(split_rule, "species_cut", lambda clusters, distances, parameters, gap=None: 1.0)


def test_young_species_of_a_marker_that_varies_little_are_found(monkeypatch):
    records = coalescent_set(5, Design(sisters=0.03, diversity=0.0025, diversity_spread=0.0, n_records=400))
    clusters, found, distances, neighbours = grown(records)
    monkeypatch.setattr(split_rule, "narrowest_cut", lambda parameters, gap=None: parameters.lump)
    monkeypatch.setattr(
        split_rule, "species_cut", lambda clusters, distances, parameters, gap=None: parameters.lump
    )
    fixed = grown(records)[1]
    assert found > 0.93
    assert found > fixed + 0.01
    monkeypatch.undo()
    whole = tuple(sorted(clusters, key=lambda c: (-len(c), c)))
    assert refine_close(whole, distances, neighbours, 0.02, DEFAULT) == whole


def test_species_that_vary_much_are_not_torn(monkeypatch):
    records = coalescent_set(6, Design(sisters=0.08, diversity=0.006, diversity_spread=0.0, n_records=400))
    found = grown(records)[1]
    monkeypatch.setattr(split_rule, "narrowest_cut", lambda parameters, gap=None: parameters.lump)
    monkeypatch.setattr(
        split_rule, "species_cut", lambda clusters, distances, parameters, gap=None: parameters.lump
    )
    assert found >= grown(records)[1] - 0.01
