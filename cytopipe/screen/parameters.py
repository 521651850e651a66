"""The parameters of a screen, one class per stage."""

from __future__ import annotations
