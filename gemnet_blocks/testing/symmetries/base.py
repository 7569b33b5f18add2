"""The contract of every symmetry."""

from __future__ import annotations

from abc import ABC, abstractmethod

from gemnet_blocks.structures import Prediction, Structures


class Symmetry(ABC):
    """A transformation g of structures under which a prediction changes in a known way: model(g X) = g model(X).

    To write your own: a frozen dataclass of plain numbers with these two methods.
    """

    __slots__ = ()

    @abstractmethod
    def apply(self, structures: Structures) -> Structures:
        """The transformed structures g X; the given ones stay as they are.

        Raises:
            ValueError: the symmetry does not fit these structures.
        """

    @abstractmethod
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """What must be predicted for `apply(structures)`: g model(X).

        Args:
            prediction: the prediction for `structures`; its forces may be None.
            structures: X, as they were before.

        Raises:
            ValueError: the symmetry does not fit these structures.
        """
