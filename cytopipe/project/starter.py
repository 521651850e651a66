"""The first project file: commented, valid as it stands, naming the sequences that already lie there."""

from __future__ import annotations

from pathlib import Path

from cytopipe.errors import ProjectError
from cytopipe.project.reading import PROJECT_FILE, read_project
from cytopipe.project.schema import SCHEMA_FILE, write_schema

__all__ = ["start_project"]

_FASTA_ENDINGS = (".fasta", ".fa", ".fna", ".fas")

_HEAD = f"""\
# yaml-language-server: $schema=.cytopipe/{SCHEMA_FILE}
#
# A cytopipe project. Every entry below becomes a partition of the asset graph.
# Paths are relative to this file; the whole directory can be moved. Numbers may carry a unit ('2 %').
#
#   cytopipe check            every problem in this file, with its line
#   cytopipe materialize      make what is missing or stale
#   cytopipe status           what is done, stale, missing or failed, and why
#   cytopipe ui               the same in a browser

cytopipe: 1          # version of this file's layout
output: outputs      # directory for everything that is made
engine: local        # serial | local | local:N | dask | dask:N | dask:tcp://HOST:PORT
keep_versions: 7 days  # superseded versions of artifacts stay this long

# Sequences to split into species-like clusters by their barcode gap.
decompose:
"""

_EXAMPLE = """\
#  russula:                         # name of the data set
#    input: data/russula.fasta      # or a pattern, one data set per file: incoming/*.fasta
#    truth: data/russula.tsv        # known species (columns record, cluster), if there are any
#    min_split: 0.5 %               # never separate below this distance
#    max_lump: 2 %                  # never join beyond it
#    target_percentile: 95
#    neighbours: auto               # auto (k-mers) | blast | kmer | exhaustive
#    refine: [0.01]                 # thresholds of the close-cluster refinement, in order
#    max_clusters: 100              # stop when so many exist

# Single-cell atlases: profiles per annotation level, cytokine activity, comparison of atlases.
#atlas:
#  cima:                            # an atlas of the packaged registry needs only its file
#    path: data/CIMA.h5ad           # h5ad or zarr, with raw counts
#    signatures: [cytosig]          # whose activity is inferred: cytosig, secact, ...
#  mine:
#    path: data/mine.h5ad
#    levels: {type: cell_type, organ_type: tissue+cell_type}   # level: obs column, or several joined
#    sample: donor                  # obs column of the samples: what the bootstrap draws again
#    counts: layers/counts          # X | raw/X | layers/NAME | auto
#    n_bootstrap: 100
#    signatures: {cytosig: null, ours: tables/ours.tsv}        # by name, or a table of genes x targets
#    cell_types: tables/types.tsv   # brings labels to one vocabulary: cytopipe atlas signatures --table FILE
#    compare_at: type               # the level that stands for this atlas among others
"""


def start_project(directory: Path) -> Path:
    """Write ``cytopipe.yaml`` and its schema into `directory`, made if it is absent; returns the file.

    FASTA files in `directory` and in its ``data`` folder become entries.

    Raises
    ------
    ProjectError
        If the directory has a project file already: it is never overwritten.
    """
    from cytopipe.storage import Store

    directory = directory.absolute()
    file = directory / PROJECT_FILE
    if file.exists() or file.is_symlink():
        raise ProjectError(
            "is there already and stays as it is", where=str(file), next="Check it with: cytopipe check"
        )
    directory.mkdir(parents=True, exist_ok=True)
    home = directory / ".cytopipe"
    home.mkdir(exist_ok=True)
    Store(home).publish_bytes(home / ".gitignore", b"*\n")
    write_schema(home)
    file.write_text(_HEAD + _entries(directory) + _EXAMPLE, encoding="utf-8")
    read_project(file)
    return file


def _entries(directory: Path) -> str:
    """YAML lines for the FASTA files that lie in the directory already."""
    import json

    from cytopipe.storage import slug

    lines = ""
    names: set[str] = set()
    for folder in (directory, directory / "data"):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.suffix.lower() not in _FASTA_ENDINGS or path.name.startswith(".") or not path.is_file():
                continue
            name = path.stem if path.stem.replace("_", "").replace("-", "").isalnum() else slug(path.stem)
            if name in names:
                continue
            names.add(name)
            # JSON's quoting is YAML's double quoting, so any file name is safe in it.
            lines += (
                f"  {json.dumps(name)}:\n    input: {json.dumps(path.relative_to(directory).as_posix())}\n"
            )
    return lines
