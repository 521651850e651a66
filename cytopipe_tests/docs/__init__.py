"""Every command that the documents show is run as it stands."""
