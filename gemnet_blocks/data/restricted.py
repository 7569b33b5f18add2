"""Reading pickles of Open Catalyst's data sets without running what is in them.

A pickle is a program that may call anything it names. Here it can name the few things below and nothing else: shells of
the classes of PyTorch Geometric, tensors, numpy arrays and numbers, and ordered dictionaries. Everything else is
refused before it is imported.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any

import torch

from gemnet_blocks.data import restricted_pickle as stand_ins
from gemnet_blocks.data.restricted_pickle import RefusedPickleError

_SHELLS = (
    ("torch_geometric.data", "Data"),
    ("torch_geometric.data.data", "Data"),
    ("torch_geometric.data.data", "DataEdgeAttr"),
    ("torch_geometric.data.data", "DataTensorAttr"),
    ("torch_geometric.data.storage", "BaseStorage"),
    ("torch_geometric.data.storage", "GlobalStorage"),
)

_ALLOWED: dict[tuple[str, str], Any] = {
    **dict.fromkeys(_SHELLS, stand_ins.Shell),
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): stand_ins.Call(stand_ins.encode),
    ("torch._utils", "_rebuild_tensor"): stand_ins.Call(stand_ins.tensor),
    ("torch._utils", "_rebuild_tensor_v2"): stand_ins.Call(stand_ins.tensor),
    ("torch.storage", "_load_from_bytes"): stand_ins.Call(stand_ins.storage),
    ("torch", "Size"): torch.Size,
    ("numpy", "dtype"): stand_ins.Dtype,
    ("numpy", "ndarray"): None,  # an argument of _reconstruct
}
for _core in ("core", "_core"):  # before numpy 2, and since
    _ALLOWED |= {
        (f"numpy.{_core}.multiarray", "_reconstruct"): stand_ins.Call(stand_ins.empty_array),
        (f"numpy.{_core}.multiarray", "scalar"): stand_ins.Call(stand_ins.scalar),
        (f"numpy.{_core}.numeric", "_frombuffer"): stand_ins.Call(stand_ins.array_from_buffer),
    }


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise RefusedPickleError(f"it names {module}.{name}, which no data set of atoms needs") from None


def load_restricted(content: bytes) -> Any:
    """Read a pickle that names nothing but tensors, numbers and shells of PyTorch Geometric's objects.

    Raises:
        RefusedPickleError: it names something else, or is broken.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except RefusedPickleError:
        raise
    except Exception as error:  # broken pickles raise anything
        raise RefusedPickleError(f"it is no pickle that can be read: {type(error).__name__}: {error}") from None
