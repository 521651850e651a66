"""The page of all parameters, docs/parameters.md, from their declarations.

Write it again with ``python -m cytopipe.project.documentation > docs/parameters.md``; a test says whether it
is current.
"""

from __future__ import annotations

import sys

from cytopipe.parameters import parameter_table
from cytopipe.project.domains import DOMAINS

__all__ = ["parameters_page"]

_HEAD = """\
# Parameters

Every parameter of every domain, with the name it has in `cytopipe.yaml`, in Python and, with `-` for `_`, on
the command line. This page is made from the declarations: `python -m cytopipe.project.documentation`.

Numbers may carry a unit, in the project file and on the command line alike: `0.02` and `2 %` are the same
fraction, `300` and `5 min` the same time.
"""


def parameters_page() -> str:
    """The page as Markdown: a table per set of parameters, and one per entry for what it has beyond them."""
    parts = [_HEAD]
    for domain in DOMAINS.values():
        sets = domain.parameter_sets()
        for model in sets:
            parts.append(
                f"## `{domain.name}`: {model.__name__}\n\n{model.__doc__}\n\n{parameter_table(model)}"
            )
        declared = {name for model in sets for name in model.model_fields}
        entry = domain.entry_model()
        own = [name for name in entry.model_fields if name not in declared]
        title = f"## `{domain.name}`: what else an entry of the project file has"
        parts.append(f"{title}\n\n{parameter_table(entry, own)}")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(parameters_page())
