"""Formats of artifacts: one class for each kind, imported where it is used."""

from cytopipe.storage.formats.format import DirectoryFormat, FileFormat, Format, SetFormat

__all__ = ["FORMATS", "DirectoryFormat", "FileFormat", "Format", "SetFormat"]

FORMATS: dict[str, Format] = {}
