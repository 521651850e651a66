"""screen: optical pooled screens, from images of a microscope to barcodes and features of cells.

The same wells are imaged twice: sequencing by synthesis reads the barcode of each cell, one base per cycle,
and phenotype images show the stained cell. Functions take arrays and tables and give arrays and tables.
Axes: image CYX, cycles TCYX, labels YX with background 0. Cycle images begin with DAPI, then come the bases.
"""
