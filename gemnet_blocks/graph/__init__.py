"""Graphs of atoms: edges, triplets and quadruplets."""
