"""Checks before use, for files we did not write: budgets, and refusals of what must not be followed."""
