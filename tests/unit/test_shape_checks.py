"""Unit tests check the shapes that annotations promise, in the first calls of each function."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import molecule
from jaxtyping import TypeCheckError, config
from shape_checks import CALLS_PER_TEST

from gemnet_blocks.layers.initialization import initialize_output_
from gemnet_blocks.structures import Structures

pytestmark = pytest.mark.skipif(config.jaxtyping_disable, reason="JAXTYPING_DISABLE switches the checks off")


@pytest.mark.parametrize("test", ["one test", "another test"])
def test_the_first_calls_in_each_test_are_checked(test: str) -> None:
    for _ in range(CALLS_PER_TEST):
        with pytest.raises(TypeCheckError):
            initialize_output_(torch.zeros(3), "zeros")
    with pytest.raises(IndexError):  # of the function itself
        initialize_output_(torch.zeros(3), "zeros")


def test_dataclasses_are_checked() -> None:
    with pytest.raises(TypeCheckError):
        replace(Structures.from_ase(molecule()), cells=torch.zeros(2))
