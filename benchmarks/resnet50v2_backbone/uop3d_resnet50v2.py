"""ResNet-50 v2 features as a uop3d backbone: the pre-activation trunk up to block 3, and nothing of uop3d imported.

In: float RGB crops (B, 3, H, W) in [0, 1] with sides that are multiples of 16; a safetensors file of folded weights.
Out: float32 features (B, 1024, H / 16, W / 16) after the last ReLU. Cell (i, j) is centred at crop pixel
((j + 0.5) * 16 - 0.5, (i + 0.5) * 16 - 0.5), pixel centres at integers.

K. He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

BLOCKS = ((3, 64, 2), (4, 128, 2), (6, 256, 1))
"""Units, bottleneck channels and stride of the last unit of each block; a block puts out four times the bottleneck."""


def create(weights: str | None) -> ResNet50V2:
    """Build the backbone from a weights file: the factory that the entry point names.

    Args:
        weights: path of the safetensors file.

    Raises:
        FileNotFoundError: no path given, or no file there.
        ValueError: the file is not safetensors, or tensors are missing or have another shape.
    """
    hint = "pass the weights file with the name, as resnet50v2:path/to/resnet50v2_trunk.safetensors"
    if weights is None:
        raise FileNotFoundError(f"resnet50v2 has no built-in weights: {hint}")
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file; {hint}")
    content = path.read_bytes()
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from error
    _check(path, tensors)
    return ResNet50V2(tensors, f"resnet50v2-{hashlib.sha256(content).hexdigest()[:16]}")


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of the weights file by key; convolutions are [out, in, height, width]."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), "conv1.bias": (64,)}
    channels = 64
    for block, (units, middle, _) in enumerate(BLOCKS, 1):
        for unit in range(1, units + 1):
            key, wide = f"block{block}.unit{unit}", 4 * middle
            shapes |= {f"{key}.preact.scale": (channels,), f"{key}.preact.shift": (channels,)}
            convolutions = {"conv1": (middle, channels, 1), "conv2": (middle, middle, 3), "conv3": (wide, middle, 1)}
            if unit == 1:
                convolutions["shortcut"] = (wide, channels, 1)
            for name, (out, into, side) in convolutions.items():
                shapes |= {f"{key}.{name}.weight": (out, into, side, side), f"{key}.{name}.bias": (out,)}
            channels = wide
    return shapes | {"postact.scale": (channels,), "postact.shift": (channels,)}


def _check(path: Path, tensors: dict[str, Tensor]) -> None:
    for key, shape in expected_shapes().items():
        if key not in tensors:
            raise ValueError(f"{path}: tensor {key!r} is missing; this is not the ResNet-50 v2 trunk")
        if tuple(tensors[key].shape) != shape:
            raise ValueError(f"{path}: tensor {key!r} has shape {tuple(tensors[key].shape)}, expected {shape}")


class ResNet50V2:
    """Frozen trunk of ResNet-50 v2; satisfies the FeatureBackbone contract of uop3d.

    Attributes:
        channels: 1024.
        stride: 16 pixels per cell.
        licence: of the weights.
        fingerprint: name and hash of the weights file.
    """

    channels = 1024
    stride = 16
    licence = "Apache-2.0"

    def __init__(self, tensors: dict[str, Tensor], fingerprint: str) -> None:
        """Take checked tensors of any floating type; arithmetic is float32."""
        self.fingerprint = fingerprint
        self._tensors = {key: _laid_out(tensors[key].float()) for key in expected_shapes()}

    def to(self, device: str) -> ResNet50V2:
        """Move to a torch device and return self."""
        self._tensors = {key: tensor.to(device) for key, tensor in self._tensors.items()}
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """Features (B, 1024, H / 16, W / 16) of (B, 3, H, W) crops in [0, 1].

        Raises:
            ValueError: the sides are not multiples of 16.
        """
        if torch.compiler.is_compiling() or images.device.type != "cpu":
            return self.taps(images)["postact"]
        at_a_time = 1  # one crop's maps fit into the cache
        return torch.cat([self.taps(part)["postact"] for part in images.split(at_a_time)])

    @torch.no_grad()
    def taps(self, images: Tensor) -> dict[str, Tensor]:
        """Maps after every block ("block1.unit3" and so on) and the final "postact", as (B, C, h, w).

        Raises:
            ValueError: as for calling.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % self.stride or images.shape[3] % self.stride:
            raise ValueError(f"expected crops (B, 3, H, W) with sides that are multiples of 16, got {images.shape}")
        x = self._conv("conv1", _laid_out(images.float() * 2 - 1), stride=2, padding=3)
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)
        maps = {}
        for block, (units, _, last_stride) in enumerate(BLOCKS, 1):
            for unit in range(1, units + 1):
                x = self._unit(f"block{block}.unit{unit}", x, last_stride if unit == units else 1)
            maps[f"block{block}.unit{units}"] = x
        return maps | {"postact": self._scale_shift_relu("postact", x)}

    def _unit(self, key: str, x: Tensor, stride: int) -> Tensor:
        """One pre-activation bottleneck with its shortcut."""
        active = self._scale_shift_relu(f"{key}.preact", x)
        if f"{key}.shortcut.weight" in self._tensors:
            shortcut = self._conv(f"{key}.shortcut", active, stride=stride)
        else:
            shortcut = x[:, :, ::stride, ::stride]
        residual = self._conv(f"{key}.conv1", active).relu_()
        residual = self._conv(f"{key}.conv2", residual, stride=stride, padding=1).relu_()
        return self._conv(f"{key}.conv3", residual).add_(shortcut)

    def _conv(self, key: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = self._tensors[f"{key}.weight"], self._tensors[f"{key}.bias"]
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)

    def _scale_shift_relu(self, key: str, x: Tensor) -> Tensor:
        scale, shift = (self._tensors[f"{key}.{name}"][:, None, None] for name in ("scale", "shift"))
        return torch.addcmul(shift, x, scale).relu_()


def _laid_out(x: Tensor) -> Tensor:
    """Channels last in memory where the tensor has four dimensions."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
