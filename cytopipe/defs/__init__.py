"""The one room that speaks Dagster: it fetches, calls a domain, and describes what came out.

`definitions` is what Dagster loads. Domains hand over plain functions; `decompose` (and its siblings,
one file per domain) say in which order they run, `stage` turns them into assets, `books` reads and writes
history, `plan` says what is to be done and why.
"""

import warnings

# Partitioned checks, backfill policies and data versions of outputs are called beta or preview. The family is
# pinned and what we use of it is tested, so a line per use on every start helps nobody.
warnings.filterwarnings("ignore", message=r".*is currently in (beta|preview)\b.*")
