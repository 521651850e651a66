"""Going back, adding sequences, distances from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cytopipe.decompose import Decomposition, Distances, SequenceSet, add_sequences, rollback
from cytopipe.errors import InputError, ParameterError
from cytopipe.storage.fasta import read_fasta
from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta
from cytopipe_tests.decompose_run.directory import clusters_in, contents, move_record
from cytopipe_tests.decompose_run.killing import KMER


@pytest.fixture
def run(fasta: Path, tmp_path: Path) -> Path:
    found = Decomposition.create(tmp_path / "run", fasta, KMER)
    found.advance("refined", report=False)
    found.advance("final", report=False)
    return tmp_path / "run"


def fasta_files(run: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(run).items() if "/" not in name}


def test_rolled_back_and_gone_on_again_the_result_is_the_same(run: Path) -> None:
    before = fasta_files(run)
    for stage in ("refined", "deconflicted", "initial"):
        found = rollback(run, stage)
        assert found.partition.stage.asset == stage
        assert clusters_in(run, "final") == {}
        found.advance("refined", report=False)
        found.advance("final", report=False)
        assert fasta_files(run) == before
    assert Decomposition.open(run).verify() == []


def test_a_point_is_exactly_what_was_there_and_an_edit_left_behind_is_kept(run: Path) -> None:
    record = clusters_in(run, "final")["cluster_001.fasta"][0]
    move_record(record, run / "cluster_001.fasta", run / "cluster_002.fasta")
    edited = clusters_in(run, "final")
    rollback(run, "initial")
    names = [name for name, _ in Decomposition.open(run).folder.checkpoints.points()]
    kept = next(name for name in names if name.endswith("-final") and name != "0004-final")
    rollback(run, kept)
    assert clusters_in(run, "final") == edited
    rollback(run, "0004-final")
    assert record in clusters_in(run, "final")["cluster_001.fasta"]


def test_rolling_back_to_an_edited_stage_goes_on_from_the_edit(run: Path) -> None:
    one, two = run / "initial.cluster_0001.fasta", run / "initial.cluster_0002.fasta"
    one.write_text(one.read_text() + two.read_text())
    two.unlink()
    found = rollback(run, "initial")
    assert found.advance("deconflicted", report=False).n_clusters == 5


def test_going_back_to_nothing_lists_what_there_is(run: Path) -> None:
    with pytest.raises(ParameterError, match="0001-initial, 0002-deconflicted"):
        rollback(run, "yesterday")


def test_sequences_that_are_added_join_or_found_clusters_and_no_id_changes(run: Path, tmp_path: Path) -> None:
    before = clusters_in(run, "final")
    records = make_barcodes()
    species = {header[:4]: sequence for header, sequence in records}
    near = species["sp03"][2:]
    foreign = make_barcodes(2, 2, seed=99, divergence=0.3)
    new = write_fasta(
        tmp_path / "new.fasta",
        [
            ("twin", species["sp01"]),
            ("near", near),
            *((header.replace("sp", "new"), sequence) for header, sequence in foreign),
            records[0],
        ],
    )
    added = add_sequences(run, new)
    home = {record: file for file, ids in before.items() for record in ids}
    assert added.joined == {
        "twin": home[next(record for record in home if record.startswith("sp01"))],
        "near": home[next(record for record in home if record.startswith("sp03"))],
    }
    assert set(added.founded.values()) == {"cluster_007.fasta", "cluster_008.fasta"}
    assert added.known == (records[0][0].split()[0],)
    after = clusters_in(run, "final")
    for file, ids in before.items():
        assert set(after[file]) >= set(ids), "nothing that was there moved"
    found = Decomposition.open(run)
    assert found.state.input.fasta_path == "input.fasta"
    assert len(found.records) == 36
    assert found.verify() == []
    assert found.advance("final", report=True).n_records == 36


def test_the_order_of_added_sequences_does_not_matter(fasta: Path, tmp_path: Path) -> None:
    records = make_barcodes(8, 5)
    old, new = records[:25], records[25:]
    homes = []
    for name, extra in (("one", new), ("other", new[::-1])):
        source = write_fasta(tmp_path / f"{name}.fasta", old)
        Decomposition.create(tmp_path / name, source, KMER).advance("final", report=False)
        added = add_sequences(tmp_path / name, write_fasta(tmp_path / f"{name}_new.fasta", extra))
        homes.append(added.joined | added.founded)
    assert homes[0] == homes[1]


def test_adding_to_an_unfinished_clustering_leaves_the_new_ones_to_it(fasta: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    Decomposition.create(run, fasta, KMER, max_clusters=2).advance("initial", report=False)
    new = write_fasta(tmp_path / "new.fasta", [("late", make_barcodes()[0][1]), ("alone", "ACGTTGCA" * 30)])
    added = add_sequences(run, new)
    assert set(added.waiting) == {"late", "alone"} - set(added.joined)
    assert Decomposition.open(run).advance("final", max_clusters=0, report=False).n_records == 32


def test_going_back_behind_an_addition_clusters_the_new_sequences_anew(run: Path, tmp_path: Path) -> None:
    new = write_fasta(tmp_path / "new.fasta", [("late", make_barcodes()[0][1]), ("alone", "ACGTTGCA" * 30)])
    add_sequences(run, new)
    found = rollback(run, "initial")
    result = found.advance("final", report=False)
    assert result.n_records == 32
    assert result.n_unassigned == 0


def test_an_id_with_another_sequence_cannot_be_added(run: Path, tmp_path: Path) -> None:
    taken = make_barcodes()[0][0].split()[0]
    new = write_fasta(tmp_path / "new.fasta", [(taken, "ACGT" * 50)])
    before = fasta_files(run)
    with pytest.raises(InputError, match=f"id '{taken}' is in the input with another sequence"):
        add_sequences(run, new)
    assert fasta_files(run) == before


def test_distances_from_a_file_give_the_clusters_of_the_same_distances(
    run: Path, fasta: Path, tmp_path: Path
) -> None:
    records = list(read_fasta(fasta))
    sequences = SequenceSet.from_records(records)
    place = {one.id: at for at, found in enumerate(sequences.records) for one in found}
    unique = Distances(sequences.sequences).matrix(range(len(sequences)))
    ids = [one.id for one in records]
    matrix = unique[np.ix_([place[one] for one in ids], [place[one] for one in ids])]
    lines = ["\t".join(["", *ids])]
    lines += ["\t".join([one, *map(repr, map(float, row))]) for one, row in zip(ids, matrix, strict=True)]
    (tmp_path / "d.tsv").write_text("\n".join(lines) + "\n")
    np.savez(tmp_path / "d.npz", D=matrix, ids=np.array(ids))
    for name in ("d.tsv", "d.npz"):
        found = Decomposition.create(tmp_path / f"from_{name}", fasta, KMER, distances=tmp_path / name)
        found.advance("final")
        assert clusters_in(tmp_path / f"from_{name}", "final") == clusters_in(run, "final")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda matrix, ids: (matrix[:-1, :-1], ids[:-1]), "1 records of the input have no row"),
        (lambda matrix, ids: (matrix + np.eye(len(ids)), ids), "at a distance from itself"),
        (lambda matrix, ids: (matrix * 9, ids), "a distance is out of range"),
        (lambda matrix, ids: (np.triu(matrix), ids), "not symmetric"),
        (lambda matrix, ids: (matrix, [*ids[:-1], ids[0]]), "records are named twice"),
        (lambda matrix, ids: (matrix[:-1], ids), "D is not square"),
    ],
)
def test_a_table_of_distances_is_checked(fasta: Path, tmp_path: Path, change, said: str) -> None:
    ids = [one.id for one in read_fasta(fasta)]
    matrix = np.full((len(ids), len(ids)), 0.5) - 0.5 * np.eye(len(ids))
    changed, labels = change(matrix, ids)
    np.savez(tmp_path / "d.npz", D=changed, ids=np.array(labels))
    with pytest.raises(InputError, match=said):
        Decomposition.create(tmp_path / "run", fasta, KMER, distances=tmp_path / "d.npz")
    assert not (tmp_path / "run").exists()
