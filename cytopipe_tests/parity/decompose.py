"""Golden cases of `decompose`: distances, gap cores, target growth and whole runs.

``dist_MATRIX.*.npz`` hold sequences with their distances; ``core_*.json`` and ``target_mode_*.json`` hold
partitions of those matrices; ``MANIFEST.json`` lists whole runs with the digest of their input, which is
looked for among the golden files and in ``data/decompose`` beside the golden folder. Cluster names are
arbitrary: partitions are compared as sets of sets.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np

from cytopipe.decompose.alignment import oriented, score_pairs
from cytopipe.decompose.conflicts import resolve_conflicts
from cytopipe.decompose.distance import Distances
from cytopipe.decompose.gap import gap_core
from cytopipe.decompose.growth import grow_all, grow_in
from cytopipe.decompose.neighbours import open_neighbours
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.refinement import refine_close
from cytopipe.decompose.sequences import SequenceSet, normalise
from cytopipe.provenance import sha256_file
from cytopipe.storage.fasta import read_fasta
from cytopipe_tests.parity import Case, Verdict, agrees, differs, fails, unevaluated

TOLERANCE = 1e-9
#: Random orders of targets tried where ours disagrees: the reference's own depends on PYTHONHASHSEED.
ORDERS = 20


def cases(folder: Path) -> Iterator[Case]:
    """Every case of one ``decompose`` golden folder, in the order of the file names."""
    for path in sorted(folder.glob("dist_*.npz")):
        yield Case("decompose", path.name, partial(distances_agree, path))
    for path in sorted(folder.glob("core_*.json")):
        for case in json.loads(path.read_text()):
            name = f"{path.name} {case['matrix']} {case['mode']} {_numbers(case)}"
            yield Case("decompose", name, partial(core_agrees, folder, case))
    for path in sorted(folder.glob("target_mode_*.json")):
        for case in json.loads(path.read_text()):
            name = f"{path.name} {case['matrix']} {case['seed']}"
            yield Case("decompose", name, partial(growth_agrees, folder, case))
    manifest = folder / "MANIFEST.json"
    for case in json.loads(manifest.read_text()) if manifest.exists() else []:
        yield Case("decompose", case["file"], partial(run_agrees, folder, case))


def distances_agree(path: Path) -> Verdict:
    """Mismatches and scored positions equal, distances to 1e-12."""
    _, sequences, expected = _matrix(path)
    rows, columns = np.triu_indices(len(sequences), 1)
    with np.load(path, allow_pickle=False) as archive:
        counts = {name: archive[name] for name in ("mism", "scored") if name in archive}
    lengths = np.array([len(sequence) for sequence in sequences])
    first, second = oriented(rows, columns, lengths)
    scores = score_pairs(sequences, first, second)
    for name, ours in (("mism", scores.edits), ("scored", scores.scored)):
        if name in counts and (found := counts[name][rows, columns] != ours).any():
            return fails(f"{name} differs for {found.sum()} of {len(ours)} pairs")
    off = np.abs(scores.distances - expected[rows, columns]).max()
    return agrees(f"{len(first)} pairs") if off <= 1e-12 else fails(f"a distance is off by {off:.2e}")


def core_agrees(folder: Path, case: dict) -> Verdict:
    """The same partition, with the same gap to 1e-9."""
    ids, _, matrix = _matrix(_matrix_file(folder, case["matrix"]))
    method, _, alpha = case["mode"].partition("_alpha")
    result = gap_core(
        matrix,
        min_split=case["min_split"],
        max_lump=case["max_lump"],
        percentile=case["percentile"],
        method=method,
        triangle_filter=case["triangle_filter"],
        alpha=float(alpha or 0),
    )
    ours = {frozenset(ids[k] for k in cluster) for cluster in result.clusters}
    theirs = {*map(frozenset, case["clusters"]), *(frozenset([one]) for one in case["singletons"])}
    if ours != theirs:
        return fails(_difference(ours, theirs))
    if abs(result.gap - case["gap"]) > TOLERANCE:
        return fails(f"gap {result.gap:.12g}, expected {case['gap']:.12g}")
    return agrees(f"{len(ours)} clusters, gap {result.gap:.6f}")


def growth_agrees(folder: Path, case: dict) -> Verdict:
    """The same cluster around the seed, with the same gap to 1e-9."""
    ids, _, matrix = _matrix(_matrix_file(folder, case["matrix"]))
    max_lump, percentile = case.get("max_lump", 0.02), case.get("percentile", 95.0)
    seed = ids.index(case["seed"])
    others = np.delete(np.arange(len(ids)), seed)
    others = others[np.argsort(matrix[seed, others], kind="stable")]
    within = others[matrix[seed, others] <= max_lump]
    hood = np.concatenate([[seed], within, others[len(within) :][: len(within) + 1]])
    members, gap = grow_in(matrix[np.ix_(hood, hood)], max_lump, percentile)
    found = {"n_within": len(within) + 1, "n_context": len(hood) - len(within) - 1}
    if any(case.get(name, count) != count for name, count in found.items()):
        return fails(f"neighbourhood of {found}, expected {case['n_within']} and {case['n_context']}")
    ours = {ids[hood[k]] for k in members}
    if ours != set(case["cluster"]):
        return fails(_difference({frozenset(ours)}, {frozenset(case["cluster"])}))
    if abs(gap - case["gap"]) > TOLERANCE:
        return fails(f"gap {gap:.12g}, expected {case['gap']:.12g}")
    return agrees(f"{len(ours)} members, gap {gap:.6f}")


def run_agrees(folder: Path, case: dict) -> Verdict:
    """A whole run of the reference, from FASTA to partition of the records."""
    table, source = folder / case["file"], _input(folder, case["input"], case["input_sha256"])
    if sha256_file(table) != case["sha256"]:
        return fails(f"{table.name} is not the file that the manifest describes")
    if source is None:
        return unevaluated(f"no {case['input']} with digest {case['input_sha256'][:12]} is at hand")
    records = list(read_fasta(source))
    theirs: dict[str, set[str]] = {}
    with table.open(newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            for name in row["cluster_ids"].split(","):
                theirs.setdefault(name, set()).add(row["sequence_id"])
    theirs.pop("unassigned", None)
    expected = set(map(frozenset, theirs.values()))
    if "decompose_cli" not in case["command"]:
        return _one_core_agrees(records, case, expected)
    reference = _Reference(folder, records, case["command"])
    ours = reference.clusters()
    if ours == expected:
        return agrees(f"{len(ours)} clusters")
    if reference.has_grown(expected):
        return agrees(f"each of {len(expected)} clusters is what one of its members grows into")
    for seed in range(ORDERS):
        if reference.clusters(np.random.default_rng(seed)) == expected:
            return differs(f"the reference takes targets at random; in random order {seed} ours agree")
    return fails(_difference(ours, expected))


class _Reference:
    """The first reference: target growth on unique sequences, then what its command asks for."""

    def __init__(self, folder: Path, records: list, command: str) -> None:
        self._unique = SequenceSet.from_records(records)
        self._parameters = Parameters(parity=True, neighbours="exhaustive")
        self._distances = Distances(self._unique.sequences)
        self._neighbours = open_neighbours("exhaustive", self._unique.sequences, self._parameters)
        self._resolve = "--resolve-conflicts" in command
        self._thresholds = [float(one) for one in re.findall(r"--refine-close-clusters (\S+)", command)]
        self._targets = list(range(len(self._unique)))
        self._directed = re.search(r"--targets (\S+)", command)
        if self._directed:
            wanted = read_fasta(folder / self._directed[1])
            places = (self._unique.index_of[normalise(record.sequence)] for record in wanted)
            self._targets = list(dict.fromkeys(places))

    def clusters(self, random: np.random.Generator | None = None) -> set[frozenset[str]]:
        """Clusters as sets of records, with targets in their order or in a random one."""
        targets = self._targets if random is None else random.permutation(self._targets).tolist()
        grown = self._grown(targets)
        if self._resolve:
            grown = resolve_conflicts(grown, self._distances, self._parameters)
        for threshold in self._thresholds:
            grown = refine_close(grown, self._distances, self._neighbours, threshold, self._parameters)
        return {self._ids(cluster) for cluster in grown}

    def has_grown(self, expected: set[frozenset[str]]) -> bool:
        """Whether every expected cluster is what some member of it grows into, whatever the order was."""
        if self._resolve or self._thresholds or self._directed:
            return False
        index_of = {record.id: at for at, some in enumerate(self._unique.records) for record in some}
        return all(
            any(self._ids(self._grown([at])[0]) == cluster for at in {index_of[one] for one in cluster})
            for cluster in expected
        ) and set().union(*expected) == set(index_of)

    def _grown(self, targets: list[int]) -> list[tuple[int, ...]]:
        growths = grow_all(
            self._unique.sequences, self._distances, self._neighbours, self._parameters, targets=targets
        )
        return [growth.members for growth in growths]

    def _ids(self, cluster: Iterable[int]) -> frozenset[str]:
        return frozenset(record.id for record in self._unique.expand(cluster))


def _one_core_agrees(records: list, case: dict, expected: set[frozenset[str]]) -> Verdict:
    """The later reference: one gap core over all records, duplicates included."""
    ours = _one_core(records, case["command"])
    if ours == expected:
        return agrees(f"{len(ours)} clusters")
    agreement = _rand_index(ours, expected)
    if "spoa" in case.get("note", "") and agreement > 0.9:
        return differs(
            "gaphack 0.7.0 measures in one multiple alignment of all sequences (spoa), cytopipe pairwise; "
            f"adjusted Rand index {agreement:.3f}"
        )
    return fails(_difference(ours, expected))


def _one_core(records: list, command: str) -> set[frozenset[str]]:
    """Clusters of one gap core."""
    unique = SequenceSet.from_records(records)
    rows = [unique.index_of[normalise(record.sequence)] for record in records]
    matrix = Distances(unique.sequences).matrix(range(len(unique)))[np.ix_(rows, rows)]
    method = re.search(r"--gap-method (\w+)", command)
    result = gap_core(matrix, method=method[1] if method else "local")
    return {frozenset(records[k].id for k in cluster) for cluster in result.clusters}


def _rand_index(ours: set[frozenset[str]], theirs: set[frozenset[str]]) -> float:
    from sklearn.metrics import adjusted_rand_score

    labels = [
        {one: number for number, cluster in enumerate(side) for one in cluster} for side in (ours, theirs)
    ]
    return adjusted_rand_score(*([side[one] for one in sorted(labels[0])] for side in labels))


@cache
def _matrix(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return archive["ids"].tolist(), archive["seqs"].tolist(), archive["D"]


def _matrix_file(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"dist_{name}.*npz"))
    if not found:
        raise FileNotFoundError(f"no dist_{name}.*.npz beside the case")
    return found[0]


def _input(folder: Path, name: str, digest: str) -> Path | None:
    places = (folder, folder.parent.parent / "data" / "decompose", folder.parent / "data" / "decompose")
    for place in places:
        if (place / name).is_file() and sha256_file(place / name) == digest:
            return place / name
    return None


def _difference(ours: set[frozenset[str]], theirs: set[frozenset[str]]) -> str:
    sizes = [sorted(map(len, one), reverse=True)[:8] for one in (ours - theirs, theirs - ours)]
    return f"partitions differ: only ours of sizes {sizes[0]}, only the reference's {sizes[1]}"


def _numbers(case: dict) -> str:
    return f"{case['min_split']}/{case['max_lump']}/P{case['percentile']}"
