"""DINOv2 image features (Oquab et al., "DINOv2: Learning robust visual features without supervision", TMLR 2024).

In: float RGB crops in [0, 1], sides multiples of 14. Out: the layer-normed patch tokens of the last layer.
Weights are only ever read from safetensors: from the Hugging Face hub, a local folder or a local file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
WEIGHTS_FILE = "model.safetensors"
HUB_TIMEOUT_S = 5.0
SIZES: dict[str, dict[str, Any]] = {
    "dinov2-small": {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518},
    "dinov2-base": {"hidden_size": 768, "num_attention_heads": 12, "image_size": 518},
}


class Dinov2:
    """See FeatureBackbone. Channels: the width of the network, 384 (small) or 768 (base)."""

    licence = "Apache-2.0"

    def __init__(self, name: str, model: torch.nn.Module, fingerprint: str) -> None:
        """Wrap a transformers Dinov2Model; `name` is the one in the backbone table."""
        config: Any = model.config
        self.name = name
        self.channels = int(config.hidden_size)
        self.stride = int(config.patch_size)
        self.fingerprint = fingerprint
        self._model = model.float().eval().requires_grad_(False)
        self._mean = torch.tensor(MEAN).view(1, 3, 1, 1)
        self._deviation = torch.tensor(DEVIATION).view(1, 3, 1, 1)

    def to(self, device: str) -> Dinov2:
        """Move to a torch device."""
        self._model.to(device)
        self._mean, self._deviation = self._mean.to(device), self._deviation.to(device)
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, C, H / 14, W / 14).

        Raises:
            ValueError: H or W is not a multiple of the stride.
        """
        B, _, H, W = images.shape
        if H % self.stride or W % self.stride:
            raise ValueError(f"{self.name} takes images whose sides are multiples of {self.stride}, got {W} x {H}")
        normalised = (images.to(self._mean) - self._mean) / self._deviation
        tokens = self._model(normalised).last_hidden_state[:, 1:]  # the first one is the CLS token
        return tokens.transpose(1, 2).reshape(B, self.channels, H // self.stride, W // self.stride)


def small(weights: str | None) -> Dinov2:
    """Factory of ``dinov2-small`` for the backbone table; see `load`."""
    return load("dinov2-small", weights)


def base(weights: str | None) -> Dinov2:
    """Factory of ``dinov2-base`` for the backbone table; see `load`."""
    return load("dinov2-base", weights)


def load(name: str, weights: str | None) -> Dinov2:
    """Load a network.

    Args:
        name: a key of SIZES.
        weights: a folder with config.json and model.safetensors, a .safetensors file with the weights of that size,
            or None for the Hugging Face hub (once; later from its cache).

    Raises:
        ModuleNotFoundError: the optional dependency is not installed.
        FileNotFoundError: no such file or folder.
        OSError: the weights are neither on this machine nor can they be downloaded.
        ValueError: the file is damaged or holds something else.
    """
    try:
        from transformers import Dinov2Config, Dinov2Model
    except ImportError as error:
        raise ModuleNotFoundError(
            f"backbone {name} needs the package transformers: pip install 'uop3d[dinov2]' "
            "(or use --backbone hog, which needs nothing)"
        ) from error
    path = Path(weights) if weights is not None else _from_hub(name)
    config = Dinov2Config(**SIZES[name])
    if path.is_dir():
        config, path = _read_config(name, path), path / WEIGHTS_FILE
    tensors = _read_tensors(name, path)
    fingerprint = f"{name}-{_digest(tensors)}"
    try:
        with _silent_transformers():  # this knows the names that weights had in older versions
            loaded: Any = Dinov2Model.from_pretrained(
                None, config=config, state_dict=tensors, ignore_mismatched_sizes=True, output_loading_info=True
            )
    except (RuntimeError, ValueError, KeyError) as error:
        raise _wrong_weights(name, path, str(error)) from error
    model, info = loaded
    missing = sorted(key for key in info["missing_keys"] if not key.endswith("mask_token"))  # for training only
    unknown = sorted(key for key in info["unexpected_keys"] if not key.startswith("classifier"))
    for what, keys in (
        ("tensors of another shape", sorted(str(entry[0]) for entry in info["mismatched_keys"])),
        ("missing tensors", missing),
        ("unknown tensors", unknown),
    ):
        if keys:
            raise _wrong_weights(name, path, f"{len(keys)} {what}, the first is {keys[0]}")
    return Dinov2(name, model, fingerprint)


def _wrong_weights(name: str, path: Path, what: str) -> ValueError:
    return ValueError(f"{path}: not the weights of {name}: {what}. {_how_to_get(name)}")


def _how_to_get(name: str) -> str:
    return (
        f"On a machine with network access download config.json and {WEIGHTS_FILE} of the repository facebook/{name} "
        f"from the Hugging Face hub (hf download facebook/{name} --local-dir FOLDER), copy the folder here and pass "
        f"--backbone {name}:FOLDER; or pass --backbone hog, which needs no download"
    )


def _from_hub(name: str) -> Path:
    """The weights file in the hub's cache on this machine, downloaded if it is not there."""
    from huggingface_hub import constants, get_session, hf_hub_download

    repository = f"facebook/{name}"
    try:
        return Path(hf_hub_download(repository, WEIGHTS_FILE, local_files_only=True))
    except OSError:
        pass  # not in the cache
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_S)  # a download would try for minutes
        return Path(hf_hub_download(repository, WEIGHTS_FILE))
    except Exception as error:  # which ones depends on the hub's HTTP library
        raise OSError(
            f"the weights of {name} are not on this machine and could not be downloaded from {constants.ENDPOINT} "
            f"({type(error).__name__}: {error}). {_how_to_get(name)}"
        ) from error


def _read_config(name: str, folder: Path) -> Any:
    from transformers import Dinov2Config

    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. {_how_to_get(name)}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values.get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a JSON object ({error}). {_how_to_get(name)}") from error
    if kind != "dinov2":
        raise ValueError(f"{path}: describes a {kind!r} model, not 'dinov2'. {_how_to_get(name)}")
    return Dinov2Config.from_dict(values)


def _read_tensors(name: str, path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file. {_how_to_get(name)}")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: weights must be a .safetensors file (others can run code). {_how_to_get(name)}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged or not a safetensors file ({error}). {_how_to_get(name)}") from error


def _digest(tensors: dict[str, Tensor]) -> str:
    """Short hash of names, shapes, types and bytes."""
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _silent_transformers() -> Iterator[None]:
    """Neither progress bar nor report while weights are loaded; afterwards everything is as it was."""
    from transformers.utils import logging as reports

    level, bar = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity(logging.CRITICAL)
    if bar:
        reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(level)
        if bar:
            reports.enable_progress_bar()
