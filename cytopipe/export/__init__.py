"""Images of fields of view, single cells and regions of interest, rendered in batches."""
