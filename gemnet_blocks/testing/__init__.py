"""Tools for tests of models and layers: assertions, hypothesis strategies, symmetries and reference definitions."""
