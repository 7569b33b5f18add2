from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from ase.build import add_adsorbate, fcc111, molecule
from small_specs import NAMES, SMALL, error_of, small_spec
from test_catalog import Step
from torch import Tensor, nn

from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    Embeddings,
    Interaction,
    InteractionGeometry,
    InteractionOptions,
)
from gemnet_blocks.layers.radial_bases import RadialValues
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.readout import (
    ConcatenatedOutputBlock,
    Contributions,
    Output,
    OutputNetwork,
    Readout,
    ReadoutContext,
    ReadoutOptions,
)
from gemnet_blocks.options import Options
from gemnet_blocks.spec import Execution, Spec, build
from gemnet_blocks.structures import Structures


def structures() -> Structures:
    slab = fcc111("Pt", (1, 2, 2), vacuum=5, periodic=True)
    add_adsorbate(slab, "O", 1.2)
    slab.set_tags([0, 0, 1, 1, 2])
    methanol = molecule("CH3OH")
    methanol.set_tags([2] * 6)
    return Structures.from_ase([slab, methanol], dtype=torch.float32)


def without(*names: str) -> dict[str, Any]:
    return {f"interactions.{name}": None for name in names}


def others(name: str) -> dict[str, Any]:
    return without(*(other for other in NAMES if other != name))


def count(model: GemNet) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


RUNNING: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no interaction": without(*NAMES),
    **{f"no {name}": without(name) for name in NAMES},
    **{f"only {name}": others(name) for name in NAMES},
    "no blocks": {"blocks.count": 0},
    "no forces": {"heads.forces": None},
    "gradient forces": {"heads.forces.type": "gradient"},
    "no interaction, gradient forces": {**without(*NAMES), "heads.forces.type": "gradient"},
    "no layers": {"blocks": dict.fromkeys(("before_skip", "after_skip", "concatenation", "update", "atom"), 0)},
    "mean energy": {"heads.energy.reduce": "mean"},
    "repulsion at short range": {"heads.energy.short_range": "zbl", "heads.forces.type": "gradient"},
    "scaled bases": {"bases.scale": True},
    "two radial bases": {"bases.angular_radial": {"type": "bernstein", "count": 3}},
    "functions of the degree": {"bases.angular_radial": {"type": "fourier_bessel", "count": 3}},
    "other bases": {
        "bases.radial.type": "spherical_bessel",
        "bases.circular.type": "gaussian",
        "bases.spherical.type": "real_harmonics",
        "bases.envelope.type": "exponential",
    },
    "tags": {"graphs.quad.tags": [1, 2]},
    "no tags": {"graphs.quad.tags": []},
    "tags of no atom": {"graphs.quad.tags": [7]},
    "no caps": {f"graphs.{name}.max_neighbors": None for name in ("main", "quad", "atom_edge")},
    "no quadruplets": {"graphs.quad.max_neighbors": 0},
    "no edges": {"graphs.main.max_neighbors": 0},
    "ties, no edges": {"graphs.main.max_neighbors": 0, "neighbors.ties": "inclusive"},
    "short cutoff": {"graphs.main.cutoff": 1e-300},
    "wider than what it is within": {"graphs.quad.cutoff": 9},
    "not periodic": {"neighbors.periodic": False},
    "two of a kind": {"interactions.triplet_again": {"type": "triplet", "down": 3, "up": 2}},
}


@pytest.mark.parametrize("changes", RUNNING.values(), ids=RUNNING)
def test_built_models_run(changes: dict[str, Any]) -> None:
    spec = small_spec(changes)
    prediction = build(spec, seed=0)(structures())
    assert prediction.energy.shape == (2,)
    assert prediction.energy.isfinite().all()
    if spec.heads.forces is None:
        assert prediction.forces is None
    else:
        assert prediction.forces is not None
        assert prediction.forces.shape == (11, 3)
        assert prediction.forces.isfinite().all()


def test_only_named_parts_are_built() -> None:
    model = build(small_spec(others("triplet")))
    assert list(model.backbone.graphs.rules) == ["atom", "main"]
    assert list(model.backbone.geometry.interactions) == ["triplet"]
    assert list(model.backbone.geometry.bases.angular) == ["main"]
    topology = model.topology(structures())
    assert list(topology.edges) == ["main"]
    assert len(topology.indices) == 1


@pytest.mark.parametrize(
    ("changes", "edge_terms", "atom_terms"),
    [({}, 4, 3), (without("quadruplet"), 3, 3), (without("edge_atom", "atom_atom"), 4, 1)],
)
def test_divisors_follow_from_the_present_parts(
    changes: dict[str, Any], edge_terms: int, atom_terms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def skip(*terms: Tensor, divisor: float | None = None) -> Tensor:
        seen.append(len(terms) if divisor is None else divisor**2)
        return terms[0]

    for module in ("block", "streams"):
        monkeypatch.setattr(f"gemnet_blocks.model.{module}.skip", skip)
    build(small_spec(changes))(structures())
    assert seen[:2] == pytest.approx([edge_terms, atom_terms])


def test_a_second_triplet_has_its_own_weights_on_the_same_triplets() -> None:
    one = build(small_spec(others("triplet")))
    two = build(small_spec({**others("triplet"), "interactions.again": {"type": "triplet", "down": 4, "up": 4}}))
    assert one.backbone.graphs.requests == two.backbone.graphs.requests
    block = two.backbone.blocks[0]
    assert isinstance(block, Block)
    weights = [sum(p.numel() for p in part.parameters()) for part in block.interactions.children()]
    shared = [sum(p.numel() for p in part.parameters()) for part in two.backbone.geometry.interactions.children()]
    assert weights[0] == weights[1]
    assert count(two) == count(one) + weights[0] + shared[0]


@pytest.mark.parametrize("kind", ["quadruplet", "atom_edge", "edge_atom", "atom_atom"])
def test_the_same_kind_twice_on_another_graph(kind: str) -> None:
    far = {"type": kind, "graph": "far", "down": 3, "up": 3}
    model = build(small_spec({"graphs.far": {"cutoff": 5.0}, "interactions.again": far}))
    assert "far" in model.backbone.graphs.rules
    assert model(structures()).energy.isfinite().all()


def test_an_import_path_is_not_followed() -> None:
    spec = small_spec({"interactions.mine.type": "antigravity:Block", "bases.envelope.type": "step"})
    assert error_of(build, spec).splitlines() == [
        "patch: bases.envelope.type: unknown envelope 'step' (for a custom class, write "
        "`type: module:Class` and allow imports, or pass extra={'step': ...}); known: polynomial, exponential",
        "patch: interactions.mine.type: antigravity:Block would import code from the module antigravity: if you trust "
        "the author of this file, allow it with `--allow-imports`, in Python with allow_imports=True; or pass the "
        "class with extra={'antigravity:Block': ...}",
    ]


# -- weights ----------------------------------------------------------------------------------------------------------


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return list(states[0]) == list(states[1]) and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


def test_seeds() -> None:
    spec = small_spec()
    state = torch.random.get_rng_state()
    assert same_weights(build(spec, seed=3), build(spec, seed=3))
    assert not same_weights(build(spec, seed=3), build(spec, seed=4))
    assert torch.equal(torch.random.get_rng_state(), state)
    build(spec)
    assert not torch.equal(torch.random.get_rng_state(), state)


def test_weights_do_not_depend_on_the_order_in_a_file() -> None:
    lines = SMALL.splitlines(keepends=True)
    swapped = "".join([*lines[:15], *reversed(lines[15:20]), *lines[20:]])
    assert same_weights(build(small_spec(), seed=0), build(Spec.from_yaml(swapped), seed=0))


@pytest.mark.parametrize("atoms", [0, 1.5, True, "8"])
def test_invalid_numbers_of_atoms(atoms: Any) -> None:
    with pytest.raises(ValueError, match="execution: atoms_at_most must be an integer of at least 1, got"):
        Execution(atoms_at_most=atoms)


def test_invalid_execution_options() -> None:
    with pytest.raises(TypeError, match="build takes an Execution, not 'explicit'"):
        build(small_spec(), execution="explicit")  # type: ignore[arg-type]


def test_execution_changes_no_result() -> None:
    models = [build(small_spec(), seed=0, execution=Execution(search=search)) for search in ("vesin", "torch")]
    assert same_weights(*models)
    energies = [model(structures()).energy for model in models]
    torch.testing.assert_close(energies[0], energies[1])


# -- own parts of every kind ------------------------------------------------------------------------------------------


class OwnOptions(Options):
    type: str
    count: int = 3


class Powers(RadialBasis):
    Options = OwnOptions

    @classmethod
    def from_options(cls, options: OwnOptions, cutoff: float, envelope: Any = None) -> Powers:
        return cls(cutoff, options.count, envelope)

    def raw(self, scaled_distance: Tensor) -> Tensor:
        return scaled_distance[..., None] ** torch.arange(self.count)


class Cosines(CircularBasis):
    Options = OwnOptions

    @classmethod
    def from_options(cls, options: OwnOptions) -> Cosines:
        return cls(options.count)

    def forward(self, cos_angle: Tensor) -> Tensor:
        return cos_angle[..., None] ** torch.arange(self.count)


class Products(SphericalBasis):
    Options = OwnOptions

    @classmethod
    def from_options(cls, options: OwnOptions) -> Products:
        return cls(options.count)

    def forward(self, cos_polar: Tensor, azimuth: Azimuth) -> Tensor:
        powers = torch.arange(self.count)
        return (cos_polar[..., None, None] ** powers * azimuth.cosine[..., None, None] ** powers[:, None]).flatten(-2)


class Last(Readout):
    """Reads the last output block only."""

    class Options(ReadoutOptions):
        layers: int = 1

    def __init__(self, atoms: OutputNetwork) -> None:
        super().__init__()
        self.atoms = atoms

    @classmethod
    def output_block(cls, options: Any, context: ReadoutContext) -> ConcatenatedOutputBlock:
        from gemnet_blocks.model.readout import ConcatenatedReadout

        return ConcatenatedReadout.output_block(
            ConcatenatedReadout.Options(layers=options.layers, after_atom=1, network=1), context
        )

    @classmethod
    def from_options(cls, options: Any, context: ReadoutContext) -> Last:
        return cls(OutputNetwork(context.sizes.atom, context.sizes.atom, 1, context.activation))

    def forward(self, outputs: Any) -> Contributions:
        last: Output = outputs[-1]
        return Contributions(self.atoms([last.atoms]), None if last.edges is None else last.edges.sum(dim=-1))


OWN: dict[str, tuple[type, dict[str, Any]]] = {
    "bases.radial": (Powers, {"count": 4}),
    "bases.angular_radial": (Powers, {"count": 4}),
    "bases.circular": (Cosines, {"count": 4}),
    "bases.spherical": (Products, {"count": 3}),
    "bases.envelope": (Step, {}),
    "readout": (Last, {"layers": 2}),
}


@pytest.mark.parametrize("path", OWN)
def test_own_parts_given_to_either(path: str) -> None:
    part, fields = OWN[path]
    changes = {path: {"type": "mine", **fields}}
    late = build(small_spec(changes), extra={"mine": part}, seed=0)
    early = build(Spec.from_yaml(SMALL, extra={"mine": part}).patch(changes), seed=0)
    imported = build(small_spec({path: {"type": f"{__name__}:{part.__name__}", **fields}}), allow_imports=True, seed=0)
    assert same_weights(late, early)
    assert same_weights(late, imported)
    assert any(type(module) is part for module in late.modules())
    prediction = late(structures())
    assert prediction.energy.isfinite().all()
    assert torch.equal(prediction.energy, early(structures()).energy)


class Listed(Powers):
    class Options(OwnOptions):
        widths: tuple[int, ...] = ()


def test_wrong_fields_of_own_parts() -> None:
    assert error_of(build, small_spec({"bases.radial": {"type": "mine", "widths": [1]}}), extra={"mine": Listed}) == (
        "patch: bases.radial.widths: must be a list, got [1]; declare the field with Field(strict=False), so that it "
        "takes one"
    )
    changes = {"bases.radial": {"type": "mine", "cnt": 3}}
    assert error_of(build, small_spec(changes), extra={"mine": Powers}) == (
        "patch: bases.radial.cnt: unknown field; did you mean 'count'?"
    )


class Far(Interaction[Tensor]):
    """Sums radial functions; says only that it reads them, not which edge sets it needs."""

    class Options(InteractionOptions):
        graph: str = "far"
        needs: str = "nothing"

    writes = "atoms"

    class Shared(InteractionGeometry[Tensor]):
        def __init__(self, graph: str) -> None:
            super().__init__()
            self.radial_on = (graph,)

        def forward(self, graphs: Graphs, radial: RadialValues) -> Tensor:
            [name] = self.radial_on
            edges = graphs.edge_sets[name]
            return torch.zeros(edges.atom_count).index_add(0, edges.target, radial.radial[name].sum(dim=1))

    @classmethod
    def shared_geometry(cls, options: Any, context: BuildContext) -> Far.Shared:
        if options.needs == "spherical":
            context.spherical_basis()
        if options.needs == "luck":
            raise ValueError("no luck")
        return cls.Shared(options.graph)

    @classmethod
    def from_options(cls, options: Any, context: BuildContext) -> Far:
        return cls()

    def forward(self, embeddings: Embeddings, geometry: Tensor) -> Tensor:
        return geometry[:, None].expand_as(embeddings.atoms)


def test_an_edge_set_with_radial_functions_is_measured() -> None:
    spec = small_spec({"graphs.far": {"cutoff": 5.0}, "interactions.far": {"type": "far"}})
    assert build(spec, extra={"far": Far})(structures()).energy.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "interactions.far: unknown edge set 'far'; known: atom, main, atom_edge, quad"),
        ({"interactions.far.graph": "atm"}, "interactions.far: unknown edge set 'atm'; did you mean 'atom'?"),
        ({"interactions.far.needs": "luck"}, "interactions.far: no luck"),
        (
            {"interactions": {"far.needs": "spherical", "quadruplet": None}, "bases.spherical": None},
            "interactions.far: needs bases.spherical, which is missing",
        ),
    ],
)
def test_complaints_of_own_parts_name_them(changes: dict[str, Any], message: str) -> None:
    spec = small_spec({"interactions.far.type": "far"}).patch(changes)
    assert error_of(build, spec, extra={"far": Far}) == message


@pytest.mark.parametrize(
    "changes", [{"sizes.atom": 10**11}, {"sizes.atom": 10**13}, {"elements": 10**12}, {"bases.radial.count": 10**12}]
)
def test_weights_beyond_memory_are_an_error(changes: dict[str, int]) -> None:
    assert "the weights do not fit in memory: lower elements, sizes" in error_of(build, small_spec(changes))


@pytest.mark.parametrize("angular", ["factorised", {"triplet": "factorised", "quadruplet": "explicit"}])
def test_the_earlier_spelling_of_factorized_is_read(angular: Any) -> None:
    spelled = yaml.safe_load(yaml.safe_dump(angular).replace("factorised", "factorized"))
    assert Execution(angular=angular) == Execution(angular=spelled)
    assert Execution(angular=angular).plan("triplet").method == "factorized"
