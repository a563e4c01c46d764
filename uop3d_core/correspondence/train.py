"""Train the network, whatever its head: cache augmented backbone features once, then pass over them many times.

In: captures with masks, their meshes, their Alignment, the Template. Out: networks and their provenance.
On disk in the working folder: ``cache`` per view, ``NAME.safetensors`` after every epoch, ``tensorboard``.
A killed training goes on where it stood: finished views are not computed again, and an epoch's random numbers depend
on the seed and the epoch only.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from uop3d_core.atomic import write_atomically, write_json, write_tensors
from uop3d_core.backbones import FeatureBackbone
from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.data import SampleMaker
from uop3d_core.correspondence.heads import build_network
from uop3d_core.correspondence.losses import Batch, Loss, loss_of
from uop3d_core.correspondence.model import Trunk
from uop3d_core.correspondence.views import View, posed_views
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Alignment, Capture, Mesh, Template

BASIS_VIEWS = 48
CACHED = ("features", "labels", "points", "poses", "focals")
WARM_UP = 0.1


@dataclass(frozen=True, eq=False)
class CachedCrops:
    """Projected features and targets of all augmented crops, memory-mapped.

    Attributes:
        features: one (variants, components, h, w) float16 array per view.
        labels: one (variants, 2h, 2w) int16 array per view.
        points: one (variants, 2h, 2w, 3) float16 array per view.
        poses: one (variants, 4, 4) float32 array per view.
        focals: one (variants,) float32 array per view.
    """

    features: list[np.memmap]
    labels: list[np.memmap]
    points: list[np.memmap]
    poses: list[np.memmap]
    focals: list[np.memmap]

    def __len__(self) -> int:
        """Number of crops."""
        return sum(len(part) for part in self.labels)

    @property
    def _parts(self) -> list[list[np.memmap]]:
        return [getattr(self, kind) for kind in CACHED]

    def only(self, views: Sequence[int]) -> CachedCrops:
        """Those of some views."""
        return CachedCrops(*([part[i] for i in views] for part in self._parts))

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """All crops in random order."""
        every = [(view, variant) for view, part in enumerate(self.labels) for variant in range(len(part))]
        order = rng.permutation(len(every))
        for start in range(0, len(order), size):
            chosen = [every[i] for i in order[start : start + size]]
            yield Batch(*(torch.from_numpy(np.stack([part[i][j] for i, j in chosen])) for part in self._parts))


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Everything that a network is fitted to; made once, used for the network and for its rehearsal.

    Attributes:
        views: all frames with a mask of all accepted captures.
        template: in obj.
        crops: augmented crops of every view.
        network: untrained, with its input projection.
        key: fingerprint of the crops.
    """

    views: list[View]
    template: Template
    crops: CachedCrops
    network: Trunk
    key: str


def gather(
    captures: Sequence[Capture],
    meshes: Mapping[str, Mesh],
    alignment: Alignment,
    template: Template,
    backbone: FeatureBackbone,
    settings: TrainSettings,
    folder: Path,
    progress: Progress = silent,
) -> TrainingSet:
    """Augmented crops of all accepted captures, as backbone features.

    Args:
        captures: with masks; those that the alignment rejects are left out.
        meshes: coarse mesh of every capture, world frame.
        alignment: obj_T_world of every capture.
        template: in obj.
        backbone: frozen features.
        settings: see TrainSettings.
        folder: working folder of this training; may hold an interrupted one.
        progress: called with "features".

    Raises:
        ValueError: no accepted capture has a usable frame.
    """
    views = posed_views(captures, meshes, alignment)
    if not views:
        raise ValueError("no accepted capture has a frame with a mask: nothing to train on")
    key = _fingerprint(views, template, backbone, settings)
    network = _new_network(backbone, template, settings)
    crops = _cache(views, template, backbone, network, settings, folder / "cache", key, progress)
    return TrainingSet(views, template, crops, network, key)


def fit(
    training: TrainingSet,
    settings: TrainSettings,
    folder: Path,
    name: str,
    use: Sequence[int] | None = None,
    progress: Progress = silent,
) -> tuple[Trunk, dict[str, Any]]:
    """Train on cached crops; the network is trained on the CPU.

    Args:
        training: what `gather` gave.
        settings: see TrainSettings.
        folder: working folder; may hold an interrupted training of this name, which goes on.
        name: of this training, which names its checkpoint and what progress is told.
        use: indices of the views to train on; all by default.
        progress: called with the name.

    Returns:
        the trained network in evaluation mode, and {"views", "crops", "epochs", "loss", "seconds"}.
    """
    started = time.monotonic()
    chosen = range(len(training.views)) if use is None else use
    crops = training.crops.only(chosen)
    key = f"{training.key} {settings.model_dump_json()} {'' if use is None else sorted(use)}"
    net = copy.deepcopy(training.network)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    loss = _fit(net, crops, training.template, settings, folder, name, key, progress)
    about = {"views": len(chosen), "crops": len(crops), "epochs": settings.epochs, "loss": loss}
    return net.eval(), {**about, "seconds": round(time.monotonic() - started, 1)}


def _fingerprint(views: Sequence[View], template: Template, backbone: FeatureBackbone, settings: TrainSettings) -> str:
    """Of what the cached crops are made from; pixels count, so that an image may be replaced in its place."""
    digest = hashlib.sha256(f"{backbone.fingerprint}|{json.dumps(settings.crop_settings())}".encode())
    digest.update(template.mesh.vertices.tobytes() + template.mesh.faces.tobytes())
    for view in views:
        frame = view.frame
        digest.update(frame.name.encode() + np.round(view.cam_T_obj, 9).tobytes())
        digest.update(frame.camera.K.tobytes() + f"{frame.camera.lens}{frame.camera.distortion.tolist()}".encode())
        digest.update(hashlib.sha256(frame.image.tobytes()).digest())
        digest.update(hashlib.sha256(frame.mask.tobytes()).digest())
    return digest.hexdigest()


def _new_network(backbone: FeatureBackbone, template: Template, settings: TrainSettings) -> Trunk:
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return build_network(backbone.channels, template, settings)


def _cache(
    views: Sequence[View],
    template: Template,
    backbone: FeatureBackbone,
    net: Trunk,
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
    opened = []
    for index in range(len(views)):
        stem = folder / f"{index:05d}"
        arrays = _open(stem)
        if arrays is None:
            samples = list(maker.variants(index))
            with torch.no_grad():
                components = net.project(_backbone_features(backbone, [sample.image for sample in samples]))
            targets = (np.stack([getattr(sample, kind) for sample in samples]) for kind in CACHED[1:])
            _write(stem, components.half().numpy(), *targets)
            arrays = _open(stem)
            assert arrays is not None
        opened.append(arrays)
        progress("features", index + 1, len(views))
    return CachedCrops(*(list(part) for part in zip(*opened, strict=True)))


def _open(stem: Path) -> list[np.memmap] | None:
    """What the cache has of one view; None where it is missing or damaged."""
    try:
        return [np.load(f"{stem}_{kind}.npy", mmap_mode="r") for kind in CACHED]
    except (OSError, ValueError, EOFError):
        return None


def _write(stem: Path, *arrays: np.ndarray) -> None:
    for kind, array in zip(CACHED, arrays, strict=True):
        write_atomically(stem.with_name(f"{stem.name}_{kind}.npy"), partial(np.save, arr=array))


def _backbone_features(backbone: FeatureBackbone, images: Sequence[np.ndarray]) -> Tensor:
    return backbone(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255).float().cpu()


def _set_projection(net: Trunk, maker: SampleMaker, backbone: FeatureBackbone, path: Path) -> None:
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
    net: Trunk,
    crops: CachedCrops,
    template: Template,
    settings: TrainSettings,
    folder: Path,
    name: str,
    key: str,
    progress: Progress,
) -> float:
    """Optimise; returns the mean loss of the last epoch."""
    from torch.utils.tensorboard import SummaryWriter

    optimiser = torch.optim.AdamW(net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    path = folder / f"{name}.safetensors"
    loss_of_batch = loss_of(settings, template)
    first, loss = _restore(path, net, optimiser, key)
    progress(name, first, settings.epochs)
    with (
        SummaryWriter(str(folder / "tensorboard" / name), purge_step=first, max_queue=100) as writer,
        torch.random.fork_rng(),
    ):
        for epoch in range(first, settings.epochs):
            torch.manual_seed(settings.seed * 1_000_003 + epoch)
            rng = np.random.default_rng([settings.seed, epoch])
            figures = _epoch(net, crops, loss_of_batch, optimiser, settings, epoch, rng)
            loss = figures["loss"]
            for figure, value in figures.items():
                writer.add_scalar(figure, value, epoch)
            writer.add_scalar("learning_rate", optimiser.param_groups[0]["lr"], epoch)
            _save(path, net, optimiser, epoch + 1, loss, key)
            progress(name, epoch + 1, settings.epochs)
    return loss


def _one_cycle(share: float) -> float:
    """Learning rate factor: linear warm-up, then a cosine to zero."""
    if share < WARM_UP:
        return share / WARM_UP + 1e-3
    return float(0.5 + 0.5 * np.cos(np.pi * min(1.0, (share - WARM_UP) / (1 - WARM_UP))))


def _epoch(
    net: Trunk,
    crops: CachedCrops,
    loss_of_batch: Loss,
    optimiser: torch.optim.Optimizer,
    settings: TrainSettings,
    epoch: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    """One pass over the crops; returns the means of the loss and of the figures beside it."""
    net.train()
    totals: dict[str, float] = defaultdict(float)
    count, batches = 0, -(-len(crops) // settings.batch)
    for batch in crops.batches(settings.batch, rng):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _one_cycle((epoch + count / batches) / settings.epochs)
        figures = loss_of_batch(net, batch, rng)
        optimiser.zero_grad()
        figures["loss"].backward()
        for parameters in net.groups():
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        for name, value in figures.items():
            totals[name] += float(value.detach())
        count += 1
    return {name: value / count for name, value in totals.items()}


def _save(path: Path, net: Trunk, optimiser: torch.optim.Optimizer, epoch: int, loss: float, key: str) -> None:
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    write_tensors(path, tensors, {"epoch": str(epoch), "loss": repr(loss), "fingerprint": key})


def _restore(
    path: Path,
    net: Trunk,
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
