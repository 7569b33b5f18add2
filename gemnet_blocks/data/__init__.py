"""Labelled structures from files: reading, checking, splitting and batching them."""
