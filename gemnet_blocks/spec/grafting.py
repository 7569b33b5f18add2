"""Models that start from the weights of another model, with new parts that leave its function unchanged at first."""

from __future__ import annotations

from collections.abc import Sequence

from gemnet_blocks.errors import SpecError, first_few
from gemnet_blocks.model.block import Block, BlockDivisors, BlockLayers, BlockOptions, RepeatedBlock
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.grafting import Grafting, kept_divisors, streams_of
from gemnet_blocks.spec.build import build, build_shapes
from gemnet_blocks.spec.resolve import Spec


def graft(old: GemNet, spec: Spec, seed: int | None = None) -> tuple[GemNet, Spec]:
    """Build a larger model that computes the same as a given one.

    Weights that both models have are taken; the last weights of all new parts are zero. The new model has more
    interactions, blocks, feature streams, heads, atom updates or embeddings of charges. Energies, forces and stresses
    are equal up to rounding, and all new parts learn in training.

    >>> from ase.build import molecule
    >>> from gemnet_blocks import Structures
    >>> from gemnet_blocks.spec import build, graft, load_spec
    >>> small = load_spec("symmetric").patch({"interactions.quadruplet": None, "blocks.count": 1})
    >>> old, water = build(small, seed=0).double(), Structures.from_ase(molecule("H2O"))
    >>> model, spec = graft(old, load_spec("symmetric"), seed=1)
    >>> abs((model.double()(water).energy - old(water).energy).item()) < 1e-12
    True

    Args:
        old: the model whose weights are taken.
        spec: the architecture of the new model.
        seed: seed of the initial weights of new parts; None: draw from torch's global random state.

    Returns:
        The new model with the floating-point type of weights that `build` gives, and its spec: the given one, with the
        divisors of sums that leave the function unchanged.

    Raises:
        SpecError: a part of the old model has other shapes, options or layers in the new one.
    """
    spec = with_kept_divisors(spec, old)
    model = build(spec, seed=seed)
    grafting = Grafting(model, old)
    if grafting.problems:
        raise SpecError(f"the weights do not fit the spec: {first_few(sorted(grafting.problems), 10)}")
    grafting.take()
    grafting.graft()
    return model, spec


def with_kept_divisors(spec: Spec, old: GemNet) -> Spec:
    """Return a spec whose sums have the divisors of another model, so that new terms of zero change nothing.

    Args:
        spec: the architecture of a model that starts from the weights of `old`.
        old: the other model.
    """
    new, known = build_shapes(spec), streams_of(old)
    before = [block for block in old.backbone.blocks if isinstance(block, Block)]
    divisors = [
        kept_divisors(block, before[number] if number < len(before) else None, known)
        for number, block in enumerate(new.backbone.blocks)
        if isinstance(block, Block)
    ]
    return _with_divisors(spec, divisors) if any(divisors) else spec


def _with_divisors(spec: Spec, divisors: Sequence[BlockDivisors | None]) -> Spec:
    """Return a spec with the divisors of each block, as one description if all blocks are equal."""
    if isinstance(spec.blocks, BlockOptions) and all(one == divisors[0] for one in divisors):
        blocks: BlockOptions | tuple[RepeatedBlock, ...] = spec.blocks.model_copy(update={"divisors": divisors[0]})
        return spec.model_copy(update={"blocks": blocks})
    blocks = tuple(
        RepeatedBlock(**{**{name: getattr(block, name) for name in BlockLayers.model_fields}, "divisors": one})
        for block, one in zip(spec.block_layers, divisors, strict=True)
    )
    return spec.model_copy(update={"blocks": blocks})
