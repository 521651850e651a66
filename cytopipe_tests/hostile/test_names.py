"""Names made to escape, collide or confuse: refused at the door, or given a slug that is safe and theirs
alone.
"""

from __future__ import annotations

import string
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cytopipe.errors import UnsafeNameError
from cytopipe.storage import Store, Sync, case_collisions, check_file_name, check_key, key_of, slug
from cytopipe.storage.names import former_slug

REFUSED = [
    "",
    " ",
    "\t",
    "a\0b",
    "a\nb",
    "a\r",
    "a\x1b[31m",
    "\u202egnp.exe",
    "zero\u200bwidth",
    "line\u2028break",
    "\ud800",
    "a...b",
    "x" * 1001,
]
STRANGE = [
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "con",
    "CON",
    "Aux.h5ad",
    "nul.txt",
    ".hidden",
    "-rf",
    "x.",
    "é",
    "e\u0301",
    "\ufb01",
    "点",
    "x" * 1000,
    "a|b",
    "a,b",
    "~",
    "$HOME",
    "%2e%2e",
    "c:evil",
]


@pytest.mark.parametrize("key", REFUSED, ids=ascii)
def test_a_name_nobody_can_read_is_refused_in_one_line(key):
    with pytest.raises(UnsafeNameError) as caught:
        slug(key)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("key", [None, 7, b"bytes"])
def test_a_name_that_is_no_text_is_refused(key):
    with pytest.raises(UnsafeNameError):
        check_key(key)


@pytest.mark.parametrize("key", STRANGE, ids=ascii)
def test_a_strange_name_gets_a_plain_slug(key):
    made = slug(key)
    assert set(made) <= set(string.ascii_letters + string.digits + "._-")
    assert 0 < len(made) <= 120
    assert not made.startswith((".", "-")) and made not in (".", "..")


def test_strange_names_do_not_share_a_slug():
    keys = [*STRANGE, *(slug(key) for key in STRANGE), "a-b", "passwd", "etc-passwd"]
    assert len({slug(key) for key in set(keys)}) == len(set(keys))


@pytest.mark.parametrize("key", ["Russula_INxx", "cima.L1", "IN123", "a-b_C.d", "_x", "7", "x" * 120])
def test_a_name_that_is_safe_as_it_is_stays_as_it_is(key):
    assert slug(key) == key == key_of(key)


KEYS = st.text(min_size=1, max_size=40) | st.text(string.ascii_letters + "._-2", min_size=1, max_size=60)


@given(KEYS, KEYS)
@example("a/b", "a-b")
@example("é", "e\u0301")
@example("x--" + "a" * 20, "X--" + "A" * 20)
def test_two_keys_never_share_a_slug(one, other):
    try:
        slugs = slug(one), slug(other)
    except UnsafeNameError:
        return
    assert (slugs[0] == slugs[1]) == (one == other)
    if one != other and slugs[0].lower() == slugs[1].lower():  # only names that are safe as they are
        assert slugs == (one, other) and one.lower() == other.lower()


@given(st.lists(KEYS, max_size=6, unique=True))
@example(["Amanita", "amanita", "a/b", "A/b"])
def test_a_slug_is_read_back_to_its_key(keys):
    usable = []
    for key in keys:
        with suppress(UnsafeNameError):
            slug(key)
            usable.append(key)
    assert [key_of(slug(key), usable) for key in usable] == usable
    for key in usable:
        if slug(key) != key:
            assert key_of(slug(key)) is None, "a tagged name is never taken for a key"


@given(st.text(max_size=60) | st.text(string.ascii_letters + "._-", max_size=160))
@example("x...y")
@example("x" * 121)
def test_what_is_read_as_a_key_has_that_slug(component):
    key = key_of(component)
    assert key is None or slug(key) == component


def test_keys_that_meet_where_case_is_folded_are_named():
    keys = ["Amanita", "amanita", "Russula", "x/y", "X/y", "AMANITA"]
    assert case_collisions(keys) == [("AMANITA", "Amanita", "amanita")]
    assert case_collisions(["Russula_INxx", "Russula_INyy"]) == []


def test_names_of_before_are_known():
    assert former_slug("Russula_INxx") == "russula_inxx--ijts3gtzronqkpt53z3i"
    assert former_slug("russula") == slug("russula") == "russula"


@given(st.text(min_size=1, max_size=60))
def test_a_slug_is_a_plain_file_name(key):
    try:
        made = slug(key)
    except UnsafeNameError:
        return
    check_file_name(made)
    assert slug(made) == made or made != key


@given(st.text(max_size=30))
@example("a/../../b")
@example("a/\0")
def test_no_path_that_is_taken_leaves_the_root(tmp_path_factory, path):
    root = tmp_path_factory.getbasetemp() / "names"
    store = Store(root, sync=Sync.NONE)
    try:
        target = store._target(path)
    except UnsafeNameError:
        return
    assert target.is_relative_to(store.root)


@pytest.mark.parametrize("name", ["a/b", "..", ".x", "x" * 241, "é" * 121, "a\nb"])
def test_a_file_name_that_is_no_plain_component_is_refused(name):
    with pytest.raises(UnsafeNameError):
        check_file_name(name)
