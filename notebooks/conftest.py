"""Notebooks are tests of the documentation: `pytest --nbmake notebooks/NAME.ipynb` runs one, `make test-docs` all."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.docs)
