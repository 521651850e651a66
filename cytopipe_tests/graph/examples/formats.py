"""A format for the example domains: a JSON document, written whole."""

import json
from pathlib import Path

from cytopipe.storage.formats import FileFormat


class Json(FileFormat):
    name = "example_json"
    suffix = ".json"

    def write(self, draft: Path, value: object) -> None:
        draft.write_text(json.dumps(value, sort_keys=True), encoding="utf-8")

    def read(self, path: Path) -> object:
        return json.loads(path.read_text(encoding="utf-8"))


JSON = Json()
