"""Sums over triplets and quadruplets with functions of their angles: the definition, and faster ways to the same."""
