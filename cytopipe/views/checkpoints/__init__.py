"""The history of a heat map in a browser: a page in one file, and a notebook's widget."""
