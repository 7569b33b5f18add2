"""Helpers that know nothing of models: files, precision of matrix products, recomputation of intermediate results."""
