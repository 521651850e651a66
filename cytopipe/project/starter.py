"""The first project file: commented, valid as it stands, naming the sequences that already lie there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from cytopipe.errors import ProjectError
from cytopipe.project.domain import Domain
from cytopipe.project.domains import DOMAINS
from cytopipe.project.reading import PROJECT_FILE, read_project
from cytopipe.project.schema import SCHEMA_FILE, write_schema

__all__ = ["start_project"]

_HEAD = f"""\
# yaml-language-server: $schema=.cytopipe/{SCHEMA_FILE}
#
# A cytopipe project. Every entry below becomes a partition of the asset graph.
# Paths are relative to this file; the whole directory can be moved. Numbers may carry a unit ('2 %').
#
#   cytopipe check               every problem in this file, with its line
#   cytopipe materialize --all   make what is missing or stale
#   cytopipe status              what is done, stale, missing or failed, and why
#   cytopipe ui                  the same in a browser

cytopipe: 1          # version of this file's layout
output: outputs      # directory for everything that is made
engine: local        # serial | local | local:N | dask | dask:N | dask:tcp://HOST:PORT
keep_versions: 7 days  # superseded versions of artifacts stay this long
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
    parts = [_starter(domain, directory) for domain in DOMAINS.values()]
    file.write_text("\n".join((_HEAD, *parts)), encoding="utf-8")
    read_project(file)
    return file


def _starter(domain: Domain, directory: Path) -> str:
    """The domain's part of the file; what lies in the directory already stands above its examples."""
    head, key, examples = domain.starter().partition(f"\n{domain.name}:\n")
    return head + key + "".join(_entry(*found) for found in domain.entry_model().found(directory)) + examples


def _entry(name: str, fields: Mapping[str, object]) -> str:
    """An entry as lines of YAML."""
    # JSON's quoting is YAML's double quoting, so any file name is safe in it.
    lines = [f"  {json.dumps(name)}:", *(f"    {key}: {json.dumps(value)}" for key, value in fields.items())]
    return "".join(f"{line}\n" for line in lines)
