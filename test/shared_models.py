"""Small model files of every kind, for tests of what hands them on."""

from pathlib import Path
from typing import Any

import torch
from scenes import sphere

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model, save_model
from uop3d_core.correspondence.model import CorrespondenceNet
from uop3d_core.exported.content import IMAGES, LOGITS, OFFSETS, GraphFacts, pack
from uop3d_core.types import Symmetry, Template

ABOUT: dict[str, Any] = {
    "backbone": {"fingerprint": "hog-1", "licence": "Apache-2.0", "channels": 219},
    "captures": ["mug_a", "mug_b"],
    "views": 24,
    "epochs": 10,
    "version": "0.1.0",
    "data": {"folder": "mug", "frames": 26},
    "held_out_in_rehearsal": ["mug_b"],
}
REPORT: dict[str, Any] = {
    "category": "mug",
    "trained_on": ["mug_a", "mug_b"],
    "box_jitter": 0.1,
    "captures": {"mug_z": {}, "mug_y": {}},
    "overall": {
        "frames": 50, "not_found": 1, "acc30": 96.0, "acc15": 90.0, "acc10": 80.0, "median_deg": 4.25,
        "sym_acc30": 98.0, "score": {"ece": 0.021},
    },
}  # fmt: skip


def model(category: str = "mug", spec: str = "hog", **about: Any) -> Model:
    template, settings = Template(category, sphere(0.5, 1), Symmetry([0, 0, 1], 4)), TrainSettings(width=16, blocks=1)
    vertices = torch.tensor(template.mesh.vertices)
    network = CorrespondenceNet(219, vertices, **settings.network_arguments()).eval()
    return Model(spec, template, settings, network, {**ABOUT, **about})


def trained(path: Path, **options: Any) -> Path:
    save_model(path, model(**options))
    return path


def exported(path: Path, **options: Any) -> Path:
    """An ONNX file with a graph that says nothing, or the same as .xml and .bin."""
    import onnx
    from onnx import TensorProto, helper

    from uop3d_core.deploy.exporting import WRITERS
    from uop3d_core.deploy.graph import attach

    images = helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["b", 64, 64, 3])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 64, 64, 3]) for name in (LOGITS, OFFSETS)]
    nodes = [helper.make_node("Cast", [IMAGES], [name], to=TensorProto.FLOAT) for name in (LOGITS, OFFSETS)]
    graph = helper.make_graph(nodes, "nothing", [images], outputs)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(proto)
    attach(proto, pack(model(**options), GraphFacts(8, 64, int8=True)))
    [write] = [write for ending, write in WRITERS.values() if ending == path.suffix]
    write(proto, path)
    return path
