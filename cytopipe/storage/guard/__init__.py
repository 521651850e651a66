"""Checks before use, for files we did not write.

`budget` counts bytes before they are allocated, `inflate` while they are decompressed; `trees`, `hdf5`,
`zarr_store` and `tiff` look through a file of their kind and refuse what would lead out of it, run code or
never end. Each is imported where it is used, since some need heavy libraries.
"""
