"""Names made to escape, collide or confuse: refused at the door, or given a slug that is safe and theirs
alone.
"""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cytopipe.errors import UnsafeNameError
from cytopipe.storage import Store, Sync, check_file_name, check_key, slug

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
    "A",
    "con",
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
    assert set(made) <= set(string.ascii_lowercase + string.digits + "._-")
    assert 0 < len(made) <= 120
    assert not made.startswith((".", "-")) and made not in (".", "..")


def test_strange_names_do_not_share_a_slug():
    keys = [*STRANGE, *(slug(key) for key in STRANGE), "a-b", "passwd", "etc-passwd"]
    assert len({slug(key) for key in set(keys)}) == len(set(keys))


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
@example("a/b", "a-b")
@example("A", "a")
@example("é", "e\u0301")
def test_two_keys_never_share_a_slug(one, other):
    try:
        slugs = slug(one), slug(other)
    except UnsafeNameError:
        return
    assert (slugs[0].casefold() == slugs[1].casefold()) == (one == other)


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
