"""Formats of artifacts: one class for each kind, imported where it is used."""

from cytopipe.storage.formats.format import DirectoryFormat, FileFormat, Format, SetFormat

__all__ = ["DirectoryFormat", "FileFormat", "Format", "SetFormat"]
