"""Potentials as models of TorchSim, which simulates many systems at once. Needs the extra `torchsim`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gemnet_blocks.calculator.ase import own_potential
from gemnet_blocks.graph.coinciding import coinciding_message, coinciding_pairs
from gemnet_blocks.graph.neighbor_list import NeighborSearch
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.verlet_list import KeptNeighbors
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.structures import UNKNOWN_TAG, Structures
from gemnet_blocks.util.charges import described, unread_of_batch

try:
    from torch_sim.models.interface import ModelInterface  # type: ignore[import-untyped]
except ImportError as missing:
    raise ImportError(
        "simulations with TorchSim need the package torch-sim-atomistic: pip install 'gemnet_blocks[torchsim]', "
        "with Python 3.11 or newer"
    ) from missing

if TYPE_CHECKING:
    from torch_sim.state import SimState  # type: ignore[import-untyped]


class GemNetTorchSimModel(ModelInterface):  # type: ignore[misc]  # TorchSim's types are not exported
    """Energies in eV, forces in eV/Å and stresses in eV/Å³ of a batch of systems.

    Energies are in float64 whatever the type of the weights.

    Args:
        potential: a potential, or a file that `save_potential` wrote. It is not changed.
        skin: neighbors are searched for this much farther than needed, in Å, and kept until an atom of any system has
            moved by half of it; 0: a search in every step. Changes no result.
        dtype: the floating-point type of the weights, or its name; None: as they are.
        device: where to compute; None: where the weights are.
        default_tag: the tag of all atoms, as TorchSim's states have none; None: models that need tags refuse them.
        compute_stress: whether stresses are computed of periodic systems; None: where the model has them.
        extra: custom parts, by the name that `type` gives them in the spec of a file.
        allow_imports: whether a file may import parts like `my_lab.blocks:GatedTriplet`; only for files that you trust.

    Charges and spins of systems are not read, and atoms of a system may coincide; a warning says so, once.

    Raises:
        StateError: the file cannot be read.
        NotImplementedError: stresses of a model that has none.
    """

    def __init__(
        self,
        potential: Potential | str | os.PathLike[str],
        skin: float = 0.5,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        default_tag: int | None = None,
        compute_stress: bool | None = None,
        *,
        extra: Mapping[str, type] | None = None,
        allow_imports: bool = False,
    ) -> None:
        super().__init__()
        self.potential = own_potential(potential, dtype, device, extra=extra, allow_imports=allow_imports)
        self.default_tag = default_tag
        self._device, self._dtype = self.potential.device, self.potential.dtype
        self._warned: set[str] = set()
        self._compute_forces = self.potential.model.forces is not None
        self.compute_stress = self.potential.has_stress if compute_stress is None else compute_stress
        search = self.potential.model.trunk.graphs.search
        self.search: NeighborSearch = KeptNeighbors(search, skin) if skin else search

    @property
    def compute_stress(self) -> bool:
        """Whether stresses are computed."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, compute_stress: bool) -> None:
        if compute_stress:
            try:
                self.potential.model.check_stress()
            except ValueError as error:
                raise NotImplementedError(str(error)) from error
        self._compute_stress = compute_stress

    @property
    def compute_forces(self) -> bool:
        """Whether forces are computed."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, compute_forces: bool) -> None:
        if compute_forces and self.potential.model.forces is None:
            raise NotImplementedError("this model has no forces")
        self._compute_forces = compute_forces

    @torch.no_grad()
    def forward(self, state: SimState | dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """Predict for all systems of a state, which stays as it is.

        Args:
            state: a state, or what makes one.

        Returns:
            energy (S,), and where computed, forces (N, 3) and stress (S, 3, 3); the latter of periodic systems only.

        Raises:
            StructureError: a system cannot be computed.
        """
        structures = self._structures(state)
        graphs = self.potential.model.trunk.graphs
        pairs = self.search(graphs.as_periodic(structures), graphs.reach)
        self._warn(state, structures, pairs)
        stress = self.compute_stress and bool(structures.periodic.all())
        prediction = self.potential(structures, stress, pairs)
        results = {"energy": prediction.energy}
        if self.compute_forces and prediction.forces is not None:
            results["forces"] = prediction.forces
        if prediction.stress is not None:
            results["stress"] = prediction.stress
        return results

    def _warn(self, state: SimState | dict[str, Any], structures: Structures, pairs: Pairs) -> None:
        """Warn of charges and spins that are not read and of coinciding atoms, once each instead of in each step."""
        messages: dict[str, str] = {}
        unread = unread_of_batch(state, len(structures), "system") if "unread" not in self._warned else {}
        if unread:
            messages["unread"] = described(unread, len(structures))
        if "coinciding" not in self._warned:
            found = coinciding_pairs(structures, pairs).by_structure(structures, "system {}".format)
            if found:
                messages["coinciding"] = coinciding_message(found, len(structures))
        for text in messages.values():
            warnings.warn(text, stacklevel=3)
        self._warned |= messages.keys()

    def _structures(self, state: SimState | dict[str, Any]) -> Structures:
        def of(name: str) -> Any:
            return state[name] if isinstance(state, dict) else getattr(state, name)

        device = self._device
        positions: Tensor = of("positions").to(device)
        numbers: Tensor = of("atomic_numbers").to(device).long()
        cells: Tensor = of("cell").to(device).reshape(-1, 3, 3).transpose(1, 2)  # their vectors are columns
        index = of("system_idx") if not isinstance(state, dict) or "system_idx" in state else None
        structures = Structures(
            positions=positions,
            numbers=numbers,
            structure=torch.zeros_like(numbers) if index is None else index.to(device).long(),
            cells=cells.contiguous(),
            periodic=torch.as_tensor(of("pbc"), device=device).expand(len(cells), 3),
            tags=torch.full_like(numbers, UNKNOWN_TAG if self.default_tag is None else self.default_tag),
            fixed=torch.zeros_like(numbers, dtype=torch.bool),
        )
        structures.validate()
        return structures
