"""Artefacts: dataclasses in safetensors files that know what they were made from.

In / out: Mesh, Surface, PairAlignment, or any other dataclass by its Codec.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from uop3d_core.atomic import replaced
from uop3d_core.geometry import Array
from uop3d_core.types import Mesh, PairAlignment, Sim3, Surface

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Codec(Generic[T]):
    """How a dataclass is kept in a safetensors file.

    Attributes:
        encode: value to named arrays and a JSON object.
        decode: the way back; raises KeyError or ValueError where the file does not hold such a value.
    """

    encode: Callable[[T], tuple[dict[str, Array], dict[str, Any]]]
    decode: Callable[[dict[str, Array], dict[str, Any]], T]


def load(path: Path, mark: str | None, codec: Codec[T]) -> T | None:
    """Read an artefact; None where there is none with fingerprint `mark`, or it is damaged (which is logged).

    With None for the mark it is read whatever it was made from.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if mark is not None and header.get("fingerprint") != mark:
                return None
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return codec.decode(arrays, json.loads(header["content"]))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        logger.warning("%s is damaged (%s) and counts as missing", path, error)
        return None


def save(path: Path, mark: str, codec: Codec[T], value: T) -> None:
    """Write an artefact with its fingerprint."""
    arrays, content = codec.encode(value)
    header = {"fingerprint": mark, "content": json.dumps(content, allow_nan=False)}
    with replaced(path) as draft:
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, draft, header)


def cached(path: Path, mark: str, codec: Codec[T], compute: Callable[[], T]) -> T:
    """The artefact at `path` if it has fingerprint `mark`; otherwise it is computed and written.

    What is returned was read from the file in both cases, so that a continued run gets the very same numbers.

    Raises:
        OSError: the file cannot be read again after writing.
    """
    value = load(path, mark, codec)
    if value is None:
        save(path, mark, codec, compute())
        value = load(path, mark, codec)
    if value is None:
        raise OSError(f"{path} cannot be read again after writing: is the disk full or broken?")
    return value


def _encode_mesh(mesh: Mesh) -> tuple[dict[str, Array], dict[str, Any]]:
    return {"vertices": mesh.vertices, "faces": mesh.faces}, {}


def _decode_mesh(arrays: dict[str, Array], content: dict[str, Any]) -> Mesh:
    return Mesh(arrays["vertices"], arrays["faces"])


def _encode_surface(surface: Surface) -> tuple[dict[str, Array], dict[str, Any]]:
    arrays = {key: getattr(surface, key) for key in ("features", "valid", "visible_views", "up")}
    return {**arrays, **_encode_mesh(surface.mesh)[0]}, {"name": surface.name}


def _decode_surface(arrays: dict[str, Array], content: dict[str, Any]) -> Surface:
    mesh = _decode_mesh(arrays, content)
    fields = {key: arrays[key] for key in ("features", "valid", "visible_views", "up")}
    return Surface(content["name"], mesh, **fields)


def _encode_pair(pair: PairAlignment) -> tuple[dict[str, Array], dict[str, Any]]:
    arrays = {key: getattr(pair, key) for key in ("scores", "geometry", "appearance")}
    return {**arrays, "a_T_b": np.stack([T.matrix for T in pair.a_T_b])}, {"a": pair.a, "b": pair.b}


def _decode_pair(arrays: dict[str, Array], content: dict[str, Any]) -> PairAlignment:
    a_T_b = tuple(Sim3.from_matrix(matrix) for matrix in arrays["a_T_b"])
    return PairAlignment(content["a"], content["b"], a_T_b, arrays["scores"], arrays["geometry"], arrays["appearance"])


MESH = Codec(_encode_mesh, _decode_mesh)
SURFACE = Codec(_encode_surface, _decode_surface)
PAIR = Codec(_encode_pair, _decode_pair)
