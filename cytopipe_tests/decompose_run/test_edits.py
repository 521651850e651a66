"""Hand edits: each kind is seen, told apart from damage, and respected by the next stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytopipe.decompose import Decomposition, Parameters
from cytopipe.errors import DamagedError, ResumeError
from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta
from cytopipe_tests.decompose_run.directory import clusters_in, move_record

KMER = Parameters(neighbours="kmer")


@pytest.fixture
def run(fasta: Path, tmp_path: Path) -> Path:
    """A directory whose newest stage is `deconflicted`: six clusters of five."""
    Decomposition.create(tmp_path / "run", fasta, KMER).advance("deconflicted", report=False)
    return tmp_path / "run"


def cluster(run: Path, number: int) -> Path:
    return run / f"deconflicted.cluster_{number:04d}.fasta"


def home_of(run: Path, stage: str, record: str) -> str:
    return next(file for file, ids in clusters_in(run, stage).items() if record in ids)


def test_two_merged_files_stay_one_cluster(run: Path) -> None:
    merged = clusters_in(run, "deconflicted")
    one, two = cluster(run, 1), cluster(run, 2)
    one.write_text(one.read_text() + two.read_text())
    two.unlink()
    found = Decomposition.open(run)
    assert found.edits.verdict == "edited"
    assert "deconflicted.cluster_0002.fasta (gone)" in "\n".join(found.edits.lines())
    result = found.advance("final", report=False)
    assert result.n_clusters == 5
    expected = {*merged[one.name], *merged[two.name]}
    assert any(set(ids) == expected for ids in clusters_in(run, "final").values())


def test_a_deleted_record_is_known_as_deleted_and_not_lost(run: Path) -> None:
    record = clusters_in(run, "deconflicted")[cluster(run, 3).name][1]
    move_record(record, cluster(run, 3), run / "elsewhere.txt")
    found = Decomposition.open(run)
    assert found.edits.deleted == (record,)
    assert f"- {record}  (deleted)" in "\n".join(found.edits.lines())
    result = found.advance("final", report=True)
    assert result.n_records == 29
    assert record in (run / "deleted.fasta").read_text()
    assert record not in "".join(path.read_text() for path in run.glob("cluster_*.fasta"))
    row = next(
        line for line in result.tables["records"].read_text().splitlines() if line.startswith(f"{record}\t")
    )
    assert "\tdeleted\t" in row


def test_a_deleted_record_can_be_put_back(run: Path) -> None:
    record = clusters_in(run, "deconflicted")[cluster(run, 3).name][1]
    move_record(record, cluster(run, 3), run / "elsewhere.txt")
    Decomposition.open(run).advance("deconflicted", report=False)
    assert record in (run / "deconflicted.deleted.fasta").read_text()
    move_record(record, run / "deconflicted.deleted.fasta", cluster(run, 4))
    result = Decomposition.open(run).advance("final", report=False)
    assert result.n_records == 30
    assert not (run / "deleted.fasta").exists()


def test_a_moved_record_stays_where_it_was_put(run: Path) -> None:
    record = clusters_in(run, "deconflicted")[cluster(run, 1).name][0]
    companion = clusters_in(run, "deconflicted")[cluster(run, 2).name][0]
    move_record(record, cluster(run, 1), cluster(run, 2))
    found = Decomposition.open(run)
    assert f"+ {record}  (from {cluster(run, 1).name})" in "\n".join(found.edits.lines())
    found.advance("final", report=False)
    assert home_of(run, "final", record) == home_of(run, "final", companion)


def test_a_record_moved_away_from_its_exact_copies_stays_where_it_was_put(run: Path, fasta: Path) -> None:
    """Identical sequences are one sequence to the algorithm, but two records to the person who moved one."""
    sequences = {header.split()[0]: sequence for header, sequence in make_barcodes()}
    file, ids = next(iter(clusters_in(run, "deconflicted").items()))
    twins = [one for one in ids if sum(sequences[one] == sequences[other] for other in ids) > 1]
    other = next(path for path in sorted(run.glob("deconflicted.cluster_*.fasta")) if path.name != file)
    companion = clusters_in(run, "deconflicted")[other.name][0]
    move_record(twins[-1], run / file, other)
    Decomposition.open(run).advance("final", report=True)
    assert home_of(run, "final", twins[-1]) == home_of(run, "final", companion)
    assert home_of(run, "final", twins[0]) != home_of(run, "final", twins[-1])


def test_a_split_file_is_two_clusters(run: Path) -> None:
    records = clusters_in(run, "deconflicted")[cluster(run, 5).name]
    for record in records[3:]:
        move_record(record, cluster(run, 5), run / "deconflicted.cluster_0005b.fasta")
    found = Decomposition.open(run)
    assert found.edits.verdict == "edited"
    assert found.partition.n_clusters == 7


def test_a_renamed_file_keeps_its_name_in_the_next_stage(run: Path) -> None:
    records = clusters_in(run, "deconflicted")[cluster(run, 5).name]
    cluster(run, 5).rename(run / "deconflicted.cluster_amanita.fasta")
    Decomposition.open(run).advance("refined", report=False)
    assert set(clusters_in(run, "refined")["refined.cluster_amanita.fasta"]) == set(records)


def test_a_record_moved_to_unassigned_stays_unassigned(run: Path) -> None:
    record = clusters_in(run, "deconflicted")[cluster(run, 1).name][0]
    move_record(record, cluster(run, 1), run / "deconflicted.unassigned.fasta")
    result = Decomposition.open(run).advance("final", report=False)
    assert result.n_unassigned == 1
    assert record in (run / "unassigned.fasta").read_text()


def test_notes_in_headers_and_wrapped_lines_are_kept(run: Path) -> None:
    """An edit that moves no record is the person's own: the file is not written over."""
    text = cluster(run, 1).read_text()
    header, sequence, rest = text.split("\n", 2)
    noted = f"{header} checked=yes\n{sequence[:100]}\n{sequence[100:]}\n{rest}"
    cluster(run, 1).write_text(noted)
    found = Decomposition.open(run)
    assert found.edits.verdict == "edited"
    found.advance("final", report=False)
    assert cluster(run, 1).read_text() == noted
    assert found.verify() == []


def test_edits_of_the_initial_clusters_are_respected_while_they_still_grow(
    fasta: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    Decomposition.create(run, fasta, KMER, max_clusters=3).advance("initial", report=False)
    one, two = run / "initial.cluster_0001.fasta", run / "initial.cluster_0002.fasta"
    one.write_text(one.read_text() + two.read_text())
    two.unlink()
    merged = clusters_in(run, "initial")[one.name]
    result = Decomposition.open(run).advance("initial", max_clusters=0, report=False)
    assert result.n_clusters == 5
    assert clusters_in(run, "initial")[one.name] == merged
    assert (run / "initial.cluster_0004.fasta").exists(), "numbers go on after the largest in use"


def test_a_cut_sequence_is_damage_and_named_with_its_line(run: Path) -> None:
    lines = cluster(run, 1).read_text().splitlines()
    lines[3] = lines[3][:50]
    cluster(run, 1).write_text("\n".join(lines) + "\n")
    with pytest.raises(
        DamagedError, match=r"deconflicted\.cluster_0001\.fasta:3.*is not the one in the input"
    ):
        Decomposition.open(run)
    assert Decomposition.inspect(run).edits.verdict == "damaged"


def test_a_file_that_is_no_fasta_any_more_is_damage(run: Path) -> None:
    cluster(run, 1).write_bytes(cluster(run, 1).read_bytes() + b"\x00\x01")
    cluster(run, 2).write_text("not fasta\n")
    with pytest.raises(DamagedError) as caught:
        Decomposition.open(run)
    text = str(caught.value)
    assert "cluster_0001.fasta" in text and "cluster_0002.fasta" in text, "all faults at once"


def test_missing_files_are_all_listed(run: Path) -> None:
    cluster(run, 2).unlink()
    cluster(run, 4).unlink()
    (run / "deconflicted.unassigned.fasta").unlink()
    with pytest.raises(ResumeError) as caught:
        Decomposition.open(run)
    text = str(caught.value)
    for file in ("cluster_0002.fasta", "cluster_0004.fasta", "unassigned.fasta"):
        assert f"deconflicted.{file}: stage file is missing" in text
    assert "restore" in text and "--accept-missing" in text


def test_missing_files_can_be_accepted_as_deleted(run: Path) -> None:
    gone = set(clusters_in(run, "deconflicted")[cluster(run, 2).name])
    cluster(run, 2).unlink()
    result = Decomposition.open(run, accept_missing=True).advance("final", report=False)
    assert result.n_records == 25
    assert all(record in (run / "deleted.fasta").read_text() for record in gone)


def test_a_record_in_two_files_is_refused(run: Path) -> None:
    record = clusters_in(run, "deconflicted")[cluster(run, 1).name][0]
    before = cluster(run, 1).read_text()
    move_record(record, cluster(run, 1), cluster(run, 2))
    cluster(run, 1).write_text(before)
    with pytest.raises(
        ResumeError, match=f"record '{record}' is in several files.*Delete it from all but one"
    ):
        Decomposition.open(run)


def test_an_unknown_record_is_refused(run: Path) -> None:
    with cluster(run, 1).open("a") as stream:
        stream.write(">stranger\nACGTACGT\n")
    with pytest.raises(ResumeError, match="record 'stranger' is not in the input"):
        Decomposition.open(run)


def test_a_symbolic_link_for_a_stage_file_is_refused(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.fasta"
    cluster(run, 1).rename(outside)
    cluster(run, 1).symlink_to(outside)
    before = outside.read_bytes()
    with pytest.raises(DamagedError, match="symbolic link"):
        Decomposition.open(run).advance("final")
    assert outside.read_bytes() == before


def test_an_edited_stage_is_not_made_again_over_the_edit(run: Path, fasta: Path) -> None:
    """The initial clusters changed, so conflicts would be resolved anew: but a person edited that result."""
    move_record(clusters_in(run, "deconflicted")[cluster(run, 1).name][0], cluster(run, 1), cluster(run, 2))
    Decomposition.open(run).advance("refined", report=False)
    move_record(
        clusters_in(run, "initial")["initial.cluster_0001.fasta"][0],
        run / "initial.cluster_0001.fasta",
        run / "initial.cluster_0002.fasta",
    )
    move_record(
        clusters_in(run, "refined")["refined.cluster_0001.fasta"][0],
        run / "refined.cluster_0001.fasta",
        run / "refined.cluster_0002.fasta",
    )
    with pytest.raises(ResumeError, match="stage refined would be made again, but was edited by hand"):
        Decomposition.open(run).advance("deconflicted", report=False)


def test_a_stage_whose_source_was_edited_is_made_again(run: Path) -> None:
    one, two = run / "initial.cluster_0001.fasta", run / "initial.cluster_0002.fasta"
    one.write_text(one.read_text() + two.read_text())
    two.unlink()
    result = Decomposition.open(run).advance("deconflicted", report=False)
    assert not result.resumed
    assert result.n_clusters == 5


def test_ids_that_look_like_paths_are_only_ever_content(tmp_path: Path) -> None:
    records = [(header.replace("sp00_", "../../etc/"), sequence) for header, sequence in make_barcodes()]
    fasta = write_fasta(tmp_path / "in.fasta", records)
    Decomposition.create(tmp_path / "deep" / "run", fasta, KMER).advance("final")
    held = {path.name for path in tmp_path.iterdir()}
    assert held == {"in.fasta", "deep"}
