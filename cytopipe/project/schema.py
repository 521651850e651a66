"""The JSON Schema of a project file, for editors that complete and check YAML while it is written."""

from __future__ import annotations

import json
from pathlib import Path

from cytopipe.project.domains import DOMAINS, entry_model
from cytopipe.project.settings import Settings

__all__ = ["SCHEMA_FILE", "project_schema", "write_schema"]

SCHEMA_FILE = "schema.json"


def project_schema() -> dict[str, object]:
    """The schema (draft 2020-12): the settings, and one mapping of named entries per domain."""
    schema = Settings.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "cytopipe project"
    definitions = schema.setdefault("$defs", {})
    for domain in DOMAINS:
        entry = entry_model(domain).model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(entry.pop("$defs", {}))
        definitions[domain] = entry
        schema["properties"][domain] = {
            "description": f"Data sets of {domain}, by name; each name becomes a partition.",
            "anyOf": [
                {"type": "object", "additionalProperties": {"$ref": f"#/$defs/{domain}"}},
                {"type": "null"},
            ],
        }
    return schema


def write_schema(home: Path) -> Path:
    """Write the schema into a project's ``.cytopipe`` folder, only when it differs; returns its path."""
    from cytopipe.storage import Store

    path = home / SCHEMA_FILE
    text = (json.dumps(project_schema(), indent=2) + "\n").encode()
    if not path.is_file() or path.read_bytes() != text:
        Store(home).publish_bytes(path, text)
    return path
