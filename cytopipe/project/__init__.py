"""What a user declares: ``cytopipe.yaml`` becomes typed data sets, units checked, all findings at once.

A project is a directory with a ``cytopipe.yaml``. Its entries, one group per domain, become partitions
of the asset graph. Paths in the file are relative to the file, so the directory can be moved whole.
A fault in one entry is a finding of that entry: its neighbours can still be used.
"""

from __future__ import annotations

from cytopipe.on_demand import names_on_demand

# Names are resolved on first use: `cytopipe --help` lists the domains without pydantic and YAML.
_DOOR = {
    # a project file, found and read
    "PROJECT_FILE": "reading",
    "Project": "reading",
    "find_project": "reading",
    "load_project": "reading",
    "read_project": "reading",
    "check_project": "reading",
    "start_project": "starter",
    # what it declares
    "DataSet": "entry",
    "Entry": "entry",
    "Problem": "entry",
    "project_schema": "schema",
    "write_schema": "schema",
    # the domains
    "Domain": "domain",
    "DOMAINS": "domains",
    "domain_of": "domains",
    "entry_model": "domains",
}

__all__ = list(_DOOR)
__getattr__, __dir__ = names_on_demand(__name__, _DOOR)
