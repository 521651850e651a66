"""The report, the comparison, the curve and the exports: complete, right, and readable by others."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytopipe.decompose import (
    Decomposition,
    Distances,
    Parameters,
    SequenceSet,
    compare_partitions,
    parse_spart,
    parse_uc,
    read_assignment,
)
from cytopipe.decompose.curve import cut, threshold_curve
from cytopipe.decompose.exports import Assignment, format_spart, format_uc
from cytopipe.errors import InputError
from cytopipe.storage.fasta import read_fasta
from cytopipe_tests.decompose_run.directory import clusters_in, move_record
from cytopipe_tests.decompose_run.killing import KMER


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its report, over six species of five."""
    from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta

    home = tmp_path_factory.mktemp("finished")
    fasta = write_fasta(home / "barcodes.fasta", make_barcodes())
    Decomposition.create(home / "run", fasta, Parameters(neighbours="exhaustive")).advance("final")
    return home / "run"


def table(run: Path, name: str, stage: str = "final") -> list[dict[str, str]]:
    text = (run / "report" / stage / f"{name}.tsv").read_text()
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def test_the_record_table_holds_every_record_once_with_its_cluster(finished: Path) -> None:
    rows = table(finished, "records")
    wanted = {record: file for file, ids in clusters_in(finished, "final").items() for record in ids}
    assert [row["record"] for row in rows] == sorted(wanted)
    assert all(f"{row['cluster']}.fasta" == wanted[row["record"]] for row in rows)
    assert all(row["stage"] == "final" and row["status"] == "clustered" for row in rows)
    assert sum(row["medoid"] == "true" for row in rows) == 6


def test_identities_and_gaps_are_those_of_a_plain_reckoning(finished: Path) -> None:
    """Slow twin: all distances at once, in plain loops."""
    records = {one.id: one for path in finished.glob("cluster_*.fasta") for one in read_fasta(path)}
    sequences = SequenceSet.from_records(records.values())
    distance = Distances(sequences.sequences).matrix(range(len(sequences)))
    at = {one.id: place for place, found in enumerate(sequences.records) for one in found}
    members = clusters_in(finished, "final")
    home = {record: file for file, ids in members.items() for record in ids}
    medoids = {row["file"]: row["medoid"] for row in table(finished, "clusters")}
    for row in table(finished, "records"):
        here = home[row["record"]]
        assert float(row["identity_to_representative"]) == pytest.approx(
            1 - distance[at[row["record"]], at[medoids[here]]], abs=1e-6
        )
        nearest = min(distance[at[row["record"]], at[other]] for other in home if home[other] != here)
        assert float(row["nearest_outside"]) == pytest.approx(nearest)
    for row in table(finished, "clusters"):
        inside = sorted({at[record] for record in members[row["file"]]})
        outside = sorted({at[record] for record in home if home[record] != row["file"]})
        total = {one: sum(distance[one, at[other]] for other in members[row["file"]]) for one in inside}
        assert total[at[row["medoid"]]] == pytest.approx(min(total.values()))
        within = [distance[one, other] for one in inside for other in inside if one < other]
        nearest = [min(distance[one, other] for other in outside) for one in inside]
        spread = np.percentile(within, 95) if within else 0.0
        assert float(row["gap"]) == pytest.approx(np.percentile(nearest, 5) - spread)
        assert float(row["min_between"]) == pytest.approx(min(nearest))


def test_clusters_too_far_for_the_finder_have_a_gap_all_the_same(fasta: Path, tmp_path: Path) -> None:
    """Species 12% apart share too few k-mers to be named as neighbours."""
    Decomposition.create(tmp_path / "run", fasta, KMER).advance("final")
    rows = table(tmp_path / "run", "clusters")
    assert all(float(row["gap"]) > 0.05 and row["nearest_cluster"] for row in rows)


def test_conflicts_of_the_initial_clusters_are_listed_and_no_record_is_left_out(
    fasta: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    Decomposition.create(run, fasta, KMER).advance("initial", report=False)
    record = clusters_in(run, "initial")["initial.cluster_0001.fasta"][0]
    text = (run / "initial.cluster_0001.fasta").read_text()
    move_record(record, run / "initial.cluster_0001.fasta", run / "initial.cluster_0002.fasta")
    (run / "initial.cluster_0001.fasta").write_text(text)
    found = Decomposition.open(run)
    found.advance("initial")
    assert table(run, "conflicts", "initial") == [{"record": record, "clusters": "cluster_0001;cluster_0002"}]
    row = next(row for row in table(run, "records", "initial") if row["record"] == record)
    assert row["claimed_by"] == "cluster_0001;cluster_0002"
    assert len(table(run, "records", "initial")) == 30
    result = found.advance("deconflicted", report=False)
    assert result.n_records == 30
    assert found.state.stages.conflict_resolution.conflicts_before > 0
    assert found.state.stages.conflict_resolution.conflicts_after == 0


def test_the_histogram_counts_every_pair_that_was_measured(finished: Path) -> None:
    rows = table(finished, "histogram")
    assert sum(int(row["within"]) for row in rows) > 0
    assert float(rows[0]["from"]) == 0.0 and len(rows) == 100


def test_the_true_partition_is_the_first_of_the_ranked_alternatives(finished: Path) -> None:
    first = table(finished, "partitions")[0]
    assert first["rank"] == "1" and first["clusters"] == "6"
    alternatives = {row["record"]: row["rank_1"] for row in table(finished, "alternatives")}
    home = {record: file for file, ids in clusters_in(finished, "final").items() for record in ids}
    assert compare_partitions(alternatives, home).adjusted_rand_index == 1.0


def test_figures_are_pictures(finished: Path) -> None:
    for name in ("histogram", "thresholds", "gaps"):
        assert (finished / "report" / "final" / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_report_that_was_damaged_is_made_again(finished: Path) -> None:
    path = finished / "report" / "final" / "records.tsv"
    whole, summary = path.read_bytes(), finished / "report" / "final" / "summary.json"
    path.write_bytes(b"nonsense")
    summary.write_bytes(b"nonsense")
    Decomposition.open(finished).advance("final")
    assert path.read_bytes() == whole
    assert json.loads(summary.read_text())["clusters"] == 6


def test_names_in_the_headers_are_compared_with(finished: Path) -> None:
    (row,) = table(finished, "agreement")
    assert float(row["adjusted_rand_index"]) == 1.0
    assert row["records"] == "30"


def test_a_truth_table_can_be_given(fasta: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.tsv"
    names = read_assignment(fasta)
    truth.write_text("record\tcluster\n" + "".join(f"{one}\t{name[:9]}\n" for one, name in names.items()))
    result = Decomposition.create(tmp_path / "run", fasta, KMER).advance("final", truth=truth)
    assert result.metrics["homogeneity"] == 1.0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30))
def test_agreement_counts_pairs_as_a_plain_loop_does(pairs: list[tuple[int, int]]) -> None:
    """The adjusted Rand index from its definition: pairs together in both, in one, expected by chance."""
    ours = {str(n): str(a) for n, (a, _) in enumerate(pairs)}
    theirs = {str(n): str(b) for n, (_, b) in enumerate(pairs)}
    together = [[0, 0], [0, 0]]
    for n in range(len(pairs)):
        for m in range(n):
            together[pairs[n][0] == pairs[m][0]][pairs[n][1] == pairs[m][1]] += 1
    both, total = together[1][1], sum(map(sum, together))
    a, b = together[1][0] + both, together[0][1] + both
    expected, most = a * b / total, (a + b) / 2
    index = 1.0 if most == expected else (both - expected) / (most - expected)
    assert compare_partitions(ours, theirs).adjusted_rand_index == pytest.approx(index)


def test_partitions_of_different_records_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="share no record"):
        compare_partitions({"a": "1"}, {"b": "1"})


@given(st.integers(2, 25), st.integers(0, 10**6))
def test_the_curve_is_single_linkage_at_every_threshold(n: int, seed: int) -> None:
    """Plain twin: flood fill over all pairs within the threshold."""
    chance = random.Random(seed)
    points = [chance.randint(0, 40) / 100 for _ in range(n)]
    first, second = np.triu_indices(n, 1)
    values = np.abs(np.array(points)[first] - np.array(points)[second]).round(2)
    curve = threshold_curve(n, [(first, second, values), (first[:3], second[:3], values[:3])])
    for threshold, clusters in zip(curve.thresholds, curve.clusters, strict=True):
        left, found = set(range(n)), []
        while left:
            group, front = set(), [min(left)]
            while front:
                one = front.pop()
                group.add(one)
                front += [
                    m for m in left - group if round(abs(points[one] - points[m]), 2) <= threshold + 1e-9
                ]
            left -= group
            found.append(group)
        assert len(found) == clusters
        label = cut(curve, threshold + 1e-9)
        assert {frozenset(group) for group in found} == {
            frozenset(np.flatnonzero(label == one).tolist()) for one in set(label.tolist())
        }


NAMES = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1, max_size=12)


@given(st.dictionaries(NAMES, st.integers(0, 3), min_size=1, max_size=15))
def test_exports_read_back_the_same_clusters(clusters: dict[str, int]) -> None:
    first = {}
    for record in sorted(clusters):
        first.setdefault(clusters[record], record)
    rows = [
        Assignment(record, f"cluster_{number}", 100, first[number], 0.99)
        for record, number in sorted(clusters.items())
    ]
    rows.append(Assignment("left_over", "", 90, "", 0.0))
    for write, read in ((format_uc, parse_uc), (format_spart, parse_spart)):
        found = read(write(rows, project="p", date="2026-01-01T00:00:00+00:00"))
        groups = {frozenset(r for r in found if found[r] == name) for name in found.values()}
        assert groups == {
            frozenset(r for r in clusters if clusters[r] == number) for number in clusters.values()
        }


def test_the_command_exports_every_format_and_compares_them(finished: Path, tmp_path: Path, cytopipe) -> None:
    done = cytopipe(
        *("decompose", "export", finished, "-o", tmp_path / "out"),
        *("--format", "uc", "--format", "spart", "--format", "tsv"),
    )
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert [path.suffix for path in paths] == [".uc", ".spart", ".tsv"]
    for path in paths:
        assert compare_partitions(read_assignment(path), read_assignment(finished)).adjusted_rand_index == 1.0
    seen = cytopipe("decompose", "compare", finished, paths[0], "--json")
    assert json.loads(seen.stdout)["adjusted_rand_index"] == 1.0


def test_foreign_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    for name, text in (("a.uc", "S\t0\n"), ("a.spart", "begin spart;\n"), ("a.tsv", "one column\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError):
            read_assignment(tmp_path / name)
