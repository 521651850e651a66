"""Maintenance of what lies on disk: every artifact compared with its manifest, dead drafts and old versions
removed.

An asset without partitions, so that its history is the history of the archive's health.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of contexts and resources.
from dataclasses import dataclass

from dagster import (
    AssetExecutionContext,
    AssetKey,
    Failure,
    MaterializeResult,
    MetadataValue,
    asset,
)

from cytopipe.defs.resources import ProjectResource
from cytopipe.project import Project

__all__ = ["Health", "archive_health", "sweep_project", "verify_project"]

OWNERS = ["team:cytopipe"]


@dataclass(frozen=True)
class Health:
    """What a verification found: differences from the manifests, one line each."""

    artifacts: int
    bytes_read: int
    differences: tuple[str, ...]


def verify_project(project: Project) -> Health:
    """Compare every artifact under the output root with its manifest."""
    from cytopipe.storage import Store

    if not project.output.is_dir():
        return Health(0, 0, ())
    store = Store(project.output)
    differences = tuple(
        f"{project.relative(one.path)}: {one.kind}, expected {one.expected}, found {one.found}"
        for one in store.verify(None)
    )
    return Health(*_measured(project), differences)


def sweep_project(project: Project, older_than_s: float | None = None):
    """Remove drafts of dead writers and versions past the project's age; returns storage's account of it."""
    from cytopipe.storage import Store

    age = project.settings.keep_versions if older_than_s is None else older_than_s
    return Store(project.output).sweep(age)


def _measured(project: Project) -> tuple[int, int]:
    manifests = [path for path in project.output.rglob("*.manifest.json") if path.is_file()]
    size = sum(
        path.stat().st_size for path in project.output.rglob("*") if path.is_file() and not path.is_symlink()
    )
    return len(manifests), size


@asset(
    key=AssetKey(["maintenance", "archive_health"]),
    group_name="maintenance",
    owners=OWNERS,
    kinds={"python"},
    code_version="1",
    description=(
        "Every artifact under the output root compared with its manifest (names, sizes, SHA-256), then the "
        "drafts of dead writers and versions past their age removed. Fails, naming each file that differs."
    ),
)
def archive_health(context: AssetExecutionContext, project: ProjectResource) -> MaterializeResult:
    found = project.read(context.instance)
    health = verify_project(found)
    if health.differences:
        raise Failure(
            description="\n".join(health.differences),
            metadata={"differences": MetadataValue.json(list(health.differences))},
            allow_retries=False,
        )
    swept = sweep_project(found) if found.output.is_dir() else None
    return MaterializeResult(
        metadata={
            "artifacts": health.artifacts,
            "bytes_read": health.bytes_read,
            "swept": str(swept or "nothing"),
        }
    )
