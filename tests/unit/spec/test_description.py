"""Descriptions for papers: their equations are those of the model, and everything in a spec is mentioned."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from small_specs import small_spec

from gemnet_blocks.basis.symbolic import evaluate
from gemnet_blocks.spec import Spec, build, list_specs, load_spec
from gemnet_blocks.spec.description import PHI, THETA, Description, X, Z
from gemnet_blocks.testing import strategies as some

RADIAL = (
    {"type": "gaussian", "count": 5},
    {"type": "spherical_bessel", "count": 4},
    {"type": "bernstein", "count": 4, "gamma_raw": 0.3},
)
ANGULAR = (
    ({"type": "legendre", "count": 4}, {"type": "legendre_outer", "count": 3}),
    ({"type": "gaussian", "count": 3}, {"type": "gaussian_outer", "count": 3}),
    ({"type": "legendre", "count": 2}, {"type": "real_harmonics", "count": 3}),
)
ENVELOPES = ({"type": "polynomial", "exponent": 4}, {"type": "exponential"}, {"type": "polynomial", "exponent": 6})


@pytest.mark.parametrize(("radial", "angular", "envelope"), zip(RADIAL, ANGULAR, ENVELOPES, strict=True))
def test_the_printed_functions_are_those_of_the_model(
    radial: dict[str, Any], angular: tuple[dict[str, Any], dict[str, Any]], envelope: dict[str, Any]
) -> None:
    bases = dict(zip(("circular", "spherical"), angular, strict=True), radial=radial, envelope=envelope)
    spec = small_spec({f"bases.{name}": options for name, options in bases.items()})
    equations = {one.name: one for one in spec.describe().equations}
    geometry = build(spec).double().backbone.geometry
    x, phi, theta = (np.linspace(low, high, 7) for low, high in ((0.1, 0.95), (0.2, 2.9), (-2.0, 3.0)))
    points = {X: x, Z: np.cos(phi), PHI: phi, THETA: theta}

    def printed(name: str) -> np.ndarray:
        equation = equations[name]
        for function in equation.functions[:3]:
            inside = function.args[0][0] if isinstance(function, sympy.Piecewise) else function
            assert sympy.latex(inside) in equation.latex
        values = [evaluate(one, {s: points[s] for s in one.free_symbols}) for one in equation.functions]
        return np.stack([np.broadcast_to(one, x.shape) for one in values], axis=-1)

    basis = geometry.bases.radial["main"]
    found = basis(torch.tensor(x * basis.cutoff)).detach()
    torch.testing.assert_close(found, torch.tensor(printed("envelope") * printed("radial basis")), rtol=1e-6, atol=1e-7)
    interactions = dict(geometry.interactions.named_modules())
    circular, spherical = interactions["triplet.triplet_sum.circular"], interactions["quadruplet.spherical"]
    cosines, azimuths = torch.tensor(np.cos(phi)), torch.tensor(theta)
    torch.testing.assert_close(circular(cosines), torch.tensor(printed("circular basis")))
    torch.testing.assert_close(spherical(cosines, azimuths), torch.tensor(printed("spherical basis")))


def text_of(spec: Spec) -> str:
    return spec.describe(1234).markdown()


@pytest.mark.parametrize("name", list_specs())
def test_shipped_specs_are_described(name: str) -> None:
    spec = load_spec(name)
    found = spec.describe(1234567)
    text = found.markdown()
    assert "1,234,567" in text
    for interaction in spec.interactions:
        assert f"| {interaction} interaction |" in text or not hasattr(spec.interactions[interaction], "down")
    for graph in spec.graphs_in_use():
        assert f"The edge set {graph} connects atoms within {spec.graphs[graph].cutoff:g} Å" in text
    cited = set(re.findall(r"\\cite\{(\w+)\}", found.latex()))
    assert cited == set(re.findall(r"@article\{(\w+),", found.bibtex())) == set(found.references)
    assert found.latex().count("{") == found.latex().count("}")
    assert not re.search(r"[⊙⊗→φθΔΣ₁₂⟨⟩Å]", found.latex())


def test_only_what_the_spec_contains_is_described() -> None:
    spec = small_spec({})
    assert "Quadruplet interaction" in text_of(spec)
    assert "Spherical basis" in text_of(spec)
    without = text_of(spec.patch({"interactions.quadruplet": None}))
    assert "uadruplet" not in without
    assert "Spherical basis" not in without
    assert "Forces are not predicted." in text_of(spec.patch({"heads.forces": None}))
    assert "spherical Bessel functions of each degree" in text_of(
        spec.patch({"bases.angular_radial": {"type": "fourier_bessel", "count": 3}})
    )
    gaussians = {"circular": {"type": "gaussian", "count": 5}}
    near = {"type": "triplet", "down": 3, "up": 3, "blocks": [0], "bases": gaussians}
    text = text_of(spec.patch({"interactions.near": near}))
    assert "Block 0 (from 0) has one triplet interaction" in text
    assert "Angles are expanded in 5 Gaussians in it." in text


def test_streams_heads_and_states_are_described() -> None:
    spec = some.small_spec().patch(
        {
            "interactions.painn": {"size": 3},
            "heads.dipole": {"type": "dipole"},
            "atom_embedding.charge": True,
        }
    )
    text = text_of(spec)
    assert "irreps 3x1o" in text
    assert "schutt2021" in text
    assert "A further head predicts dipole, a vector of each structure." in text
    assert "The total charge of each structure" in text


def test_hostile_names_stay_text() -> None:
    found = Description(("Sizes are 5 % of {x_1} & $y$ # \\input{x} [gasteiger2022].",), (), {"a_b": "1 & 2"}, {})
    assert r"5 \% of \{x\_1\} \& \$y\$ \# \textbackslash{}input\{x\} \cite{gasteiger2022}." in found.latex()
    assert r"a\_b & 1 \& 2 \\" in found.latex()
