"""Tests of the graph: declarations, edges, the ledger, the runner; on example domains."""
