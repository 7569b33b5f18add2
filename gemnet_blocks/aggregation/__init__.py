"""Sums over neighbors, triplets and quadruplets: the explicit sums that define them, and their factorized forms."""
