"""What a user declares: ``cytopipe.yaml`` becomes typed data sets, units checked, all findings at once.

A project is a directory with a ``cytopipe.yaml``. Its entries, one group per domain, become partitions
of the asset graph. Paths in the file are relative to the file, so the directory can be moved whole.
A fault in one entry is a finding of that entry: its neighbours can still be used.
"""

from cytopipe.project.domains import DOMAINS, PARTS, domain_of, entry_model
from cytopipe.project.entry import DataSet, Entry, Problem
from cytopipe.project.reading import (
    PROJECT_FILE,
    Project,
    check_project,
    find_project,
    load_project,
    read_project,
)
from cytopipe.project.schema import project_schema, write_schema
from cytopipe.project.starter import start_project

__all__ = [
    "DOMAINS",
    "PARTS",
    "PROJECT_FILE",
    "DataSet",
    "Entry",
    "Problem",
    "Project",
    "check_project",
    "domain_of",
    "entry_model",
    "find_project",
    "load_project",
    "project_schema",
    "read_project",
    "start_project",
    "write_schema",
]
