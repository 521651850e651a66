"""Cluster DNA barcodes into species-like units, in resumable stages."""
