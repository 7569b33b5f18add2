"""What a researcher does with parts of their own: write, name in a spec file, ablate, count and train them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ase.build import add_adsorbate, fcc111
from torch import nn

from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions.interaction import Interaction, InteractionGeometry, InteractionOptions
from gemnet_blocks.layers.dense import linear
from gemnet_blocks.layers.embeddings import AtomEmbedding
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.options import Options, Size
from gemnet_blocks.spec import Spec, build, load_spec, parse_assignment
from gemnet_blocks.structures import Structures

# -- an interaction in about 30 lines ---------------------------------------------------------------------------------


class GatedOptions(InteractionOptions):
    """Atoms to atoms: a sum over neighbors, gated by their distance."""

    type: str
    graph: str = "atom"
    hidden: Size

    def edge_sets(self):
        return {"graph": self.graph}


class GatedGeometry(InteractionGeometry):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph
        self.radial_on = (graph,)

    def forward(self, graphs, radial):
        return graphs.edge_sets[self.graph], radial.radial[self.graph]


class Gated(Interaction):
    """h_a ← Σ_{b→a} W₂ (tanh(W rad(d_ba)) ⊙ W₁ h_b)."""

    Options, writes, reads = GatedOptions, "atoms", "atom embeddings, distances"

    def __init__(self, atom_size, hidden, radial_count):
        super().__init__()
        self.gate, self.down, self.up = (
            linear(radial_count, hidden),
            linear(atom_size, hidden),
            linear(hidden, atom_size),
        )

    @classmethod
    def shared_geometry(cls, options, context):
        return GatedGeometry(options.graph)

    @classmethod
    def from_options(cls, options, context):
        return cls(context.sizes.atom, options.hidden, context.radial_count)

    def forward(self, embeddings, geometry):
        edges, radial = geometry
        message = torch.tanh(self.gate(radial)) * self.down(embeddings.atoms)[edges.source]
        return self.up(message.new_zeros(edges.atom_count, message.shape[1]).index_add(0, edges.target, message))


# -- a radial basis ---------------------------------------------------------------------------------------------------


class WavesOptions(Options):
    type: str
    count: Size
    phase: float = 0.0


class Waves(RadialBasis):
    """f_k(x) = cos(kπx + phase), with a trained phase."""

    Options = WavesOptions

    def __init__(self, cutoff, count, envelope, phase):
        super().__init__(cutoff, count, envelope)
        self.phase = nn.Parameter(torch.tensor(phase))

    @classmethod
    def from_options(cls, options, cutoff, envelope=None):
        return cls(cutoff, options.count, envelope, options.phase)

    def raw(self, scaled_distance):
        return torch.cos(torch.pi * torch.arange(self.count) * scaled_distance[..., None] + self.phase)


# -- an atom embedding -------------------------------------------------------------------------------------------------


class ChargeOptions(Options):
    type: str


class Charge(AtomEmbedding):
    """h_a = w Z_a."""

    Options = ChargeOptions

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0, 0.1, size))

    @classmethod
    def from_options(cls, options, element_count, size):
        return cls(size)

    def forward(self, numbers):
        return numbers[:, None] * self.weight


# -- their use --------------------------------------------------------------------------------------------------------

SPEC = """\
extends: {base}
sizes: {{atom: 8, edge: 8, radial: 4, circular: 4, spherical: 4}}
graphs:
  atom: {{cutoff: 4.0}}
  main: {{cutoff: 4.0, max_neighbors: 6}}
  atom_edge: {{cutoff: 4.0}}
  quad: {{cutoff: 4.0, max_neighbors: 3}}
bases:
  radial: {{type: {radial}, count: 6}}
  circular: {{count: 3}}
  spherical: {{count: 3}}
blocks: {{count: 2, before_skip: 1, after_skip: 1, update: 1, atom: 1}}
interactions:
  triplet: {{down: 4, up: 4}}
  quadruplet: {{down: 4, up: 4}}
  atom_edge: {{down: 4, up: 4}}
  edge_atom: {{down: 4, up: 4}}
  atom_atom: null
  near: {{type: {gated}, hidden: 5}}
  far: {{type: {gated}, hidden: 3, graph: far}}
read_out: {{layers: 1, after_atom: 1, network: 1}}
"""
EXTRA = {"gated": Gated, "waves": Waves}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A spec file that names both parts by short names."""
    return write(tmp_path, "gated", "waves")


def write(folder: Path, gated: str, radial: str) -> Path:
    base = Path(__file__).parents[2] / "paper_configs" / "gemnet-oc.yaml"
    text = SPEC.format(base=base, gated=gated, radial=radial)
    path = folder / "mine.yaml"
    path.write_text(text.replace("  quad:", "  far: {cutoff: 6.0, max_neighbors: 12}\n  quad:"), encoding="utf-8")
    return path


def structures() -> Structures:
    slab = fcc111("Pt", (1, 2, 2), vacuum=5, periodic=True)
    add_adsorbate(slab, "O", 1.2)
    slab.set_tags([0, 0, 1, 1, 2])
    return Structures.from_ase(slab, dtype=torch.float32)


def weights_of(model: GemNet, name: str) -> int:
    return sum(p.numel() for key, p in model.named_parameters() if f"interactions.{name}." in key)


def same_predictions(one: GemNet, other: GemNet) -> bool:
    return torch.equal(one(structures()).energy, other(structures()).energy)


def test_classes_given_to_load_spec_or_build(path: Path) -> None:
    early = load_spec(path, extra=EXTRA)
    assert type(early.interactions["near"]) is GatedOptions
    assert type(early.bases.radial) is WavesOptions
    late = load_spec(path)
    with pytest.raises(SpecError, match="pass extra="):
        build(late)
    assert same_predictions(build(early, seed=0), build(late, extra=EXTRA, seed=0))
    assert same_predictions(build(early.patch({}), seed=0), build(late.patch({}), extra=EXTRA, seed=0))


def test_import_paths(tmp_path: Path, path: Path) -> None:
    imported = write(tmp_path, f"{__name__}:Gated", f"{__name__}:Waves")
    with pytest.raises(SpecError, match="allow_imports=True"):
        build(load_spec(imported))
    early, late = load_spec(imported, allow_imports=True), load_spec(imported)
    assert type(early.interactions["near"]) is GatedOptions
    model = build(early, seed=0)
    assert same_predictions(model, build(late, allow_imports=True, seed=0))
    assert same_predictions(model, build(load_spec(write(tmp_path, "gated", "waves")), extra=EXTRA, seed=0))


def test_opening_a_strangers_spec_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "strange_module.py").write_text("from pathlib import Path\nPath(__file__ + '.ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = load_spec(write(tmp_path, "strange_module:Gated", "strange_module:Waves"))
    assert Spec.from_yaml(spec.to_yaml()).patch({"blocks.count": 1}).content_hash
    with pytest.raises(SpecError, match="would import code"):
        build(spec)
    assert not (tmp_path / "strange_module.py.ran").exists()
    with pytest.raises(SpecError, match="cannot be imported"):
        build(spec, allow_imports=True)
    assert (tmp_path / "strange_module.py.ran").exists()


def test_ablated_in_one_line(path: Path) -> None:
    spec = load_spec(path, extra=EXTRA)
    without = build(spec.patch({"interactions.far": None}), seed=0)
    from_shell = load_spec(path, dict([parse_assignment("interactions.far=null")]), extra=EXTRA)
    assert same_predictions(without, build(from_shell, seed=0))
    assert "far" not in without.backbone.graphs.rules
    assert weights_of(without, "far") == 0
    swapped = spec.patch({"bases.radial.type": "gaussian"})
    assert swapped.bases.radial.model_dump() == {"type": "gaussian", "count": 6, "trainable": False}
    assert build(swapped)(structures()).energy.isfinite().all()


def test_counted(path: Path) -> None:
    model = build(load_spec(path, extra=EXTRA))
    # per block: gate 6 → h, down 8 → h, up h → 8
    assert weights_of(model, "near") == 2 * (6 + 8 + 8) * 5
    assert weights_of(model, "far") == 2 * (6 + 8 + 8) * 3
    edges = model.topology(structures()).edges
    assert edges["far"].count > edges["main"].count > 0


def test_mistakes_in_own_options(path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(path, {"interactions.near": {"hiden": 3, "graph": "aton"}, "bases.radial.phase": "x"}, extra=EXTRA)
    assert str(caught.value).splitlines() == [
        "patch: interactions.near.graph: unknown edge set 'aton'; did you mean 'atom'?",
        "patch: bases.radial.phase: must be a number, got 'x'",
        "patch: interactions.near.hiden: unknown field; did you mean 'hidden'?",
    ]


@pytest.mark.parametrize("forces", ["direct", "gradient"])
def test_trains(path: Path, forces: str) -> None:
    model = build(load_spec(path, {"heads.forces.type": forces}, extra=EXTRA), seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1)

    def loss() -> torch.Tensor:
        prediction = model(structures())
        assert prediction.forces is not None
        return (prediction.energy - 3).square().sum() + 0.01 * prediction.forces.square().sum()

    before = loss()
    before.backward()
    own = [p for key, p in model.named_parameters() if ".near." in key or ".far." in key or "phase" in key]
    assert len(own) == 2 * 2 * 3 + 7  # a phase for each use of the radial basis
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in own)
    nn.utils.clip_grad_norm_(model.parameters(), 1e-4)
    optimizer.step()
    assert loss() < before


class Broadcast(Gated):
    """A mistake: one message for all atoms."""

    def forward(self, embeddings, geometry):
        return super().forward(embeddings, geometry)[:1]


class Undeclared(Gated):
    """A mistake: radial functions are read and not declared."""

    @classmethod
    def shared_geometry(cls, options, context):
        geometry = GatedGeometry(options.graph)
        geometry.radial_on = ()
        geometry.edge_sets = (options.graph,)
        return geometry


class Forgetful(Gated):
    """A mistake: no geometry is returned."""

    @classmethod
    def shared_geometry(cls, options, context):
        return None


def test_mistakes_in_own_interactions_name_them(path: Path) -> None:
    with pytest.raises(ValueError, match=r"interaction 'far' writes to atoms: its message is of shape \(1, 8\)"):
        build(load_spec(path), extra={**EXTRA, "gated": Broadcast})(structures())
    with pytest.raises(KeyError, match="geometry of interaction 'far' reads 'far', which it does not declare"):
        build(load_spec(path), extra={**EXTRA, "gated": Undeclared})(structures())
    with pytest.raises(SpecError, match="shared_geometry must return an InteractionGeometry, got None"):
        build(load_spec(path), extra={**EXTRA, "gated": Forgetful})


def test_an_atom_embedding_is_named_in_one_line(path: Path) -> None:
    spec = load_spec(path, extra=EXTRA | {"charge": Charge}).patch({"atom_embedding": {"type": "charge"}})
    model = build(spec, seed=0)
    assert isinstance(model.backbone.atom_embedding, Charge)
    energy = model(structures()).energy
    energy.sum().backward()
    assert model.backbone.atom_embedding.weight.grad.abs().max() > 0
    assert not torch.equal(energy, build(load_spec(path, extra=EXTRA), seed=0)(structures()).energy)
