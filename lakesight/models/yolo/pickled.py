"""Tensors out of a file that `torch.save` wrote, without running anything that is in it.

Such a file is a zip of one pickle and the bytes of its tensors. A pickle is a program: it names
callables and calls them. Here a name gives either one of our own few functions, or a class made for
the occasion that holds what is put into it and cannot be called; whatever else a pickle tries ends
the reading. Nothing named is ever imported. Sources: the opcodes of Python's `pickletools`, the
layout of torch's `serialization` notes.
"""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

from lakesight.errors import UserError

MAX_PICKLE = 64 << 20
"""Bytes; the pickle of the largest public checkpoint has less than one million."""
MAX_ENTRIES = 50_000
"""Modules and tensors of a tree; the largest public model has less than two thousand."""

STORAGES = {
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

REFUSED_OPCODES = frozenset(
    {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER"}
)
"""What `torch.save` never writes, and what makes objects in ways of its own."""


class StorageType(NamedTuple):
    """The element type of a storage."""

    dtype: torch.dtype


class Storage(NamedTuple):
    """Where a tensor's elements lie: an entry `data/KEY` of the zip."""

    key: str
    dtype: torch.dtype
    num_elements: int


class Stored(NamedTuple):
    """A tensor that is not read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Allowed(NamedTuple):
    """A function of ours that a pickle may call by the name of another."""

    function: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        return self.function(*args)


class Uncallable(type):
    """Metaclass of placeholders: the pickle may make instances, by NEWOBJ, but not call."""

    def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise UserError."""
        raise UserError(
            f"the checkpoint asks to call {cls.__name__}: refused, and nothing of it was run. A "
            "checkpoint needs tensors only; do not trust this file"
        )


class Placeholder(metaclass=Uncallable):
    """Stands for an instance of a class that is not imported; holds its state."""

    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "Placeholder":
        """Return one; arguments are not looked at."""
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Ignore the items of a mapping."""

    def extend(self, items: Any) -> None:
        """Ignore the items of a list."""

    append = extend


class Ordered(dict[Any, Any]):
    """Stands for an OrderedDict; its attributes, such as `_metadata`, are not kept."""

    def __setstate__(self, state: Any) -> None:
        """Ignore the attributes: one could hide a method."""


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Stored:
    """Stand for `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`."""
    numbers = [offset, *shape, *stride]
    natural = all(type(number) is int and number >= 0 for number in numbers)
    if not isinstance(storage, Storage) or not natural or len(shape) != len(stride):
        raise UserError("the checkpoint describes a tensor that cannot be: the file is damaged")
    return Stored(storage, offset, tuple(shape), tuple(stride))


def _first(value: Any, *_: Any) -> Any:
    """Stand for `_rebuild_parameter(data, requires_grad, hooks)`."""
    return value


def _nothing(*_: Any) -> Placeholder:
    """Stand for small values that are not needed."""
    return Placeholder.__new__(Placeholder)


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("collections", "OrderedDict"): Ordered,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,  # its name in the protocol that torch.save uses
    ("torch", "Size"): tuple,
    ("torch", "device"): _nothing,
    ("pathlib", "PosixPath"): _nothing,
    ("pathlib", "WindowsPath"): _nothing,
    ("numpy", "dtype"): _nothing,
    ("numpy.core.multiarray", "scalar"): _nothing,
    ("numpy._core.multiarray", "scalar"): _nothing,
    ("_codecs", "encode"): _nothing,
}


class TensorUnpickler(pickle.Unpickler):
    """Builds containers, `Stored` tensors and placeholders, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for `module.name`."""
        if module == "torch" and name in STORAGES:
            return StorageType(STORAGES[name])
        if (module, name) in ALLOWED:
            return Allowed(ALLOWED[module, name])
        # a class of its own for every name, so that a pickle cannot change ours
        return Uncallable(f"{module}.{name}", (Placeholder,), {})

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that `("storage", type, key, location, elements)` names."""
        match pid:
            case ("storage", StorageType(dtype), str(key), _, int(count)) if count >= 0:
                return Storage(key, dtype, count)
            case _:
                raise UserError("the checkpoint refers to something that is not a tensor: refused")


class Checkpoint:
    """An open checkpoint: its root object, and its tensors on demand."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path} is no checkpoint that can be read: {error}. Expected the zip that "
                "torch.save has written since torch 1.6"
            ) from error
        self._prefix = self._find_prefix()
        if self._has("byteorder") and self._entry("byteorder") != b"little":
            raise UserError(f"{path} is not little-endian: save it again on a machine that is")
        self.root = self._load()

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, tensor: Stored) -> torch.Tensor:
        """Return a tensor of its own memory. Raises UserError where its bytes are not there."""
        storage, offset, shape, stride = tensor
        if prod(shape) == 0:
            return torch.empty(shape, dtype=storage.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if last >= storage.num_elements or prod(shape) > storage.num_elements:
            raise UserError(f"{self._path} has a tensor beyond its storage: the file is damaged")
        data = bytearray(self._entry(f"data/{storage.key}"))
        if len(data) != storage.num_elements * storage.dtype.itemsize:
            raise UserError(f"{self._path} has a storage of the wrong length: it is damaged")
        flat = torch.frombuffer(data, dtype=storage.dtype)
        return flat.as_strided(shape, stride, offset).clone(memory_format=torch.contiguous_format)

    def _find_prefix(self) -> str:
        """Return the folder inside the zip that everything lies in."""
        pickles = [name for name in self._zip.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UserError(f"{self._path} holds {len(pickles)} pickles, expected 1")
        return pickles[0].removesuffix("data.pkl")

    def _has(self, name: str) -> bool:
        return self._prefix + name in self._zip.namelist()

    def _entry(self, name: str) -> bytes:
        """Return an entry's bytes; a compressed one might become any size, torch writes none."""
        try:
            info = self._zip.getinfo(self._prefix + name)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise UserError(f"{self._path} is compressed, as torch.save writes none: refused")
            return self._zip.read(info)
        except (KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise UserError(f"{self._path} lacks {name}, or it is damaged: {error}") from error

    def _load(self) -> Any:
        data = self._entry("data.pkl")
        if len(data) > MAX_PICKLE:
            raise UserError(f"the pickle in {self._path} has {len(data)} bytes: refused")
        try:
            check_opcodes(data)
            return TensorUnpickler(io.BytesIO(data)).load()
        except UserError:
            raise
        except Exception as error:  # damaged bytes can raise anything, and nothing was run
            raise UserError(f"the pickle in {self._path} cannot be read: {error}") from error


def check_opcodes(data: bytes) -> None:
    """Raise UserError for opcodes that `torch.save` never writes, and numbers that fill memory."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in REFUSED_OPCODES:
            raise UserError(f"the checkpoint's pickle uses {opcode.name}: refused, nothing was run")
        if opcode.name.endswith("PUT") and isinstance(argument, int) and argument > len(data):
            raise UserError("the checkpoint's pickle asks for too much memory: refused")


def module_tensors(module: Placeholder) -> dict[str, Stored]:
    """Return the state dict of a pickled torch module: parameters and buffers, by their paths.

    Raises UserError for a tree without end, which a module inside itself would be.
    """
    found: dict[str, Stored] = {}
    waiting, budget = [("", module)], MAX_ENTRIES
    while waiting:
        prefix, one = waiting.pop()
        state = state_of(one)
        tensors = [*_items(state.get("_parameters")), *_items(state.get("_buffers"))]
        children = _items(state.get("_modules"))
        budget -= 1 + len(tensors) + len(children)
        if budget < 0:
            raise UserError(f"the checkpoint's model has more than {MAX_ENTRIES} parts: refused")
        found |= {prefix + name: value for name, value in tensors if isinstance(value, Stored)}
        waiting += [
            (f"{prefix}{name}.", child)
            for name, child in children
            if isinstance(child, Placeholder)
        ]
    return found


def state_of(module: Any) -> dict[str, Any]:
    """Return the attributes that a placeholder was given; none for anything else."""
    state = module.state if isinstance(module, Placeholder) else None
    return state if isinstance(state, dict) else {}


def _items(values: Any) -> list[tuple[str, Any]]:
    if not isinstance(values, dict):
        return []
    return [(key, value) for key, value in values.items() if isinstance(key, str)]
