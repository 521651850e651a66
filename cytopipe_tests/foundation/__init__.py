"""Errors, provenance and engines: what every room stands on."""
