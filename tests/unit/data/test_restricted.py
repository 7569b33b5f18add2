from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import geometric_classes

from gemnet_blocks.data.restricted_pickle import Held, RefusedPickleError, Shell, load_restricted

VALUES = [
    torch.rand(4, 3),
    torch.rand(3, 4).t(),
    torch.rand(6)[2:5],
    torch.tensor(2.5, dtype=torch.float64),
    torch.tensor([1, 2]),
    torch.tensor([True, False]),
    torch.zeros(0, 3),
    torch.rand(5).to(torch.bfloat16),
    torch.rand(2, requires_grad=True),
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.array(["a", "bc"]),
    np.float32(2.5),
    np.int64(-3),
]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}-{value.dtype}-{value.shape}")
def test_tensors_and_arrays_are_read(value: Any, protocol: int) -> None:
    read = load_restricted(pickle.dumps(value, protocol=protocol))
    expected = value.detach().float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else np.asarray(expected)
    assert isinstance(read, Held)
    np.testing.assert_array_equal(read.value, expected)


def test_plain_values_are_read() -> None:
    values = {"a": [1, 2.5, None, True], "b": ("x", b"y"), "c": OrderedDict(d=1), "e": torch.Size([3])}
    assert load_restricted(pickle.dumps(values)) == values


def test_objects_become_shells() -> None:
    with geometric_classes() as classes:
        data = classes["Data"]()
        data.__dict__.update(pos=torch.ones(2, 3), y=1.5, edge_index=None)
        content = pickle.dumps(data)
    read = load_restricted(content)
    assert isinstance(read, Shell)
    assert set(read.attributes()) == {"pos", "y"}


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def inside_a_tensor(content: bytes) -> Calls:
    return Calls(torch.storage._load_from_bytes, content)


def hidden(path: Path, *, of: str) -> Any:
    """Something whose unpickling would make a file."""
    if of == "os.system":
        return Calls(os.system, f"touch {path}")
    if of == "eval":
        return Calls(builtins.eval, f"open({str(path)!r}, 'w')")
    if of == "exec":
        return Calls(builtins.exec, f"open({str(path)!r}, 'w')")
    if of == "getattr":
        return Calls(getattr, os.system, "__globals__")
    if of == "open":
        return Calls(io.open, str(path), "w")
    if of == "torch.load":
        return Calls(torch.load, io.BytesIO(pickle.dumps(Calls(os.system, f"touch {path}"))))
    if of == "numpy.load":
        return Calls(np.load, str(path))
    inner = Calls(os.system, f"touch {path}")
    if of == "tensor":
        return inside_a_tensor(pickle.dumps(inner))
    if of == "torch.save":
        stream = io.BytesIO()
        torch.save(inner, stream, _use_new_zipfile_serialization=False)
        return inside_a_tensor(stream.getvalue())
    stream = io.BytesIO()
    torch.save(inner, stream)
    return inside_a_tensor(stream.getvalue())


KINDS = ["os.system", "eval", "exec", "getattr", "open", "torch.load", "numpy.load", "tensor", "torch.save", "zip"]


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_calls_are_refused_and_not_made(tmp_path: Path, kind: str, protocol: int) -> None:
    mark = tmp_path / "was_here"
    content = pickle.dumps({"pos": torch.zeros(2, 3), "x": [hidden(mark, of=kind)]}, protocol=protocol)
    with pytest.raises(RefusedPickleError):
        load_restricted(content)
    assert not mark.exists()


def test_the_tests_of_refusal_would_notice(tmp_path: Path) -> None:
    mark = tmp_path / "was_here"
    pickle.loads(pickle.dumps(hidden(mark, of="os.system")))
    assert mark.exists()


def test_refused_names_are_shown() -> None:
    with pytest.raises(RefusedPickleError, match=r"it names builtins\.eval"):
        load_restricted(pickle.dumps(Calls(builtins.eval, "1"), protocol=4))
    with pytest.raises(RefusedPickleError, match=r"torch_geometric\.loader\.Loader"):
        load_restricted(b"ctorch_geometric.loader\nLoader\n.")


def test_names_with_dots_are_refused() -> None:
    # collections.OrderedDict.__init__.__globals__ and the like
    content = b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93."
    with pytest.raises(RefusedPickleError, match=r"OrderedDict\.__init__"):
        load_restricted(content)


@pytest.mark.parametrize(
    "target",
    [
        "ctorch._utils\n_rebuild_tensor_v2\n",
        "ctorch_geometric.data.data\nData\n",
        "cnumpy\ndtype\n",
        "ccollections\nOrderedDict\n",
        "ctorch\nSize\n",
    ],
)
def test_nothing_that_it_may_name_can_be_changed(target: str) -> None:
    """BUILD with a pair sets attributes of whatever is on the stack."""
    content = target.encode() + b"(N(dX\x01\x00\x00\x00aI1\nstb."
    with pytest.raises(RefusedPickleError):
        load_restricted(content)
    content = target.encode() + b"(dX\x01\x00\x00\x00aI1\nsb."
    with pytest.raises(RefusedPickleError):
        load_restricted(content)


def stored(numbers: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    storage = inside_a_tensor(_storage(torch.zeros(numbers)))
    return pickle.dumps(Calls(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict()))


def _storage(tensor: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    torch.save(tensor.untyped_storage(), stream, _use_new_zipfile_serialization=False)
    torch.save(torch.storage.TypedStorage(wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype), stream)
    typed = io.BytesIO()
    torch.save(tensor.storage(), typed, _use_new_zipfile_serialization=False)
    return typed.getvalue()


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((2,), (4,), 0),
        ((2,), (1,), 3),
        ((10**9, 10**3), (0, 0), 0),
        ((2,), (-1,), 1),
        ((-1,), (1,), 0),
    ],
)
def test_tensors_cannot_reach_beyond_their_numbers(size: Any, stride: Any, offset: int) -> None:
    assert load_restricted(stored(4, (4,), (1,))).value.shape == (4,)
    with pytest.raises(RefusedPickleError, match=r"larger than its storage|a shape in it is broken"):
        load_restricted(stored(4, size, stride, offset))


def test_a_storage_that_is_cut_off_is_refused() -> None:
    content = _storage(torch.zeros(4))
    assert content.endswith(struct.pack("<q", 4) + bytes(16))
    with pytest.raises(RefusedPickleError, match="cut off"):
        load_restricted(pickle.dumps({"x": inside_a_tensor(content[:-4])}))


def test_arrays_of_objects_are_refused() -> None:
    with pytest.raises(RefusedPickleError):
        load_restricted(pickle.dumps(np.array([{}, None], dtype=object)))


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04]", pickle.dumps(torch.rand(9))[:-30]])
def test_broken_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(RefusedPickleError):
        load_restricted(content)
