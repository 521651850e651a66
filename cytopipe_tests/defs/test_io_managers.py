"""Values between assets: a shape is a shape, a hostile key stays inside, what is damaged is not loaded."""

from __future__ import annotations

from collections.abc import Mapping

import pandas
import pytest
from dagster import (
    AssetIn,
    Definitions,
    DynamicPartitionsDefinition,
    StaticPartitionsDefinition,
    asset,
    materialize,
)

from cytopipe.defs.everything import GRAPH
from cytopipe.defs.io_managers import io_managers
from cytopipe.defs.resources import ProjectResource
from cytopipe.defs.running import range_tags
from cytopipe.provenance import sha256_file
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats import FORMATS

KEYS = DynamicPartitionsDefinition(name="decompose")


@asset(key_prefix="mine", partitions_def=KEYS, io_manager_key="json")
def counted(context):
    """A document per partition; a mapping of them where a run has several."""
    found = {key: {"key": key, "n": len(key)} for key in context.partition_keys}
    return found if len(found) > 1 else found[context.partition_key]


@asset(
    key_prefix="mine",
    partitions_def=KEYS,
    ins={"counted": AssetIn(["mine", "counted"])},
    io_manager_key="json",
)
def doubled(context, counted):
    """The same partition comes as a value; several as a mapping by key."""
    if len(context.partition_keys) == 1:
        return {"n": 2 * counted["n"]}
    return {key: {"n": 2 * one.load()["n"]} for key, one in counted.items()}


@asset(key_prefix="mine", ins={"counted": AssetIn(["mine", "counted"])}, io_manager_key="tsv")
def gathered(counted: Mapping):
    """All partitions come as a mapping, even where there is one."""
    assert all(one.load()["key"] == key for key, one in counted.items())
    return pandas.DataFrame({"key": sorted(counted)})


@pytest.fixture
def run(begin):
    """Materialize the assets above over a project's partitions."""
    opened = begin("meadow")
    resources = io_managers(GRAPH, ProjectResource())

    def go(assets, keys=None, **options):
        tags = range_tags(tuple(keys)) if keys else None
        return materialize(assets, instance=opened.instance, resources=resources, tags=tags, **options)

    return opened, go


def test_a_partition_comes_as_a_value_and_many_as_a_mapping_however_many(run):
    opened, go = run
    opened.instance.add_dynamic_partitions("decompose", ["a"])
    assert go([counted, doubled], ["a"]).success
    assert go([counted, gathered], selection=[gathered]).success  # one partition: still a mapping
    opened.instance.add_dynamic_partitions("decompose", ["b", "c"])
    assert go([counted, doubled], ["a", "c"]).success
    assert go([counted, gathered], selection=[gathered]).success
    values = opened.project.output / "values" / "mine"
    assert (values / "gathered.tsv").read_text() == "key\na\nb\nc\n"
    assert FORMATS["json"].read(values / "doubled" / "b.json") == {"n": 2}


@pytest.mark.parametrize("key", ["../../escape", "x/y", "A", "con", ".hidden", "a b"])
def test_a_hostile_key_is_one_file_inside_the_output_root(run, key):
    opened, go = run
    opened.instance.add_dynamic_partitions("decompose", [key])
    assert go([counted], [key]).success
    folder = opened.project.output / "values" / "mine" / "counted"
    written = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert [path.parent for path in written] == [folder]
    assert not (opened.project.directory.parent / "escape").exists()


def test_keys_that_differ_in_case_or_separator_do_not_overwrite_each_other(run):
    opened, go = run
    keys = ["x/y", "x_y", "X_y"]
    opened.instance.add_dynamic_partitions("decompose", keys)
    assert go([counted], [keys[0], keys[-1]]).success
    assert go([counted, gathered], selection=[gathered]).success  # each still holds its own key


def test_a_damaged_value_is_not_loaded(run):
    opened, go = run
    opened.instance.add_dynamic_partitions("decompose", ["a"])
    go([counted], ["a"])
    file = opened.project.output / "values/mine/counted/a.json"
    file.write_bytes(file.read_bytes().replace(b"1", b"7"))
    assert not go([counted, doubled], ["a"], selection=[doubled], raise_on_error=False).success


def test_a_run_of_many_partitions_must_return_exactly_their_keys(run):
    opened, go = run
    opened.instance.add_dynamic_partitions("decompose", ["a", "b"])

    @asset(key_prefix="mine", partitions_def=KEYS, name="counted", io_manager_key="json")
    def careless():
        return {"a": 1}

    assert not go([careless], ["a", "b"], raise_on_error=False).success


def test_the_data_version_is_the_digest_of_what_was_published(run):
    opened, go = run
    opened.instance.add_dynamic_partitions("decompose", ["a"])
    (one,) = go([counted], ["a"]).asset_materializations_for_node("mine__counted")
    file = opened.project.output / "values/mine/counted/a.json"
    assert one.tags["dagster/data_version"] == sha256_file(file)
    assert one.metadata["path"].value == opened.project.relative(file)


def test_an_asset_of_a_users_own_loads_ours_as_a_value_or_as_a_handle(begin):
    """Plain assets stand beside ours, and name them as any other."""
    opened = begin("meadow")
    assert opened.run("decompose/initial", keys=("meadow",)).outcome == "success"
    keys, ins = StaticPartitionsDefinition(["meadow"]), {"initial": AssetIn(["decompose", "initial"])}

    @asset(partitions_def=keys, ins=ins, io_manager_key="json")
    def sizes(initial):
        return {"n_clusters": initial.partition.n_clusters}

    @asset(partitions_def=keys, ins=ins, io_manager_key="json")
    def same(initial: Handle):
        return {"n_clusters": initial.load().partition.n_clusters}

    both = Definitions.merge(opened.definitions, Definitions([sizes, same]))
    job = both.resolve_implicit_global_asset_job_def().get_subset(asset_selection={sizes.key, same.key})
    result = job.execute_in_process(instance=opened.instance, partition_key="meadow")
    assert result.success
    expected = opened.latest("decompose/initial", "meadow").metadata["n_clusters"]
    for name in ("sizes", "same"):
        assert FORMATS["json"].read(opened.project.output / f"values/{name}/meadow.json") == {
            "n_clusters": expected
        }
