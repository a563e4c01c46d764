"""Train the correspondence network: cache augmented backbone features once, then pass over them many times.

In: captures with masks, their meshes, their Alignment, the Template. Out: a CorrespondenceNet and its provenance.
On disk in the working folder: ``cache`` per view, ``checkpoint.safetensors`` after every epoch, ``tensorboard``.
A killed training goes on where it stood: finished views are not computed again, and an epoch's random numbers depend
on the seed and the epoch only.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from uop3d_core.atomic import write_atomically, write_json, write_tensors
from uop3d_core.backbones import FeatureBackbone
from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.data import IGNORE, SampleMaker, View, posed_views
from uop3d_core.correspondence.model import CorrespondenceNet
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Alignment, Capture, Mesh, Template

BASIS_VIEWS = 48
WARM_UP = 0.1


def train(
    captures: Sequence[Capture],
    meshes: Mapping[str, Mesh],
    alignment: Alignment,
    template: Template,
    backbone: FeatureBackbone,
    settings: TrainSettings,
    folder: Path,
    progress: Progress = silent,
) -> tuple[CorrespondenceNet, dict[str, Any]]:
    """Train on all accepted captures.

    Args:
        captures: with masks; those that the alignment rejects are left out.
        meshes: coarse mesh of every capture, world frame.
        alignment: obj_T_world of every capture.
        template: in obj.
        backbone: frozen features; its device is used for caching only, the head trains on the CPU.
        settings: see TrainSettings.
        folder: working folder of this training; may hold an interrupted one.
        progress: called with "features" and "training".

    Returns:
        the trained network in evaluation mode, and {"captures", "views", "crops", "epochs", "loss", "seconds"}.

    Raises:
        ValueError: no accepted capture has a usable frame.
    """
    views = posed_views(captures, meshes, alignment)
    if not views:
        raise ValueError("no accepted capture has a frame with a mask: nothing to train on")
    crops_key = _fingerprint(views, template, backbone, settings)
    key = f"{crops_key} {settings.model_dump_json()}"
    net = _new_network(backbone, template, settings)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    crops = _cache(views, template, backbone, net, settings, folder / "cache", crops_key, progress)
    started = time.monotonic()
    loss = _fit(net, crops, settings, folder, key, progress)
    accepted = [name for name, entry in alignment.captures.items() if entry.accepted]
    return net.eval(), {
        "captures": accepted,
        "views": len(views),
        "crops": len(crops),
        "epochs": settings.epochs,
        "loss": loss,
        "seconds": round(time.monotonic() - started, 1),
    }


def _fingerprint(views: Sequence[View], template: Template, backbone: FeatureBackbone, settings: TrainSettings) -> str:
    """Of what the cached crops are made from, but for pixels: whoever changes images gives another folder."""
    digest = hashlib.sha256(f"{backbone.fingerprint}|{json.dumps(settings.crop_settings())}".encode())
    digest.update(template.mesh.vertices.tobytes() + template.mesh.faces.tobytes())
    for view in views:
        digest.update(view.frame.name.encode() + np.round(view.cam_T_obj, 9).tobytes())
        digest.update(view.frame.camera.K.tobytes())
    return digest.hexdigest()


def _new_network(backbone: FeatureBackbone, template: Template, settings: TrainSettings) -> CorrespondenceNet:
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return CorrespondenceNet(backbone.channels, len(template.mesh.vertices), **settings.network_arguments())


@dataclass(frozen=True, eq=False)
class CachedCrops:
    """Projected features and labels of all augmented crops, memory-mapped.

    Attributes:
        features: one (variants, components, h, w) float16 array per view.
        labels: one (variants, 2h, 2w) int16 array per view.
    """

    features: list[np.memmap]
    labels: list[np.memmap]

    def __len__(self) -> int:
        """Number of crops."""
        return sum(len(part) for part in self.labels)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """All crops in random order: features (B, components, h, w) float32 and labels (B, 2h, 2w) int64."""
        every = [(view, variant) for view, part in enumerate(self.labels) for variant in range(len(part))]
        order = rng.permutation(len(every))
        for start in range(0, len(order), size):
            chosen = [every[i] for i in order[start : start + size]]
            features = torch.from_numpy(np.stack([self.features[i][j] for i, j in chosen])).float()
            yield features, torch.from_numpy(np.stack([self.labels[i][j] for i, j in chosen])).long()


def _cache(
    views: Sequence[View],
    template: Template,
    backbone: FeatureBackbone,
    net: CorrespondenceNet,
    settings: TrainSettings,
    folder: Path,
    key: str,
    progress: Progress,
) -> CachedCrops:
    """Compute what is missing of the cache, set the network's input projection, and open all of it."""
    if _read_key(folder / "cache.json") != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(folder / "cache.json", {"fingerprint": key})
    maker = SampleMaker(views, template, backbone.stride, settings)
    _set_projection(net, maker, backbone, folder / "projection.safetensors")
    features, labels = [], []
    for index in range(len(views)):
        stem = folder / f"{index:05d}"
        opened = _open(stem)
        if opened is None:
            samples = list(maker.variants(index))
            with torch.no_grad():
                components = net.project(_backbone_features(backbone, [sample.image for sample in samples]))
            _write(stem, components.half().numpy(), np.stack([sample.labels for sample in samples]))
            opened = np.load(f"{stem}_features.npy", mmap_mode="r"), np.load(f"{stem}_labels.npy", mmap_mode="r")
        features.append(opened[0])
        labels.append(opened[1])
        progress("features", index + 1, len(views))
    return CachedCrops(features, labels)


def _open(stem: Path) -> tuple[np.memmap, np.memmap] | None:
    """Features and labels of one view from the cache; None where they are missing or damaged."""
    try:
        return np.load(f"{stem}_features.npy", mmap_mode="r"), np.load(f"{stem}_labels.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None


def _write(stem: Path, features: np.ndarray, labels: np.ndarray) -> None:
    for kind, array in (("features", features), ("labels", labels)):
        write_atomically(stem.with_name(f"{stem.name}_{kind}.npy"), partial(np.save, arr=array))


def _backbone_features(backbone: FeatureBackbone, images: Sequence[np.ndarray]) -> Tensor:
    return backbone(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255).float().cpu()


def _set_projection(net: CorrespondenceNet, maker: SampleMaker, backbone: FeatureBackbone, path: Path) -> None:
    """Whitened principal components of the backbone's features, over crops of evenly chosen views."""
    stored = _read_tensors(path)
    if stored is None:
        chosen = np.unique(np.linspace(0, len(maker.views) - 1, BASIS_VIEWS).round().astype(int))
        cells = []
        for index in chosen:
            grid = _backbone_features(backbone, [next(maker.variants(int(index))).image])[0]
            cells.append(grid.flatten(1).T)
        stacked = torch.cat(cells).double()
        mean = stacked.mean(0)
        variances, directions = torch.linalg.eigh(torch.cov((stacked - mean).T))
        count = net.projection.shape[0]
        top, kept = directions[:, -count:].T.flip(0), variances[-count:].flip(0)
        scaled = top / kept.clamp(min=1e-5 * float(variances[-1])).sqrt()[:, None]
        stored = {"mean": mean.float(), "projection": scaled.float()}, {}
        write_tensors(path, *stored)
    net.mean.copy_(stored[0]["mean"])
    net.projection.copy_(stored[0]["projection"])


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and metadata of a safetensors file; None where it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def _read_key(path: Path) -> str | None:
    try:
        return json.loads(path.read_text()).get("fingerprint")
    except (OSError, ValueError, AttributeError):
        return None


def _fit(
    net: CorrespondenceNet, crops: CachedCrops, settings: TrainSettings, folder: Path, key: str, progress: Progress
) -> float:
    """Optimise; returns the mean loss of the last epoch."""
    from torch.utils.tensorboard import SummaryWriter

    optimiser = torch.optim.AdamW(net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    path = folder / "checkpoint.safetensors"
    first, loss = _restore(path, net, optimiser, key)
    progress("training", first, settings.epochs)
    with SummaryWriter(str(folder / "tensorboard"), purge_step=first, max_queue=100) as writer, torch.random.fork_rng():
        for epoch in range(first, settings.epochs):
            torch.manual_seed(settings.seed * 1_000_003 + epoch)
            rng = np.random.default_rng([settings.seed, epoch])
            figures = _epoch(net, crops, optimiser, settings, epoch, rng)
            loss = figures["loss"]
            for name, value in figures.items():
                writer.add_scalar(name, value, epoch)
            writer.add_scalar("learning_rate", optimiser.param_groups[0]["lr"], epoch)
            _save(path, net, optimiser, epoch + 1, loss, key)
            progress("training", epoch + 1, settings.epochs)
    return loss


def _one_cycle(share: float) -> float:
    """Learning rate factor: linear warm-up, then a cosine to zero."""
    if share < WARM_UP:
        return share / WARM_UP + 1e-3
    return float(0.5 + 0.5 * np.cos(np.pi * min(1.0, (share - WARM_UP) / (1 - WARM_UP))))


def _epoch(
    net: CorrespondenceNet,
    crops: CachedCrops,
    optimiser: torch.optim.Optimizer,
    settings: TrainSettings,
    epoch: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    net.train()
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    totals: dict[str, float] = {"loss": 0.0, "vertex_accuracy": 0.0, "clutter_accuracy": 0.0}
    count, batches = 0, -(-len(crops) // settings.batch)
    for features, labels in crops.batches(settings.batch, rng):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _one_cycle((epoch + count / batches) / settings.epochs)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            embeddings = net.embed(features.contiguous(memory_format=torch.channels_last))
        embeddings = embeddings.float().permute(0, 2, 3, 1)
        rows = torch.from_numpy(_draw_pixels(labels.numpy(), len(net.bank), settings.pixels_per_crop, rng))
        target = labels.reshape(-1)[rows]
        logits = net.logits(embeddings.reshape(-1, embeddings.shape[-1])[rows])
        loss = F.cross_entropy(logits, target)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        clutter = target == logits.shape[1] - 1
        right = logits.detach().argmax(1) == target
        totals["loss"] += float(loss.detach())
        totals["vertex_accuracy"] += float(right[~clutter].float().mean().nan_to_num())
        totals["clutter_accuracy"] += float(right[clutter].float().mean().nan_to_num())
        count += 1
    return {name: value / max(count, 1) for name, value in totals.items()}


def _draw_pixels(labels: np.ndarray, clutter: int, per_crop: int, rng: np.random.Generator) -> np.ndarray:
    """Flat indices of supervised pixels: per crop, three quarters on the object and a quarter on clutter."""
    flat = labels.reshape(len(labels), -1)
    rows = []
    for index, row in enumerate(flat):
        for wanted, pool in (
            (3 * per_crop // 4, np.flatnonzero((row != IGNORE) & (row != clutter))),
            (per_crop // 4, np.flatnonzero(row == clutter)),
        ):
            if len(pool):
                rows.append(index * flat.shape[1] + rng.choice(pool, min(wanted, len(pool)), replace=False))
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def _save(
    path: Path, net: CorrespondenceNet, optimiser: torch.optim.Optimizer, epoch: int, loss: float, key: str
) -> None:
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    write_tensors(path, tensors, {"epoch": str(epoch), "loss": repr(loss), "fingerprint": key})


def _restore(
    path: Path,
    net: CorrespondenceNet,
    optimiser: torch.optim.Optimizer,
    key: str,
) -> tuple[int, float]:
    """Go on from a checkpoint of the same training, if there is one: finished epochs and the last loss."""
    tensors, metadata = _read_tensors(path) or ({}, {})
    if metadata.get("fingerprint") != key:
        return 0, float("nan")
    net.load_state_dict({n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, field = name.split(".")
            state.setdefault(int(index), {})[field] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(metadata["epoch"]), float(metadata["loss"])
