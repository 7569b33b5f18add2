"""Assertions about models, interactions and basis functions, both built-in and custom.

Assertions about given structures raise an AssertionError that names the violated property, the deviation and the
tolerance. `assert_model`, `assert_interaction` and `assert_…_basis` search for a counterexample to every property that
applies, reduce it and raise `CounterExample`, whose message is code that reproduces it; they return the names of the
properties that they checked. `TOLERANCES` lists and explains the tolerances.

    >>> from gemnet_blocks.testing.assertions import assert_radial_basis
    >>> from gemnet_blocks.basis.radial import Gaussian
    >>> checked = assert_radial_basis(Gaussian(cutoff=6.0, count=8))
    >>> checked[:3]
    ('copies', 'shape', 'finite values')

To examine a counterexample:

    try:
        assert_interaction(MyInteraction)
    except CounterExample as found:
        print(found.property)
        print(found.code)  # reproduces the failure with `model` = found.model
        print(to_ase(found.example["structures"]))  # from gemnet_blocks.testing.models
"""

from gemnet_blocks.testing.assertions.bases import assert_circular_basis, assert_radial_basis, assert_spherical_basis
from gemnet_blocks.testing.assertions.comparison import (
    TOLERANCES,
    Tolerance,
    assert_close,
    assert_same_function,
    gradients,
    tolerance_of,
)
from gemnet_blocks.testing.assertions.counterexample import Check, CounterExample, search
from gemnet_blocks.testing.assertions.derivatives import assert_forces_are_gradient, assert_second_derivatives
from gemnet_blocks.testing.assertions.interactions import (
    assert_interaction,
    assert_learning,
    assert_messages,
    interaction_spec,
)
from gemnet_blocks.testing.assertions.models import assert_model
from gemnet_blocks.testing.assertions.smoothness import assert_smooth, assert_smooth_at_cutoff, crossing
from gemnet_blocks.testing.assertions.streams import assert_stream_symmetry
from gemnet_blocks.testing.assertions.symmetry import (
    assert_copies,
    assert_copyable,
    assert_deterministic,
    assert_finite,
    assert_momentum_balance,
    assert_precision,
    assert_symmetry,
    assert_torque_balance,
    energy_spread,
)

__all__ = [
    "TOLERANCES",
    "Check",
    "CounterExample",
    "Tolerance",
    "assert_circular_basis",
    "assert_close",
    "assert_copies",
    "assert_copyable",
    "assert_deterministic",
    "assert_finite",
    "assert_forces_are_gradient",
    "assert_interaction",
    "assert_learning",
    "assert_messages",
    "assert_model",
    "assert_momentum_balance",
    "assert_precision",
    "assert_radial_basis",
    "assert_same_function",
    "assert_second_derivatives",
    "assert_smooth",
    "assert_smooth_at_cutoff",
    "assert_spherical_basis",
    "assert_stream_symmetry",
    "assert_symmetry",
    "assert_torque_balance",
    "crossing",
    "energy_spread",
    "gradients",
    "interaction_spec",
    "search",
    "tolerance_of",
]
