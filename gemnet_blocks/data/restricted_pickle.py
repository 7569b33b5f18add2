"""Reading of the pickles in Open Catalyst's datasets without running their code.

Inert classes and functions, which pickles cannot change, replace those that the pickles name.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gemnet_blocks.data import restricted_pickle as stand_ins
from gemnet_blocks.errors import told


class RefusedPickleError(ValueError):
    """A pickle that names an unknown class or function, or is damaged."""


class _Sealed(type):
    """Metaclass of classes whose attributes a pickle cannot change."""

    def __setattr__(cls, name: str, value: object) -> NoReturn:
        raise RefusedPickleError(f"it changes a class ({name})")


class Shell(metaclass=_Sealed):
    """Replaces an object of PyTorch Geometric, of any version: its values without its methods."""

    __slots__ = ("state",)
    state: dict[Any, Any]

    def __new__(cls, *_: Any) -> Shell:
        made = super().__new__(cls)
        made.state = {}
        return made

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, Mapping):
            raise RefusedPickleError("the state of an object is not a mapping")
        self.state = dict(state)

    def attributes(self) -> dict[str, Any]:
        """The values by name, which PyTorch Geometric 2 keeps in a store, and older versions in the object itself."""
        store = self.state.get("_store")
        values = store.state.get("_mapping") if isinstance(store, Shell) else self.state
        return plain(values) if isinstance(values, Mapping) else {}


def plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The numbers and texts among some values, tensors as arrays."""
    found = {str(key): value.value if isinstance(value, Held) else value for key, value in values.items()}
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, (np.ndarray, np.generic, str, int, float, list, tuple))
    }


class Held(metaclass=_Sealed):
    """An array that a pickle creates and cannot change."""

    __slots__ = ("value",)
    value: npt.NDArray[Any]

    def __init__(self, value: npt.NDArray[Any] | None = None) -> None:
        if value is not None:
            self.value = value

    def __setstate__(self, state: Any) -> None:
        """Set version, shape, type, order and content, as for numpy's arrays, once."""
        if hasattr(self, "value") or not isinstance(state, tuple) or len(state) != 5:
            raise RefusedPickleError("an array in it is broken")
        _, shape, dtype, fortran, content = state
        self.value = array(content, dtype, shape, bool(fortran))


class Storage(metaclass=_Sealed):
    """The numbers of a tensor in one dimension."""

    __slots__ = ("numbers",)

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers

    def __setstate__(self, state: Any) -> NoReturn:
        raise RefusedPickleError("a tensor in it is broken")


class Dtype(metaclass=_Sealed):
    """Replaces `numpy.dtype`."""

    __slots__ = ("name", "order")

    def __init__(self, name: Any, *_: Any) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])

    def numeric(self) -> np.dtype[Any]:
        """The type, if it is one of numbers or text."""
        if self.name[:1] not in ("b", "i", "u", "f", "S", "U") or not self.name[1:].isdigit():
            raise RefusedPickleError("an array in it contains neither numbers nor text")
        return np.dtype(self.name).newbyteorder(self.order if self.order in ("<", ">") else "=")  # type: ignore[arg-type]


class Call(metaclass=_Sealed):
    """A function that a pickle can call, but not change."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise RefusedPickleError(f"it changes a function ({name})")

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def array(content: Any, dtype: Any, shape: Any, fortran: bool = False) -> npt.NDArray[Any]:
    """Make an array of the bytes in a pickle."""
    if not isinstance(content, (bytes, bytearray)) or not isinstance(dtype, Dtype):
        raise RefusedPickleError("an array in it is broken or holds objects")
    return np.frombuffer(content, dtype=dtype.numeric()).reshape(whole(shape), order="F" if fortran else "C")


def array_from_buffer(content: Any, dtype: Any, shape: Any, order: Any = "C") -> Held:
    """Replaces `numpy._core.numeric._frombuffer`."""
    return Held(array(content, dtype, shape, order == "F"))


def empty_array(*_: Any) -> Held:
    """Replaces `numpy._core.multiarray._reconstruct`, which creates an array that is filled later."""
    return Held()


def scalar(dtype: Any, content: Any) -> Held:
    """Replaces `numpy._core.multiarray.scalar`."""
    return Held(array(content, dtype, (1,)).reshape(()))


def encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Replaces `_codecs.encode`, with which old pickles write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedPickleError("bytes in it are broken")
    return text.encode("latin1")


def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Held:
    """Replaces `torch._utils._rebuild_tensor_v2`."""
    sizes, strides, (start,) = whole(size), whole(stride), whole((offset,))
    if not isinstance(storage, Storage) or len(sizes) != len(strides):
        raise RefusedPickleError("a tensor in it is broken")
    numbers, count = storage.numbers, 1
    for length in sizes:
        count *= length
    if count == 0:
        return Held(numbers.new_zeros(sizes).float().numpy())
    last = start + sum((length - 1) * step for length, step in zip(sizes, strides, strict=True))
    if last >= len(numbers) or count > len(numbers):
        raise RefusedPickleError("a tensor in it is larger than its storage")
    found = numbers.as_strided(sizes, strides, start)
    return Held((found.float() if found.dtype == torch.bfloat16 else found).numpy())


def whole(values: Any) -> tuple[int, ...]:
    """Check the lengths of axes."""
    if not isinstance(values, (tuple, list)) or not all(type(value) is int and 0 <= value < 2**40 for value in values):
        raise RefusedPickleError("a shape in it is broken")
    return tuple(values)


_STORAGES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""The beginning of files of torch.save in its older format, in which pickles contain storages."""


class _StorageUnpickler(pickle.Unpickler):
    """Reads the header that torch.save writes before the numbers of a storage."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise RefusedPickleError(f"a tensor in it names {module}.{name}, which tensors do not need")

    def persistent_load(self, key: Any) -> Any:
        return key


def storage(content: Any) -> Storage:
    """Replaces `torch.storage._load_from_bytes`, which would read another pickle without restrictions."""
    if not isinstance(content, bytes):
        raise RefusedPickleError("a tensor in it is broken")
    stream = BytesIO(content)

    def read() -> Any:
        return _StorageUnpickler(stream).load()

    if read() != _MAGIC or read() != _PROTOCOL:
        raise RefusedPickleError("a tensor in it is not in a format of torch.save")
    system, key, _ = read(), read(), read()
    if not isinstance(system, dict) or not system.get("little_endian", True):
        raise RefusedPickleError("a tensor in it was written on a big-endian machine")
    if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage" or not isinstance(key[1], torch.dtype):
        raise RefusedPickleError("a tensor in it is broken")
    (count,) = struct.unpack("<q", stream.read(8))
    numbers = bytearray(stream.read())
    if not 0 <= count * key[1].itemsize <= len(numbers):
        raise RefusedPickleError("a tensor in it is cut off")
    return Storage(
        torch.frombuffer(numbers, dtype=key[1], count=count) if count else torch.zeros(0, dtype=key[1], device="cpu")
    )


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
            raise RefusedPickleError(f"it names {module}.{name}, which datasets of atoms do not need") from None


def load_restricted(content: bytes) -> Any:
    """Read a pickle of tensors, numbers and objects of PyTorch Geometric.

    Raises:
        RefusedPickleError: the pickle names another class or function, or is damaged.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except RefusedPickleError:
        raise
    except Exception as error:  # damaged pickles raise anything
        raise RefusedPickleError(f"it is not a pickle, or is damaged: {told(error)}") from None
