"""The repulsion of nuclei at short range, which is added to the energies of atoms."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from ase.data import covalent_radii
from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.basis.envelopes import Polynomial
from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.util.weights import ordinary_tensors

COULOMB = 14.399645
"""e²/(4πε₀) in eV Å."""

SCREENING = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
"""The amplitudes and rates of the four exponentials of the universal screening function."""

SCREENING_LENGTH = 0.46850
"""0.88534 Bohr radii in Å, the screening length of charges with Z_a^0.23 + Z_b^0.23 = 1."""

REACH = 0.8
"""The part of a covalent radius up to which atoms repel each other; double bonds are longer. Hydrogen, which has single
bonds alone, takes its whole radius."""

SOFTENING = 0.01
"""Distance in Å below which the repulsion levels off, so that energies of coincident atoms are finite."""


@final
class Zbl(nn.Module):
    r"""The universal repulsion of two nuclei after Ziegler, Biersack and Littmark, below the length of bonds.

    $$e_t = \frac{1}{2s} \sum_{s\to t} w_{st}\, u\!\left(\frac{d}{R}\right) \frac{e^2}{4\pi\epsilon_0}
    \frac{Z_s Z_t}{d} \phi\!\left(\frac{d}{a}\right),\qquad
    a = \frac{0.4685\ \text{Å}}{Z_s^{0.23} + Z_t^{0.23}},$$

    with the screening function φ, a sum of four exponentials, and the weights w of edges, if they have any. The
    polynomial envelope u with the exponent 6 brings the repulsion to zero at R, which is the sum of 0.8 times the
    covalent radius of each atom, and of that of hydrogen in full, or the cutoff of the edges if that is smaller. So
    bonds are left to the network, for which a repulsion that varies rapidly along them would be hard to compensate, and
    nearer atoms repel each other, whatever the network makes of distances that it was not trained on. Two carbon atoms
    at 1 Å have 15 eV without the envelope. Below 0.01 Å the repulsion levels off: d is √(d² + (0.01 Å)²).

    Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Solids, 1985; covalent radii of Cordero et al.,
    Dalton Trans. 2008, 2832.

    Args:
        cutoff: the cutoff of the edges in Å.
        sums: how sums are computed.

    Attributes:
        scale: s, the unit of the model's energies in eV, see `Potential`; 1 for a model on its own.
    """

    scale: Tensor
    radii: Tensor

    def __init__(self, cutoff: float, sums: Sums) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.sums = sums
        self.envelope = Polynomial(exponent=6)
        picometers = [
            round(100 * (1 if number == 1 else REACH) * radius) for number, radius in enumerate(covalent_radii)
        ]
        # integers are exact in every floating-point type that the model is converted to
        self.register_buffer("radii", torch.tensor(picometers), persistent=False)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64), persistent=False)

    def in_units_of(self, scale: float) -> None:
        """Set the unit of the model's energies in eV."""
        with ordinary_tensors():
            self.scale = torch.full_like(self.scale, scale)

    def forward(self, edges: EdgeSet, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, " atoms"]:
        """Compute half of the repulsion of each atom with its neighbors.

        Args:
            edges: edges in both directions.
            numbers: the atomic numbers of all atoms.
        """
        d = (edges.distance.square() + SOFTENING**2).sqrt()
        charge = numbers.to(d.dtype)
        radius = self.radii.index_select(0, numbers).to(d.dtype) / 100

        def at_ends(values: Tensor) -> tuple[Tensor, Tensor]:
            return values.index_select(0, edges.source), values.index_select(0, edges.target)

        (z_s, z_t), (p_s, p_t), (r_s, r_t) = map(at_ends, (charge, charge**0.23, radius))
        x = d * (p_s + p_t) / SCREENING_LENGTH
        screened = torch.stack([amplitude * torch.exp(-rate * x) for amplitude, rate in SCREENING]).sum(dim=0)
        reach = (r_s + r_t).clamp(max=self.cutoff)
        repulsion = (COULOMB / 2) * z_s * z_t / d * screened * self.envelope(edges.distance / reach)
        if edges.weight is not None:
            repulsion = repulsion * edges.weight
        return self.sums.by_index(repulsion, edges.target, edges.atom_count) / self.scale.to(d.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Zbl:
        """Move the module, but keep the scale in float64."""
        scale = self.scale
        super()._apply(fn, recurse)
        self.scale = scale.to(self.scale.device)
        return self
