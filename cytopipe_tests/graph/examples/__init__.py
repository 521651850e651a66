"""Two small example domains, with all the kinds of edges that a domain can have."""
