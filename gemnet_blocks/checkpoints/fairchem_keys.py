"""Names of weights in published checkpoints of GemNet-OC, GemNet-T, and the GemNet-Q and GemNet-T of 2021.

Each rule translates names of ours, for example `blocks.0.update.radial.weight` to
`int_blocks.0.atom_update.dense_rbf.linear.weight`. Several rules match a name if published models store the weight
under several names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import nn

from gemnet_blocks.basis.fourier_bessel import DegreeRadialBasis
from gemnet_blocks.model.readout import SummedOutputBlock

Rule = tuple[str, str]
"""A regular expression for a whole name of ours, and the published name."""

# suffixes of the published names of interactions: triplet, quadruplet, atom–edge, edge–atom
_PROJECTIONS = {"triplet": "tint", "quadruplet": "qint", "atom_edge": "aeint", "edge_atom": "eaint"}
_INTERACTIONS = {
    "triplet": "trip_interaction",
    "quadruplet": "quad_interaction",
    "atom_edge": "atom_edge_interaction",
    "edge_atom": "edge_atom_interaction",
    "atom_atom": "atom_interaction",
}
_RADIAL_FUNCTIONS = {"centers": "rbf.offset", "frequencies": "rbf.frequencies", "gamma_raw": "rbf.pregamma"}
_STACK = r"(?P<layer>\d+)\.(?P<rest>.+)"


def _basis_rules() -> list[Rule]:
    published = {
        "radial.main": ["radial_basis"],
        "radial.atom_edge": ["radial_basis_aeaint"],
        "radial.atom": ["radial_basis_aint"],
        "angular.main": ["cbf_basis_tint.radial_basis", "cbf_basis_aeint.radial_basis", "sbf_basis_qint.radial_basis"],
        "angular.quad": ["cbf_basis_qint.radial_basis"],
        "angular.atom_edge": ["cbf_basis_eaint.radial_basis"],
    }
    rules = []
    for ours, theirs in published.items():
        prefix = rf"geometry\.bases\.{re.escape(ours)}"
        for name in theirs:
            rules += [
                (rf"{prefix}\.(basis\.)?{ours}", f"{name}.{theirs}") for ours, theirs in _RADIAL_FUNCTIONS.items()
            ]
            rules.append((rf"{prefix}\.scale\.factor", f"{name}.scale_rbf.scale_factor"))
    return rules


def _shared_rules() -> list[Rule]:
    rules = [
        (r"geometry\.update_radial\.weight", "mlp_rbf_h.linear.weight"),
        (r"geometry\.output_radial\.weight", "mlp_rbf_out.linear.weight"),
        (r"geometry\.interactions\.atom_atom\.radial\.weight", "mlp_rbf_aint.weight"),
    ]
    for ours, theirs in _PROJECTIONS.items():
        prefix = rf"geometry\.interactions\.{ours}"
        circular = rf"{prefix}\.(triplet_sum\.)?circular"
        rules += [
            (rf"{prefix}\.radial\.weight", f"mlp_rbf_{theirs}.linear.weight"),
            (rf"{prefix}\.(triplet_sum\.|circular_)projection\.weight", f"mlp_cbf_{theirs}.weight"),
            (rf"{prefix}\.spherical_projection\.weight", f"mlp_sbf_{theirs}.weight"),
            (rf"{circular}\.(basis\.)?centers", f"cbf_basis_{theirs}.cosφ_basis.offset"),
            (rf"{circular}\.scale\.factor", f"cbf_basis_{theirs}.scale_cbf.scale_factor"),
            (rf"{prefix}\.spherical\.(basis\.)?circular\.centers", f"sbf_basis_{theirs}.circular_basis.offset"),
            (rf"{prefix}\.spherical\.scale\.factor", f"sbf_basis_{theirs}.scale_sbf.scale_factor"),
        ]
    return rules


def _interaction_rules() -> list[Rule]:
    rules = []
    for ours, theirs in _INTERACTIONS.items():
        prefix, to = rf"blocks\.(?P<block>\d+)\.interactions\.{ours}", rf"int_blocks.\g<block>.{theirs}"
        dense, bilinear, scale = {
            "quadruplet": ("dense_db", "mlp_sbf.bilinear", "scale_sbf_sum"),
            "atom_atom": ("", "bilinear", "scale_rbf_sum"),
        }.get(ours, ("dense_ba", "mlp_cbf.bilinear", "scale_cbf_sum"))
        up = "up_projection" if ours == "atom_atom" else "up_projection_ca"
        rules += [
            (rf"{prefix}\.message\.dense\.linear\.weight", f"{to}.{dense}.linear.weight"),
            (rf"{prefix}\.message\.radial\.weight", f"{to}.mlp_rbf.linear.weight"),
            (rf"{prefix}\.message\.scale\.factor", f"{to}.scale_rbf.scale_factor"),
            (rf"{prefix}\.(message\.)?down\.linear\.weight", f"{to}.down_projection.linear.weight"),
            (rf"{prefix}\.circular\.weight", f"{to}.mlp_cbf.linear.weight"),
            (rf"{prefix}\.circular_scale\.factor", f"{to}.scale_cbf.scale_factor"),
            (rf"{prefix}\.contraction\.linear\.weight", f"{to}.{bilinear}.linear.weight"),
            (rf"{prefix}\.contraction\.scale\.factor", f"{to}.{scale}.scale_factor"),
            (rf"{prefix}\.up\.linear\.weight", f"{to}.{up}.linear.weight"),
            (rf"{prefix}\.up\.same\.linear\.weight", f"{to}.up_projection_ca.linear.weight"),
            (rf"{prefix}\.up\.opposite\.linear\.weight", f"{to}.up_projection_ac.linear.weight"),
        ]
    return rules


def _block_rules() -> list[Rule]:
    prefix, to = r"blocks\.(?P<block>\d+)", r"int_blocks.\g<block>"
    stacks = {
        "before_skip": "layers_before_skip",
        "after_skip": "layers_after_skip",
        "atom_layers": "atom_emb_layers",
        "update.layers": "atom_update.layers",
        "concatenation_layers": "residual_m",
    }
    return [
        (r"atom_embedding\.table\.weight", "atom_emb.embeddings.weight"),
        (r"edge_embedding\.dense\.linear\.weight", "edge_emb.dense.linear.weight"),
        (rf"{prefix}\.dense\.linear\.weight", f"{to}.dense_ca.linear.weight"),
        (rf"{prefix}\.update\.radial\.weight", f"{to}.atom_update.dense_rbf.linear.weight"),
        (rf"{prefix}\.update\.scale\.factor", f"{to}.atom_update.scale_sum.scale_factor"),
        (rf"{prefix}\.concatenation\.dense\.linear\.weight", f"{to}.concat_layer.dense.linear.weight"),
        *(
            (rf"{prefix}\.{re.escape(ours)}\.{_STACK}", rf"{to}.{theirs}.\g<layer>.\g<rest>")
            for ours, theirs in stacks.items()
        ),
    ]


def _output_rules() -> list[Rule]:
    number, to = r"output_blocks\.(?P<block>\d+)", r"out_blocks.\g<block>"
    prefix = rf"{number}(\.features)?"
    return [
        (rf"{number}\.atoms\.linear\.weight", f"{to}.out_energy.linear.weight"),
        (rf"{number}\.edges\.linear\.weight", f"{to}.out_forces.linear.weight"),
        (rf"{prefix}\.update\.radial\.weight", f"{to}.dense_rbf.linear.weight"),
        (rf"{prefix}\.update\.scale\.factor", f"{to}.scale_sum.scale_factor"),
        (rf"{prefix}\.update\.layers\.{_STACK}", rf"{to}.layers.\g<layer>.\g<rest>"),
        (rf"{prefix}\.update\.layers\.{_STACK}", rf"{to}.seq_energy_pre.\g<layer>.\g<rest>"),
        (rf"{prefix}\.after_atom\.{_STACK}", rf"{to}.seq_energy2.\g<layer>.\g<rest>"),
        (rf"{prefix}\.edge_layers\.{_STACK}", rf"{to}.seq_forces.\g<layer>.\g<rest>"),
        (rf"{prefix}\.edge_radial\.weight", f"{to}.dense_rbf_F.linear.weight"),
        (rf"{prefix}\.edge_scale\.factor", f"{to}.scale_rbf_F.scale_factor"),
        (rf"read_out\.atoms\.layers\.{_STACK}", r"out_mlp_E.\g<layer>.\g<rest>"),
        (r"read_out\.atoms\.last\.linear\.weight", "out_energy.linear.weight"),
        (rf"read_out\.edges\.layers\.{_STACK}", r"out_mlp_F.\g<layer>.\g<rest>"),
        (r"read_out\.edges\.last\.linear\.weight", "out_forces.linear.weight"),
    ]


_RULES = [
    (re.compile(pattern), name)
    for pattern, name in _basis_rules() + _shared_rules() + _interaction_rules() + _block_rules() + _output_rules()
]
# the layers of residual blocks have names here and numbers in published models
_RESIDUAL = {".first.": ".dense_mlp.0.", ".second.": ".dense_mlp.1."}
GEMNET_T = "gemnet_t"
"""The suffix that selects the names of GemNet-T, which has triplet interactions only."""
_GEMNET_T = {"_tint": "3", "mlp_cbf.bilinear.linear.": "mlp_cbf.", ".seq_energy_pre.": ".seq_energy."}
GEMNET_2021 = "gemnet_2021"
"""The suffix that selects the names of GemNet-Q, -dQ, -T and -dT of 2021, together with `GEMNET_T`."""
_GEMNET_2021 = {
    **_GEMNET_T,
    "_qint": "4",
    "mlp_sbf.bilinear.linear.": "mlp_sbf.",
    "mlp_cbf4.weight": "mlp_cbf4.linear.weight",
    "radial_basis.rbf.": "rbf_basis.",
    "scale_rbf_F": "scale_rbf",
}
_NOT_IN_GEMNET_2021 = re.compile(
    r".*interactions\.(?!triplet\.|quadruplet\.).*|.*\.(atom_layers|edge_radial)\..*|geometry\..*\.scale\.factor"
)
_NOT_IN_GEMNET_T = re.compile(r".*interactions\.(?!triplet\.).*|.*\.atom_layers\..*|geometry\..*\.scale\.factor")
_LINEAR = ".linear.weight"
_OLDER_SCALES = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"int_blocks\.(\d+)\.trip_interaction\.scale_rbf", "TripInteraction_{}_had_rbf"),
        (r"int_blocks\.(\d+)\.trip_interaction\.scale_cbf_sum", "TripInteraction_{}_sum_cbf"),
        (r"int_blocks\.(\d+)\.quad_interaction\.scale_rbf", "QuadInteraction_{}_had_rbf"),
        (r"int_blocks\.(\d+)\.quad_interaction\.scale_cbf", "QuadInteraction_{}_had_cbf"),
        (r"int_blocks\.(\d+)\.quad_interaction\.scale_sbf_sum", "QuadInteraction_{}_sum_sbf"),
        (r"int_blocks\.(\d+)\.atom_update\.scale_sum", "AtomUpdate_{}_sum"),
        (r"out_blocks\.(\d+)\.scale_sum", "OutBlock_{}_sum"),
        (r"out_blocks\.(\d+)\.scale_rbf(_F)?", "OutBlock_{}_had"),
    )
]


def published_names(key: str, suffixes: Collection[str]) -> list[str]:
    """Translate a state-dict key to all its published names; the list is empty if there are none."""
    key, names = _without_prefixes(key), []
    other_names: Mapping[str, str] = {}
    if GEMNET_T in suffixes:
        of_2021 = GEMNET_2021 in suffixes
        if (_NOT_IN_GEMNET_2021 if of_2021 else _NOT_IN_GEMNET_T).fullmatch(key):
            return []
        other_names = _GEMNET_2021 if of_2021 else _GEMNET_T
    replaced = {**_RESIDUAL, **other_names}
    for pattern, replacement in _RULES:
        match = pattern.fullmatch(key)
        if match and _belongs(match.expand(replacement), suffixes):
            published = match.expand(replacement)
            for ours, theirs in replaced.items():
                published = published.replace(ours, theirs)
            names.append(published)
            if GEMNET_2021 in suffixes and published.endswith(_LINEAR):  # stored twice
                names.append(f"{published.removesuffix(_LINEAR)}.weight")
    return names


def scale_names(key: str, suffixes: Collection[str]) -> list[str]:
    """Translate the key of a scale factor to its names in scale files, including the older names of GemNet-T."""
    names = [name.removesuffix(".scale_factor") for name in published_names(key, suffixes)]
    for pattern, older in _OLDER_SCALES if GEMNET_T in suffixes else ():
        for match in filter(None, map(pattern.fullmatch, tuple(names))):
            # older files count interaction blocks from one and output blocks from zero
            names.append(older.format(int(match[1]) + ("Out" not in older)))
    return names


def shared_suffixes(module: nn.Module) -> set[str]:
    """Return the suffixes in the published names of shared bases, one per interaction, and those of other models.

    `GEMNET_T` is among them for summed readouts, and with it `GEMNET_2021` if radial functions depend on the degree.
    """
    keys = {_without_prefixes(key) for key in module.state_dict()}
    found = {
        suffix
        for name, suffix in _PROJECTIONS.items()
        if any(key.startswith(f"geometry.interactions.{name}.") for key in keys)
    }
    if any(isinstance(part, SummedOutputBlock) for part in module.modules()):
        found.add(GEMNET_T)
        if any(isinstance(part, DegreeRadialBasis) for part in module.modules()):
            found.add(GEMNET_2021)
    return found


def unused_prefixes(module: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of weights that published models store but never use: a basis without its interaction."""
    suffixes = shared_suffixes(module)
    return ("radial_basis_aeaint.",) if "eaint" in suffixes and "aeint" not in suffixes else ()


def _belongs(name: str, suffixes: Collection[str]) -> bool:
    """Check that the published name of a basis belongs to an interaction of the model."""
    head = name.split(".", 1)[0]
    return not head.startswith(("cbf_basis_", "sbf_basis_")) or head.rsplit("_", 1)[1] in suffixes


def _without_prefixes(key: str) -> str:
    for prefix in ("model.", "trunk."):
        key = key.removeprefix(prefix)
    return key
