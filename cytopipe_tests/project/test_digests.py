"""Digests of inputs are taken once per content, and never from memory when the content may differ."""

from __future__ import annotations

import os
import time

from cytopipe.project import digests
from cytopipe.project.digests import Digests
from cytopipe.provenance import sha256_file


def settled(path) -> None:
    """Give a file a time of change in the past; its ctime cannot be set, so the wait is shortened instead."""
    past = time.time() - 100
    os.utime(path, (past, past))


def test_a_settled_file_is_read_once_and_a_changed_one_again(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_SETTLED_S", -1)
    reads = []
    monkeypatch.setattr(digests, "sha256_file", lambda path: reads.append(path) or sha256_file(path))
    file = tmp_path / "x"
    file.write_text("one")
    book = Digests(tmp_path / ".cytopipe")
    first = book.sha256(file)
    assert book.sha256(file) == Digests(tmp_path / ".cytopipe").sha256(file) == first
    assert len(reads) == 1
    file.write_text("two")
    assert book.sha256(file) == sha256_file(file) != first


def test_a_file_that_just_changed_is_not_remembered(tmp_path):
    file = tmp_path / "x"
    file.write_text("one")
    book = Digests(tmp_path / ".cytopipe")
    book.sha256(file)
    facts = file.stat()
    file.write_text("two")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert book.sha256(file) == sha256_file(file)


def test_no_file_has_no_digest_and_a_damaged_memory_is_no_loss(tmp_path):
    home = tmp_path / ".cytopipe"
    home.mkdir()
    (home / "digests.sqlite").write_bytes(b"not a database" * 100)
    book = Digests(home)
    assert book.sha256(tmp_path / "gone") is None
    file = tmp_path / "x"
    file.write_text("one")
    settled(file)
    assert book.sha256(file) == sha256_file(file)
