"""Values between assets: a shape is a shape, a hostile key stays inside, what is damaged is not loaded."""

from __future__ import annotations

import pandas
import pytest
from dagster import AssetIn, asset, materialize

from cytopipe.defs.chain_values import ArtifactIOManager, content_bytes
from cytopipe.defs.definitions import GRAPH
from cytopipe.defs.partitions import partitions_of
from cytopipe.defs.ranges import range_tags
from cytopipe.defs.resources import ProjectResource

KEYS = partitions_of("decompose")


@asset(key_prefix="decompose", partitions_def=KEYS)
def counted(context):
    """A document per partition; a mapping of them where a run has several."""
    found = {key: {"key": key, "n": len(key)} for key in context.partition_keys}
    return found if len(found) > 1 else found[context.partition_key]


@asset(key_prefix="decompose", partitions_def=KEYS, ins={"counted": AssetIn(["decompose", "counted"])})
def doubled(context, counted):
    """The same partition comes as a value; several as a mapping."""
    if len(context.partition_keys) == 1:
        return {"n": 2 * counted["n"]}
    return {key: {"n": 2 * value["n"]} for key, value in counted.items()}


@asset(key_prefix="decompose", ins={"counted": AssetIn(["decompose", "counted"])}, metadata={"format": "tsv"})
def gathered(counted):
    """All partitions come as a mapping, even where there is one."""
    assert all(value["key"] == key for key, value in counted.items())
    return pandas.DataFrame({"key": sorted(counted)})


@pytest.fixture
def run(begin):
    """Materialize the assets above over a project's partitions."""
    opened = begin("meadow")
    resources = {"io_manager": ArtifactIOManager(GRAPH, ProjectResource())}

    def go(assets, keys=None, **options):
        tags = range_tags(keys) if keys else None
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
    values = opened.project.output / "values" / "decompose"
    assert (values / "gathered.tsv").read_text() == "key\na\nb\nc\n"
    assert (values / "doubled" / "b.json").read_bytes() == content_bytes({"n": 2}, "json")


@pytest.mark.parametrize("key", ["../../escape", "x/y", "A", "con", ".hidden", "a b"])
def test_a_hostile_key_is_one_file_inside_the_output_root(run, key):
    opened, go = run
    opened.instance.add_dynamic_partitions("decompose", [key])
    assert go([counted], [key]).success
    folder = opened.project.output / "values" / "decompose" / "counted"
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
    file = opened.project.output / "values/decompose/counted/a.json"
    file.write_bytes(file.read_bytes().replace(b"1", b"7"))
    assert not go([counted, doubled], ["a"], selection=[doubled], raise_on_error=False).success


def test_a_run_of_many_partitions_must_return_exactly_their_keys(run):
    opened, go = run
    opened.instance.add_dynamic_partitions("decompose", ["a", "b"])

    @asset(key_prefix="decompose", partitions_def=KEYS, name="counted")
    def careless():
        return {"a": 1}

    assert not go([careless], ["a", "b"], raise_on_error=False).success


def test_equal_values_give_equal_bytes():
    table = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    for form in ("tsv", "parquet"):
        assert content_bytes(table, form) == content_bytes(table.copy(), form)
    assert content_bytes({"b": 1, "a": 2}, "json") == content_bytes({"b": 1, "a": 2}, "json")
