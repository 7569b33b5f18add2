"""Helpers that do not depend on models: files, locks, precision, derivatives, charges, earlier names of modules."""
