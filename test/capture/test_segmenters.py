"""Segmentation models from files: real loading, on tiny models made here."""

import numpy as np
import pytest

from uop3d_core.capture.segmenters import create_segmenter

IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)


@pytest.fixture
def red_is_object(tmp_path):
    """An ONNX model that gives the red channel, without normalisation undone."""
    onnx = pytest.importorskip("onnx")
    helper, F = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Gather", ["image", "red"], ["map"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("image", F, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("map", F, [1, 1, 32, 32])],
        [onnx.numpy_helper.from_array(np.array([0]), "red")],
    )
    path = tmp_path / "red.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_an_onnx_model(red_is_object):
    pytest.importorskip("onnxruntime")
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 32:, 0] = 255
    mask = create_segmenter(f"onnx:{red_is_object}")(image, np.array([48.0, 24.0]))
    assert mask.shape == (48, 64)
    assert mask[:, :28].max() < 0.5 < mask[:, 36:].min()


def test_a_sam_model(tmp_path):
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    vision = transformers.SamVisionConfig(
        hidden_size=16, output_channels=8, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=16,
        window_size=2, global_attn_indexes=[0], mlp_dim=16, num_pos_feats=4,
    )  # fmt: skip
    prompt = transformers.SamPromptEncoderConfig(hidden_size=8, image_size=64, patch_size=16, mask_input_channels=4)
    decoder = transformers.SamMaskDecoderConfig(
        hidden_size=8, mlp_dim=8, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=8
    )
    model = transformers.SamModel(
        transformers.SamConfig(
            vision_config=vision.to_dict(),
            prompt_encoder_config=prompt.to_dict(),
            mask_decoder_config=decoder.to_dict(),
        )
    )
    model.save_pretrained(tmp_path / "sam")
    segmenter = create_segmenter(f"sam:{tmp_path / 'sam'}")
    first, second = (segmenter(IMAGE, np.array(point)) for point in ([10.0, 10.0], [50.0, 30.0]))
    assert first.shape == (48, 64) and 0 <= first.min() <= first.max() <= 1
    assert np.abs(first - second).max() > 0  # the point is heard


def test_what_is_no_segmenter_says_so(tmp_path):
    with pytest.raises(ValueError, match="known are onnx, sam"):
        create_segmenter("magic:file")
    with pytest.raises(ValueError, match="write NAME:FILE"):
        create_segmenter("onnx")
    with pytest.raises(FileNotFoundError, match="no such segmentation model"):
        create_segmenter(f"onnx:{tmp_path / 'no.onnx'}")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        create_segmenter(f"sam:{tmp_path / 'no'}")


def test_a_broken_onnx_file_says_so(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a readable ONNX model"):
        create_segmenter(f"onnx:{tmp_path / 'bad.onnx'}")
