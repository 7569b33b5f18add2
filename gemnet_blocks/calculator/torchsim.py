"""Potentials as models of TorchSim, which simulates many systems in one batch; needs the extra `torchsim`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gemnet_blocks.calculator.ase import prepared_potential
from gemnet_blocks.graph.coinciding import coinciding_message, coinciding_pairs
from gemnet_blocks.graph.neighbor_list import NeighborSearch
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.verlet_list import VerletList
from gemnet_blocks.potential.ensemble import Ensemble
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.structures import UNKNOWN_TAG, Structures
from gemnet_blocks.util.charges import described, states_of_batch, unread_of_batch

try:
    from torch_sim.models.interface import ModelInterface  # type: ignore[import-untyped]
except ImportError as missing:
    raise ImportError(
        "TorchSim needs the package torch-sim-atomistic: pip install 'gemnet_blocks[torchsim]', "
        "with Python 3.11 or newer"
    ) from missing

if TYPE_CHECKING:
    from torch_sim.state import SimState  # type: ignore[import-untyped]


class GemNetTorchSimModel(ModelInterface):  # type: ignore[misc]  # TorchSim's types are not exported
    """TorchSim model with energies in eV, forces in eV/Å and stresses in eV/Å³.

    Energies are always in float64. Charges and spins of systems are ignored, and coinciding atoms are accepted; each
    causes one warning.

    Args:
        potential: a potential, an ensemble, or a file that `save_potential` or `save_ensemble` wrote; it is not
            modified.
        skin: skin of the Verlet list in Å, typically 0.3 to 1: the neighbor search extends this far beyond the cutoff
            and is repeated when an atom of any system has moved by half of the skin; 0: search in every step. Results
            do not depend on it.
        dtype: floating-point type of the weights, or its name; None: the type that they have.
        device: device of the computation; None: the device of the weights.
        default_tag: tag of all atoms, since TorchSim's states do not have tags; None: models that need tags refuse
            the atoms.
        compute_stress: compute stresses of periodic systems; None: if the model can compute them.
        extra: custom components, by the name that `type` gives them in the spec of a file.
        allow_imports: let a file import components such as `my_lab.blocks:GatedTriplet`, which runs their code; only
            for files that you trust.

    Raises:
        StateError: the file cannot be read.
        NotImplementedError: stresses are requested from a model that cannot compute them.
    """

    def __init__(
        self,
        potential: Potential | Ensemble | str | os.PathLike[str],
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
        self.potential = prepared_potential(potential, dtype, device, extra=extra, allow_imports=allow_imports)
        self.default_tag = default_tag
        self._device, self._dtype = self.potential.device, self.potential.dtype
        self._warned: set[str] = set()
        self._compute_forces = self.potential.model.forces is not None
        self.compute_stress = self.potential.has_stress if compute_stress is None else compute_stress
        search = self.potential.model.backbone.graphs.search
        self.search: NeighborSearch = VerletList(search, skin) if skin else search

    @property
    def compute_stress(self) -> bool:
        """True if stresses are computed."""
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
        """True if forces are computed."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, compute_forces: bool) -> None:
        if compute_forces and self.potential.model.forces is None:
            raise NotImplementedError(
                "this model does not predict forces: set `heads: {forces: {type: gradient}}` in the spec and retrain"
            )
        self._compute_forces = compute_forces

    @torch.no_grad()
    def forward(self, state: SimState | dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """Predict energies, forces and stresses of all systems of a state.

        Args:
            state: a state, or a dictionary of its attributes; it is not modified.

        Returns:
            `energy` (S,) and, if they are computed, `forces` (N, 3) and, for periodic systems, `stress` (S, 3, 3);
            and further properties by the names of their heads.

        Raises:
            StructureError: a system cannot be computed.
        """
        structures = self._structures(state)
        graphs = self.potential.model.backbone.graphs
        pairs = self.search(graphs.as_periodic(structures), graphs.reach)
        self._warn(state, structures, pairs)
        stress = self.compute_stress and bool(structures.periodic.all())
        prediction = self.potential(structures, stress, pairs)
        results = {"energy": prediction.energy}
        if self.compute_forces and prediction.forces is not None:
            results["forces"] = prediction.forces
        if prediction.stress is not None:
            results["stress"] = prediction.stress
        return results | dict(prediction.properties)

    def _warn(self, state: SimState | dict[str, Any], structures: Structures, pairs: Pairs) -> None:
        """Warn of ignored charges and spins and of coinciding atoms, once each instead of in every step."""
        messages: dict[str, str] = {}
        reads = self.potential.model.reads
        unread = unread_of_batch(state, len(structures), "system", reads) if "unread" not in self._warned else {}
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
        cells: Tensor = (
            of("cell").to(device).reshape(-1, 3, 3).transpose(1, 2)
        )  # TorchSim stores lattice vectors as columns
        reads = self.potential.model.reads
        index = of("system_idx") if not isinstance(state, dict) or "system_idx" in state else None
        structures = Structures(
            positions=positions,
            numbers=numbers,
            structure=torch.zeros_like(numbers) if index is None else index.to(device).long(),
            cells=cells.contiguous(),
            periodic=torch.as_tensor(of("pbc"), device=device).expand(len(cells), 3),
            tags=torch.full_like(numbers, UNKNOWN_TAG if self.default_tag is None else self.default_tag),
            fixed=torch.zeros_like(numbers, dtype=torch.bool),
            **{
                name: torch.tensor(values, dtype=torch.long, device=device)
                for name, values in (states_of_batch(state, len(cells)) if reads else {}).items()
                if values is not None and name in reads
            },
        )
        structures.validate()
        return structures
