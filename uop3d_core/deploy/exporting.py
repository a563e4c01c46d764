"""A model file for use elsewhere: one ONNX file, or an OpenVINO pair, compared with torch before it takes its name.

In: MODEL.safetensors and its backbone. Out: FILE.onnx, or FILE.xml and FILE.bin.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uop3d_core.backbones import load_backbone
from uop3d_core.correspondence.checkpoint import Model, load_model
from uop3d_core.deploy.graph import attach, need_packages, onnx_graph
from uop3d_core.deploy.parity import FLOAT32, INT8, Parity, compare, need_dense
from uop3d_core.deploy.pictures import trials
from uop3d_core.deploy.quantise import quantised
from uop3d_core.exported.content import GraphFacts, pack
from uop3d_core.exported.openvino_file import HASH_KEY, KEYS, SECTION, digest
from uop3d_core.pose.estimator import PoseEstimator


@dataclass(frozen=True, eq=False)
class Exported:
    """What came of it.

    Attributes:
        files: what was written.
        parity: the differences from torch.
    """

    files: tuple[Path, ...]
    parity: Parity


def export(
    model_path: Path,
    out: Path,
    kind: str = "onnx",
    *,
    int8: bool = False,
    backbone: str | None = None,
    images: Path | None = None,
    count: int = 16,
) -> Exported:
    """Export a model and compare.

    Args:
        model_path: RUN/model.safetensors.
        out: the file, ending in .onnx or .xml; an old one stays until the new one was found good.
        kind: "onnx" or "openvino".
        int8: quantise it.
        backbone: NAME:WEIGHTS, where the weights lie elsewhere than in training.
        images: folder of images to compare on (and to quantise with) beside made-up ones.
        count: how many of them.

    Raises:
        FileNotFoundError: no model, backbone weights or images.
        ModuleNotFoundError: the packages for exporting are not installed.
        ValueError: a wrong ending, a head that is not dense, a backbone that cannot be exported, or a result that
            differs too much from torch.
    """
    if kind not in WRITERS:
        raise ValueError(f"--format {kind}: unknown; known are {', '.join(WRITERS)}")
    ending, write = WRITERS[kind]
    if out.suffix != ending:
        raise ValueError(f"--out {out}: the name of an exported file of format {kind} ends in {ending}")
    need_packages()
    model = load_model(model_path)
    need_dense(model, model_path)
    features = load_backbone(backbone or model.backbone_spec)
    torch_estimator = PoseEstimator(model, features)
    pictures = trials(model.template, images, count)
    proto = onnx_graph(model, features)
    if int8:
        crops = [(torch_estimator.crop(t.frame.camera, t.detection.bbox_xyxy), t.frame.image) for t in pictures]
        proto = quantised(proto, [crop.sample(image) for crop, image in crops])
        attach(proto, _texts(model, features.stride, int8=True))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".draft-{out.name}.", dir=out.parent) as folder:
        drafts = write(proto, Path(folder) / out.name)
        parity = compare(torch_estimator, PoseEstimator.load(drafts[-1]), pictures)
        broken = (INT8 if int8 else FLOAT32).broken(parity)
        if broken:
            hint = "; export without --int8, or give --images with the category's objects" if int8 else ""
            raise ValueError(
                f"{out} was not written, because the exported model differs too much: {'; '.join(broken)}{hint}"
            )
        files = tuple(out.parent / draft.name for draft in drafts)
        for draft, file in zip(drafts, files, strict=True):
            os.replace(draft, file)
    return Exported(files, parity)


def _texts(model: Model, stride: int, int8: bool) -> dict[str, str]:
    return pack(model, GraphFacts(stride, model.settings.cells * stride, int8))


def _write_onnx(proto: Any, path: Path) -> tuple[Path, ...]:
    path.write_bytes(proto.SerializeToString())
    return (path,)


def _write_openvino(proto: Any, path: Path) -> tuple[Path, ...]:
    """The .bin and, last, the .xml that names its hash."""
    try:
        import openvino as ov
    except ImportError as error:
        raise ModuleNotFoundError("--format openvino needs OpenVINO: pip install 'uop3d[openvino]'") from error
    plain = path.with_suffix(".onnx")
    _write_onnx(proto, plain)
    graph = ov.convert_model(str(plain))
    plain.unlink()
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    for key, name in KEYS.items():
        graph.set_rt_info(texts[key], [SECTION, name])
    weights = path.with_suffix(".bin")
    ov.save_model(graph, str(path), compress_to_fp16=False)
    graph.set_rt_info(digest(weights), [SECTION, HASH_KEY])
    ov.save_model(graph, str(path), compress_to_fp16=False)
    return weights, path


WRITERS: dict[str, tuple[str, Callable[[Any, Path], tuple[Path, ...]]]] = {
    "onnx": (".onnx", _write_onnx),
    "openvino": (".xml", _write_openvino),
}
"""Ending and writer by format; the last of the files that a writer names is the one that is read."""
