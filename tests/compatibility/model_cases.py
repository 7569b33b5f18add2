"""The models of which every version writes files: each head, readout, embedding, interaction, basis and envelope."""

from __future__ import annotations

from dataclasses import dataclass

TINY = """\
# A model with all interactions, as small as possible.
elements: 30
sizes: {atom: 6, edge: 8, radial: 4, circular: 4, spherical: 4}
activation: silu
neighbors: {ties: inclusive, tie_tolerance: 0.01, periodic: true}
graphs:
  atom: {cutoff: 4.0}
  main: {cutoff: 3.5, max_neighbors: 8, within: atom, symmetrize: union}
  atom_edge: {cutoff: 3.5, max_neighbors: 8, within: atom}
  quad: {cutoff: 3.0, max_neighbors: 6, within: atom}
bases:
  radial: {type: gaussian, count: 6}
  angular_radial: null
  envelope: {type: polynomial, exponent: 5}
  circular: {type: legendre, count: 3}
  spherical: {type: legendre_outer, count: 3}
  collinear: {type: smooth, width: 0.01}
  scale: false
atom_embedding: {type: element}
blocks: {count: 1, before_skip: 1, after_skip: 1, concatenation: 1, update: 1, atom: 1, update_projection: if_needed}
interactions:
  triplet: {down: 4, up: 4}
  quadruplet: {graph: quad, down: 4, up: 4}
  atom_edge: {graph: atom_edge, down: 4, up: 4}
  edge_atom: {graph: atom_edge, down: 4, up: 4}
  atom_atom: {graph: atom, down: 4, up: 4}
read_out: {type: concatenated, layers: 1, after_atom: 1, network: 1}
heads:
  energy: {reduce: sum}
  forces: {type: gradient}
"""

TRIPLETS_ALONE = """\
interactions: {quadruplet: null, atom_edge: null, edge_atom: null, atom_atom: null}
"""

FEW = """\
interactions: {quadruplet: null, atom_edge: null, edge_atom: null}
"""

SPECS: dict[str, str] = {
    "all-interactions": "",
    "energy-only": FEW + "heads: {forces: null}\n",
    "direct-forces": FEW + "heads: {forces: {type: direct}}\n",
    "coupled-forces": FEW + "heads: {forces: {type: direct, coupled: true}}\n",
    "isolated": FEW + "neighbors: {periodic: false}\n",
    "gemnet-t": TRIPLETS_ALONE + "read_out: {type: summed, layers: 1}\nblocks: {count: 2, update_projection: always}\n",
    "gemnet-dt": TRIPLETS_ALONE
    + "read_out: {type: summed, layers: 1, projection: if_needed, initialization: grid}\n"
    + "heads: {forces: {type: direct}}\n",
    "periodic-table": FEW + "atom_embedding: {type: periodic_table}\n",
    "gaussians": """\
bases:
  radial: {type: gaussian, count: 5, trainable: true}
  envelope: {type: exponential}
  circular: {type: gaussian, count: 3}
  spherical: {type: gaussian_outer, count: 3}
""",
    "bernstein-harmonics": """\
bases:
  radial: {type: bernstein, count: 5}
  angular_radial: {type: spherical_bessel, count: 4}
  spherical: {type: real_harmonics, count: 3}
  scale: true
""",
    "bessel": FEW + "bases: {radial: {type: spherical_bessel, count: 5}, envelope: {type: polynomial, exponent: 3}}\n",
    "published-rules": """\
neighbors: {ties: strict}
graphs: {main: {symmetrize: lower_index}, quad: {tags: [1, 2]}}
bases: {collinear: {type: right_angle}}
heads: {forces: {type: direct}}
""",
    "mean-energy": FEW
    + """\
activation: siqu
neighbors: {ties: inclusive_next}
heads: {energy: {reduce: mean}, forces: {type: gradient, dynamic_scaling: true}}
read_out: {initialization: loggrid}
""",
    "smooth-ties": """\
neighbors: {ties: smooth, fade_width: 0.4}
graphs: {atom: {max_neighbors: 16}}
""",
    "two-of-a-kind": """\
activation: identity
graphs: {far: {cutoff: 4.5, max_neighbors: 12}}
interactions:
  quadruplet: null
  atom_edge: null
  edge_atom: null
  far: {type: atom_atom, graph: far, down: 3, up: 3}
  angles: {type: triplet, down: 3, up: 5}
""",
    "own-parts": """\
bases: {radial: {type: waves, count: 5, phase: 0.25}}
interactions:
  quadruplet: null
  atom_edge: null
  gated: {hidden: 4}
  near: {type: gated, hidden: 3, graph: main}
  mixed: {type: mixed, down: 3}
""",
    "imported-parts": """\
bases: {radial: {type: "user_parts:Waves", count: 5}}
interactions: {quadruplet: null, edge_atom: null, near: {type: "user_parts:Gated", hidden: 3, graph: main}}
""",
}
"""What each spec changes of `tiny.yaml`."""

EXTRA = {"waves": "Waves", "gated": "Gated", "mixed": "Mixed"}
"""The classes of `user_parts.py` that specs name, by that name."""

IN_FLOAT32 = ("all-interactions", "direct-forces", "gemnet-t")
"""Models that are written in float32 too."""


@dataclass(frozen=True, slots=True)
class CheckpointCase:
    """A published checkpoint and how it is converted."""

    file: str
    meaning: str
    ema: bool = False


CHECKPOINTS = {
    "converted-older": CheckpointCase("older.pt", "adsorption"),
    "converted-older-ema": CheckpointCase("older.pt", "adsorption", ema=True),
    "converted-newer": CheckpointCase("newer.pt", "total"),
    "converted-gemnet-t": CheckpointCase("gemnet_t.pt", "unknown"),
}
