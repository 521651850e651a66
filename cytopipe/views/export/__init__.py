"""An export in a notebook: options, start, progress, cancel, preview, what became of each picture."""
