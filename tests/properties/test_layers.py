"""Layers without a model: messages of single interactions keep the symmetries, and bases on plain tensors are right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sympy
import torch
from hypothesis import strategies as st
from properties.harness import batches, holds_for

from gemnet_blocks.basis import (
    Bernstein,
    CircularGaussian,
    Exponential,
    Gaussian,
    GaussianOuter,
    Legendre,
    LegendreOuter,
    Polynomial,
    RealHarmonics,
    SphericalBessel,
    symbolic,
)
from gemnet_blocks.interactions import Embeddings, Interaction
from gemnet_blocks.spec.alone import InteractionAlone
from gemnet_blocks.spec.catalog import BUILT_IN, INTERACTION
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import strategies as some
from gemnet_blocks.testing.assertions import assert_close
from gemnet_blocks.testing.symmetries import Permutation, Symmetry

# -- interactions -----------------------------------------------------------------------------------------------------

SMALL = {"sizes": {"atom": 6, "edge": 8, "radial": 3, "circular": 3, "spherical": 4}, "cutoff": 3.0}


# the testing kit checks interactions that write further streams: see test_painn.py and test_tensor_product.py
OF_SCALARS = [one for one in BUILT_IN[INTERACTION].values() if isinstance(one.writes, str)]


@pytest.mark.parametrize("interaction", OF_SCALARS, ids=lambda one: one.__name__)
def test_messages_keep_the_symmetries(interaction: type[Interaction[Any]]) -> None:
    """Rotated, mirrored and renumbered structures have the same messages, at the corresponding edges and atoms."""

    def test_messages_keep_the_symmetries(structures: Structures, data: Any) -> None:
        symmetry: Symmetry = data.draw(some.rotations() | some.permutations(structures))
        alone = interaction.alone(structures, {"down": 4, "up": 5}, **SMALL)
        other = interaction.alone(symmetry.apply(structures), {"down": 4, "up": 5}, **SMALL)
        order = symmetry.order if isinstance(symmetry, Permutation) else range(structures.atom_count)
        atoms = torch.tensor(list(order), dtype=torch.long)
        row_of = edges_of(alone, range(structures.atom_count))
        rows = torch.tensor([row_of[edge] for edge in edges_of(other, order)], dtype=torch.long)
        of_x = alone.embeddings
        other = replace(other, embeddings=Embeddings(of_x.atoms[atoms], of_x.edges[rows]))
        expected = alone()
        size = max(float(expected.detach().abs().max()), 1e-12) if expected.numel() else 1.0
        assert_close(other() / size, expected[rows if interaction.writes == "edges" else atoms] / size)

    test_messages_keep_the_symmetries.__name__ += f"[{interaction.__name__}]"
    small = some.generic_structures(max_atoms=5, cutoff=3.0)
    holds_for(batches(small, quick=2), quick=4)(test_messages_keep_the_symmetries)()


def edges_of(alone: InteractionAlone, order: Any) -> dict[tuple[int, ...], int]:
    """The row of each main edge by source, target and shift, with atoms numbered by `order`."""
    edges = alone.topology.edges["main"]
    ends = zip(edges.source.tolist(), edges.target.tolist(), edges.shift.tolist(), strict=True)
    return {(order[source], order[target], *shift): row for row, (source, target, shift) in enumerate(ends)}


# -- bases ------------------------------------------------------------------------------------------------------------

X, PHI, THETA = sympy.symbols("x phi theta")
CUTOFF, COUNT = 5.0, 4
PAIRS = [(first, second) for first in range(3) for second in range(3)]
NUMBERS = st.lists(st.floats(0.02, 0.98), min_size=1, max_size=3)

RADIAL: dict[Any, Callable[[int], sympy.Expr]] = {
    Gaussian: lambda k: symbolic.gaussian(k, COUNT, X),
    SphericalBessel: lambda k: symbolic.spherical_bessel(k + 1, sympy.Rational(5), X),
    Bernstein: lambda k: symbolic.bernstein(k, COUNT, symbolic.softplus(sympy.Rational(45264, 100000)), X),
}
CIRCULAR: dict[Any, Callable[[int], sympy.Expr]] = {
    Legendre: lambda k: symbolic.zonal_harmonic(k, sympy.cos(PHI)),
    CircularGaussian: lambda k: symbolic.gaussian(k, COUNT, sympy.cos(PHI), low=-1),
}
SPHERICAL: dict[Any, list[sympy.Expr]] = {
    LegendreOuter: [symbolic.legendre_outer(*pair, PHI, THETA) for pair in PAIRS],
    GaussianOuter: [symbolic.gaussian_outer(*pair, 3, PHI, THETA) for pair in PAIRS],
    RealHarmonics: [symbolic.real_harmonic(*pair, PHI, THETA) for pair in symbolic.harmonic_orders(3)],
}
ENVELOPES: dict[Any, sympy.Expr] = {
    Polynomial: symbolic.polynomial_envelope(5, X),
    Exponential: symbolic.exponential_envelope(X),
}


def assert_is(values: torch.Tensor, definitions: list[sympy.Expr], points: dict[sympy.Symbol, Any]) -> None:
    """Compare functions with their definitions at some points."""
    expected = [torch.as_tensor(symbolic.evaluate(one, points)) for one in definitions]
    assert_close(values, torch.stack(expected, dim=-1), 1e-12)


@holds_for(NUMBERS, quick=3, most=200)
def test_radial_bases_and_envelopes_of_distances(x: list[float], data: Any) -> None:
    distances = CUTOFF * torch.tensor(x, dtype=torch.float64)
    for kind, envelope in itertools.product(RADIAL, ENVELOPES):
        basis = kind(CUTOFF, COUNT, envelope()).double()
        if kind is Bernstein:  # drawn in single precision
            torch.nn.init.constant_(basis.gamma_raw, 0.45264)
        if kind is SphericalBessel:
            basis.frequencies.data = math.pi * torch.arange(1, COUNT + 1, dtype=torch.float64)
        definitions = [ENVELOPES[envelope] * RADIAL[kind](k) for k in range(COUNT)]
        assert_is(basis(distances).detach(), definitions, {X: x})


@holds_for(NUMBERS, quick=3, most=200)
def test_circular_bases_of_cosines(x: list[float], data: Any) -> None:
    phi = math.pi * torch.tensor(x, dtype=torch.float64)
    for kind, definition in CIRCULAR.items():
        assert_is(kind(COUNT)(phi.cos()), [definition(k) for k in range(COUNT)], {PHI: phi.numpy()})


@holds_for(NUMBERS, quick=3, most=200)
def test_spherical_bases_of_plain_angles(x: list[float], data: Any) -> None:
    phi = math.pi * torch.tensor(x, dtype=torch.float64)
    theta = 2 * math.pi * torch.tensor(x[::-1], dtype=torch.float64) - math.pi
    for kind, definitions in SPHERICAL.items():
        assert_is(kind(3)(phi.cos(), theta), definitions, {PHI: phi.numpy(), THETA: theta.numpy()})
