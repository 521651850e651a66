"""The resumable run over a directory of FASTA stages."""
