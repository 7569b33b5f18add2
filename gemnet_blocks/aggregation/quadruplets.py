"""Factorized sums over quadruplets: two sums over triplets, by circular harmonics around the middle edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.aggregation.angular_sum import WeightedSum
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.aggregation.triplets import Functions, Parts, SumInParts, Weights, divided, joined
from gemnet_blocks.basis.closed import closed_functions
from gemnet_blocks.basis.spherical import AzimuthalSeries
from gemnet_blocks.geometry.angles import CollinearRule, dot
from gemnet_blocks.graph.padded import AtomGroup, Chains
from gemnet_blocks.util.derivatives import is_known_to_be_empty
from gemnet_blocks.util.precision import Products
from gemnet_blocks.util.recompute import STORED, Evaluation


def frames(direction: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges 3 3"]:
    """Build a frame u, |u| e₁, |u| e₂ for each edge, differentiably: e₁ and e₂ rotate with the edge.

    Directions of nearly coinciding atoms are shorter than 1; the frame of a zero direction is zero.
    """
    square = (direction * direction).sum(dim=-1, keepdim=True)
    defined = square > torch.finfo(direction.dtype).tiny ** 0.5
    length = torch.where(defined, square, torch.ones_like(square)).sqrt()
    unit = torch.where(defined, direction, _axis(direction, torch.zeros_like(square[:, 0]).long())) / length
    # the axis that is least along the edge, so that its perpendicular part is long
    axis = _axis(direction, unit.detach().abs().argmin(dim=-1))
    first = axis - (axis * unit).sum(dim=-1, keepdim=True) * unit
    first = first / (first * first).sum(dim=-1, keepdim=True).sqrt()
    second = torch.linalg.cross(unit, first)
    length = torch.where(defined, length, torch.zeros_like(length))
    return torch.stack([direction, first * length, second * length], dim=1)


def _axis(like: Float[Tensor, "edges 3"], number: Tensor) -> Float[Tensor, "edges 3"]:
    # one_hot would wait for the device to check its input
    return (number[:, None] == torch.arange(3, device=like.device)).to(like.dtype)


def harmonics(
    x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"], count: int, rule: CollinearRule, side: int
) -> Float[Tensor, "multiples 2 *shape"]:
    r"""Evaluate (cos jψ, sin jψ) for j < count of atoms in the plane perpendicular to a middle edge.

    They are the real and imaginary parts of the powers of z, to which the rule for collinear atoms maps x + iy. A rule
    with a gate g, 0 for collinear atoms and 1 for others, sets θ = π/2 for collinear ones: z⁰ is g, and one more pair
    (1, ∓g) follows, so that

    $$\mathrm{Re}(z_c^j \bar z_d^j) + (1 - g_c g_d) \cos(j\pi/2)$$
    is the sum over all pairs with the coefficients of `with_gate`.

    Args:
        x: u_ca · |u_ba| e₁.
        y: u_ca · |u_ba| e₂.
        count: the number of multiples j.
        rule: the rule for collinear atoms.
        side: -1 for c, 1 for d; sums contain the product of both.
    """
    plane = rule.in_plane(x, y)
    powers = closed_functions(
        partial(_powers, count),
        partial(_stacked_powers, count),
        _slopes_of_powers(count, x),
        plane.real,
        plane.imaginary,
    ).unflatten(0, (count, 2))
    if plane.gate is None:
        return powers
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    before, after = torch.stack([plane.gate, zero]), torch.stack([one, side * plane.gate])
    return torch.cat([before[None], powers[1:], after[None]])


def _powers(count: int, x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"]) -> Float[Tensor, "twice_count *shape"]:
    """Compute the real and imaginary parts of z⁰, z¹, …, doubling the number of known powers at a time."""
    powers = x.new_empty(count, 2, *x.shape)
    powers[0, 0].fill_(1)
    powers[0, 1].zero_()
    if count > 1:
        torch.stack([x, y], out=powers[1])
    known = 2
    while known < count:
        real, imaginary = powers[known - 1].unbind(0)
        factors, products = powers[1 : 1 + count - known][: known - 1], powers[known : 2 * known - 1]
        torch.mul(factors, real, out=products)
        products[:, 0].addcmul_(factors[:, 1], imaginary, value=-1)
        products[:, 1].addcmul_(factors[:, 0], imaginary)
        known += len(products)
    return powers.flatten(0, 1)


def _stacked_powers(
    count: int, x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"]
) -> Float[Tensor, "twice_count *shape"]:
    powers = [torch.ones_like(x), torch.zeros_like(x)]
    for _ in range(1, count):
        real, imaginary = powers[-2:]
        powers += [real * x - imaginary * y, real * y + imaginary * x]
    return torch.stack(powers)


def _slopes_of_powers(count: int, like: Tensor) -> Float[Tensor, "2 twice_count twice_count"]:
    """Write ∂z^j/∂x = j z^{j-1} and ∂z^j/∂y = i j z^{j-1} as linear combinations of real and imaginary parts."""
    place = torch.arange(2 * count, device=like.device)
    multiple, part = place // 2, place % 2
    below = (multiple[:, None] - 1 == multiple) * multiple[:, None]
    same, other = part[:, None] == part, part[:, None] != part
    return torch.stack([below * same, below * other * (2 * part[:, None] - 1)]).to(like.dtype)


def with_gate(coefficients: Float[Tensor, "multiples functions"]) -> Float[Tensor, "multiples_plus_1 functions"]:
    """Append the value of each function at θ = π/2 to the coefficients of cos jθ, for rules with a gate."""
    at_right_angle = coefficients[0::4].sum(dim=0) - coefficients[2::4].sum(dim=0)
    return torch.cat([coefficients, at_right_angle[None]])


@dataclass(frozen=True, slots=True, eq=False)
class QuadrupletFunctions:
    """The directions and functions that make up the weights of a sum over quadruplets.

    Attributes:
        direction: directions u_ca of the outer edges, and u_db.
        middle: directions u_ba.
        radial: radial functions of the outer edges.
        projection: from radial × spherical functions to embeddings, (radial, k, functions).
        series: the spherical basis.
        collinear: the rule for collinear atoms.
    """

    direction: Float[Tensor, "edges 3"]
    middle: Float[Tensor, "middle_edges 3"]
    radial: Float[Tensor, "edges radial"]
    projection: Float[Tensor, "radial size functions"]
    series: AzimuthalSeries
    collinear: CollinearRule


@final
class QuadrupletSumPerAtom(SumInParts):
    r"""The sum over all quadruplets c→a←b←d without a list of them.

    With a basis of products P_l(cos φ_cab) Σ_j C_jk cos jθ_cabd, and e_j = (cos jψ, sin jψ) of azimuths ψ around b→a,

    $$T_{ba}[j, f] = \sum_d e_j(ψ_d)\, y_{dba}[f], \qquad
    S_{ca}[j, l, f] = \sum_b P_l(\cos φ_{cab})\, e_j(ψ_c) \cdot T_{ba}[j, f], \qquad
    X_{ca}[k, f] = \sum_{jl} G_{ca}[k, j, l]\, S_{ca}[j, l, f],$$
    where G has the coefficients C folded into the projection. T needs the triplets d→b→a, S those c→a←b. The terms
    with d = c, which T contains, are subtracted: Σ_b U_ca[k, b] y_cba[f] with U the same functions of θ = 0.

    Args:
        chains: both kinds of triplets.
        functions: the directions and functions that make up the weights.
        sums: how the sum over d is computed and matrices are multiplied.
        evaluation: how the parts are evaluated.
    """

    def __init__(
        self, chains: Chains, functions: QuadrupletFunctions, sums: Sums, evaluation: Evaluation = STORED
    ) -> None:
        groups = chains.around_target
        self._groups = groups.groups
        self._size = functions.projection.shape[1]
        frame = frames(functions.middle)
        series, rule = functions.series, functions.collinear
        coefficients = with_gate(series.coefficients) if rule.gated else series.coefficients
        self._multiples = coefficients.shape[0]
        at_source = _at_source(chains, functions.direction, frame, series.count, rule)
        self._to_middle = WeightedSum(
            at_source.to(functions.radial.dtype),
            torch.arange(at_source.shape[0], device=at_source.device),
            chains.around_source.by_outer,
            sums.products,
            evaluation,
        )
        self._inner = groups.inner
        self._inner_sizes = [group.inner.numel() for group in groups.groups]
        closing = joined([self._inner[:0], *(closing.flatten() for closing in chains.closing)])
        self._closing = closing.clamp(min=0)
        self._closing_sizes = [closing.numel() for closing in chains.closing]
        if is_known_to_be_empty(at_source):  # without triplets d→b→a there is nothing to gather
            super().__init__([], torch.zeros_like(groups.row_of_edge))
            self._groups = ()
            return
        outer, outer_sizes = groups.outer, [group.outer.numel() for group in groups.groups]
        parts = divided(
            evaluation,
            groups.groups,
            (functions.direction.index_select(0, outer), outer_sizes),
            (functions.radial.index_select(0, outer), outer_sizes),
            (frame.index_select(0, self._inner), self._inner_sizes),
            (at_source.index_select(0, self._closing), self._closing_sizes),
            (closing >= 0, self._closing_sizes),
        )
        shared = _Shared(_folded(functions.projection, coefficients), series, rule, sums.products)
        super().__init__([_Quadruplets(shared, some, *rows) for some, rows in parts], groups.row_of_edge, evaluation)

    @override
    def row_size(self, values: Float[Tensor, "inputs features"]) -> int:
        return self._size * values.shape[1]

    @override
    def gather(self, values: Float[Tensor, "inputs features"]) -> list[tuple[Tensor, ...]]:
        # T of the middle edges into each atom, and the values to be subtracted
        if not self._groups:
            return []
        features = values.shape[1]
        at_middle = self._to_middle(values).index_select(0, self._inner).split(self._inner_sizes)
        closed = values.index_select(0, self._closing).split(self._closing_sizes)
        return [
            (
                # (atoms, middle, j, ±, f) → (atoms · j, ± · middle, f)
                t.view(*group.inner.shape, self._multiples, 2, features)
                .permute(0, 2, 3, 1, 4)
                .reshape(-1, 2 * group.inner.shape[1], features),
                y.view(-1, group.inner.shape[1], features),
            )
            for group, t, y in zip(self._groups, at_middle, closed, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """The data that all parts share.

    Attributes:
        projection: from radial functions to G.
        series: the spherical basis.
        collinear: the rule for collinear atoms.
        products: how matrices are multiplied.
    """

    projection: Float[Tensor, "radial size multiples polar"]
    series: AzimuthalSeries
    collinear: CollinearRule
    products: Products

    @property
    def multiples(self) -> int:
        """The number of multiples j of the dihedral angle."""
        return self.projection.shape[2]


@final
class _Quadruplets(Parts):
    """The quadruplets of some groups of atoms a.

    Args:
        shared: the data that all parts share.
        groups: the edges into these atoms.
        outer: directions u_ca.
        radial: radial functions of the outer edges.
        frame: the frames of the middle edges.
        at_source: e_j(ψ_d) of each pair c→a, b→a with a closed chain, c = d.
        closed: the mask of the pairs with a closed chain.
    """

    def __init__(
        self,
        shared: _Shared,
        groups: Sequence[AtomGroup],
        outer: Tensor,
        radial: Tensor,
        frame: Tensor,
        at_source: Tensor,
        closed: Tensor,
    ) -> None:
        self._shared, self._groups = shared, groups
        self._outer, self._radial, self._frame = outer, radial, frame
        self._at_source, self._closed = at_source, closed
        self._outer_sizes = [group.outer.numel() for group in groups]
        self._pairs = [group.pair.numel() for group in groups]

    @override
    def functions(self) -> list[Functions]:
        # V = P_l(cos φ_cab) e_j(ψ_c), and P_l(cos φ_cab) e_j(ψ_c)·e_j(ψ_d) with d = c
        found: list[Functions] = []
        sources, masks = self._at_source.split(self._pairs), self._closed.split(self._pairs)
        for group, (polar, azimuthal), at_source, closed in zip(
            self._groups, self._at_target(), sources, masks, strict=True
        ):
            v = (polar[:, None, None] * azimuthal[..., None, :]).flatten(4).flatten(2, 3).flatten(0, 1)
            of_closed = _of_closed(polar, azimuthal, at_source, closed.view(group.pair.shape))
            found.append((v.to(self._radial.dtype), of_closed.to(self._radial.dtype)))
        return found

    def _at_target(
        self,
    ) -> Iterator[tuple[Float[Tensor, "atoms middle polar outer"], Float[Tensor, "atoms multiples two middle outer"]]]:
        """Yield P_l(cos φ_cab), zero for c = b, and e_j(ψ_c) of the triplets c→a←b, outer edges in the last axis."""
        series, in_frame = self._shared.series, []
        frames = self._frame.split([group.inner.numel() for group in self._groups])
        for group, u_ca, frame in zip(self._groups, self._outer.split(self._outer_sizes), frames, strict=True):
            atoms, middle = group.inner.shape
            coordinates = frame.view(atoms, 3 * middle, 3) @ u_ca.view(atoms, -1, 3).transpose(1, 2)
            in_frame.append(coordinates.unflatten(1, (middle, 3)).movedim(2, 0).flatten(1))
        cosine, x, y = joined(in_frame, axis=1).unbind(0)
        polar = series.polar(cosine).split(self._pairs)
        azimuthal = harmonics(x, y, series.count, self._shared.collinear, side=-1).split(self._pairs, dim=-1)
        for group, p, e in zip(self._groups, polar, azimuthal, strict=True):
            pair = group.pair.transpose(1, 2)
            p = (p.unflatten(0, pair.shape) * pair[..., None]).transpose(2, 3).contiguous()
            yield p, e.unflatten(-1, pair.shape).permute(2, 0, 1, 3, 4).contiguous()

    @override
    def weights(self, functions: Sequence[Functions]) -> list[Weights]:
        # V, G and U
        product = self._shared.products.product
        projected = product(self._radial, self._shared.projection.flatten(1)).split(self._outer_sizes)
        found: list[Weights] = []
        for (v, of_closed), rows in zip(functions, projected, strict=True):
            g = rows.unflatten(-1, (-1, of_closed.shape[1]))
            found.append((v, g, product(g, of_closed)))
        return found

    @override
    def sum(self, number: int, weights: Weights, *gathered: Tensor) -> Float[Tensor, "rows size_features"]:
        # G V T - U y
        v, projected, u = weights
        t, closed = gathered
        (atoms, outer), features = self._groups[number].outer.shape, t.shape[2]
        products = self._shared.products
        s = products.product(v.transpose(1, 2), t)
        # (atoms · j, l · outer, f) → (atoms · outer, j · l, f)
        s = s.view(atoms, -1, outer, features).transpose(1, 2).reshape(atoms * outer, -1, features)
        return products.subtracted(products.product(projected, s), u, closed).flatten(1)


def _folded(
    projection: Float[Tensor, "radial size functions"], coefficients: Float[Tensor, "multiples azimuthal"]
) -> Float[Tensor, "radial size multiples polar"]:
    """Fold the coefficients of the azimuthal functions into the projection, for products with cos jθ."""
    by_angle = projection.unflatten(2, (-1, coefficients.shape[1]))
    return (by_angle @ coefficients.T.to(projection.dtype)).transpose(2, 3).contiguous()


def _at_source(
    chains: Chains, direction: Tensor, frame: Tensor, count: int, rule: CollinearRule
) -> Float[Tensor, "source_triplets twice_multiples"]:
    """Evaluate e_j(ψ_d) of the triplets d→b→a."""
    triplets = chains.around_source
    u_db = direction.index_select(0, triplets.inner)
    _, e_1, e_2 = frame.index_select(0, triplets.outer).unbind(1)
    return harmonics(dot(u_db, e_1), dot(u_db, e_2), count, rule, side=1).flatten(0, 1).t()


def _of_closed(
    polar: Float[Tensor, "atoms middle polar outer"],
    azimuthal: Float[Tensor, "atoms multiples two middle outer"],
    at_source: Float[Tensor, "closed twice_multiples"],
    closed: Bool[Tensor, "atoms outer middle"],
) -> Float[Tensor, "outer_edges multiples_polar middle"]:
    """Evaluate P_l(cos φ_cab) e_j(ψ_c)·e_j(ψ_d) with d = c; U_ca[k, b] is the sum of their products with G."""
    at_target = azimuthal.permute(0, 4, 1, 2, 3)
    at_source = at_source.view(*closed.shape, *azimuthal.shape[1:3]).permute(0, 1, 3, 4, 2)
    product = (at_target * at_source).sum(dim=3) * closed[:, :, None]
    functions = product[:, :, :, None] * polar.permute(0, 3, 2, 1)[:, :, None]
    return functions.flatten(2, 3).flatten(0, 1)
