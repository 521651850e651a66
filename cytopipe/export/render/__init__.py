"""Pure renderers: pixels, settings and masks in, an RGB picture out; no state, no files."""
