"""Assertions about the feature streams of models: equivariance under rotations, reflections and other symmetries."""

from __future__ import annotations

import torch
from torch import Tensor

from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.layers.irreps import StreamPlace
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.readout import BackboneOutput
from gemnet_blocks.model.streams import InitialStream
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions.comparison import Tolerance, as_tolerance, position_of_largest
from gemnet_blocks.testing.symmetries import Symmetry


def has_streams(model: object) -> bool:
    """Return whether a model has feature streams besides the embeddings of atoms and edges."""
    return isinstance(model, GemNet) and len(model.backbone.streams) > 0


def assert_stream_symmetry(
    model: GemNet, structures: Structures, symmetry: Symmetry, tolerance: Tolerance | float | None = None
) -> None:
    """Assert that all feature streams after the last block are equivariant: x(g X) = D(g) x(X).

    D are e3nn's matrices of the irreps of the stream, parity included. Streams on edges are compared by their sum over
    the edges into each atom, which does not depend on the order of edges.

    Args:
        model: a model with feature streams.
        structures: structures X.
        symmetry: symmetry g, which keeps the number of atoms, such as a `Rotation`.
        tolerance: tolerance relative to the largest feature of the batch; None: the tolerance of its type.

    Raises:
        AssertionError: a stream differs; the message names the stream and the symmetry.
    """
    before, after = features(model, structures), features(model, symmetry.apply(structures))
    for name, irreps in irreps_of(model, before).items():
        expected = symmetry.expected_features(before[name], irreps, structures)
        _compare(name, after[name], expected, symmetry, tolerance)


def irreps_of(model: GemNet, found: dict[str, Tensor]) -> dict[str, str]:
    """Return the irreps of all streams by name; the embeddings of atoms and edges are scalars."""
    irreps = {name: f"{found[name].shape[1]}x0e" for name in ("atoms", "edges") if found[name].shape[1]}
    for name, initial in model.backbone.streams.items():
        assert isinstance(initial, InitialStream)
        irreps[name] = initial.stream.irreps
    return irreps


def features(model: GemNet, structures: Structures) -> dict[str, Tensor]:
    """Return all streams after the last block, with a row for each atom."""
    with torch.no_grad():
        output: BackboneOutput = model.backbone(structures, model.topology(structures))
    embeddings, edges = output.embeddings, output.main.edges
    found = {"atoms": embeddings.atoms, "edges": _per_atom(embeddings.edges, "edges", edges, structures)}
    for name, initial in model.backbone.streams.items():
        assert isinstance(initial, InitialStream)
        found[name] = _per_atom(embeddings.streams[name], initial.stream.on, edges, structures)
    return found


def _per_atom(x: Tensor, on: StreamPlace, edges: EdgeSet, structures: Structures) -> Tensor:
    if on == "edges":
        return x.new_zeros(edges.atom_count, x.shape[1]).index_add(0, edges.target, x)
    return x if on == "atoms" else x.index_select(0, structures.structure)


def _compare(
    name: str, actual: Tensor, expected: Tensor, symmetry: Symmetry, tolerance: Tolerance | float | None
) -> None:
    if not actual.numel():
        return
    deviation, size = (actual - expected).abs(), float(expected.abs().max())
    limit = as_tolerance(tolerance, "symmetry of streams", actual.dtype).limit(size)
    if not float(deviation.max()) <= limit:
        atom, feature = position_of_largest(deviation)
        raise AssertionError(
            f"the stream {name!r} is not equivariant: {symmetry!r} changes feature {feature} of atom {atom} to "
            f"{float(actual[atom, feature]):.6g} instead of {float(expected[atom, feature]):.6g}; the tolerance is "
            f"{limit:.1e}, the largest in the batch {size:.2e}"
        )
