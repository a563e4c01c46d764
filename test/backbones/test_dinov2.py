"""DINOv2 on a tiny network with random weights: contract, cells, normalisation, and errors that say what to do."""

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from uop3d_core.backbones import dinov2, load_backbone

pytest.importorskip("transformers", reason="pip install 'uop3d[dinov2]'")

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56}


@pytest.fixture(scope="module")
def reference():
    """The plain transformers model whose weights the folder holds."""
    from transformers import Dinov2Config, Dinov2Model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Dinov2Model(Dinov2Config(**TINY)).eval()
        for parameter in model.parameters():  # biases and norms, too, differ from their start values
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "dinov2"
    with dinov2._silent_transformers():
        reference.save_pretrained(path)
    return path


@pytest.fixture
def tiny_sizes(monkeypatch):
    """A lone weights file is taken for a network of the tiny size."""
    monkeypatch.setattr(dinov2, "SIZES", {"dinov2-small": TINY, "dinov2-base": {**TINY, "hidden_size": 64}})


def images(count, height, width, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_contract(folder):
    backbone = load_backbone(f"dinov2-small:{folder}")
    assert (backbone.channels, backbone.stride, backbone.licence) == (32, 14, "Apache-2.0")
    grid = backbone(images(2, 42, 70).requires_grad_())
    assert grid.shape == (2, 32, 3, 5) and grid.dtype == torch.float32 and not grid.requires_grad


def test_tokens_are_normalised_patch_tokens(folder, reference):
    x = images(1, 56, 84)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        tokens = reference((x - mean) / deviation).last_hidden_state[0]
    grid = dinov2.small(str(folder))(x)[0]
    for row in range(4):
        for column in range(6):
            np.testing.assert_allclose(grid[:, row, column], tokens[1 + 6 * row + column], atol=1e-6)


def test_the_imagenet_mean_is_the_zero_of_the_network(folder, reference):
    grey = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 28, 28)
    with torch.no_grad():
        tokens = reference(torch.zeros(1, 3, 28, 28)).last_hidden_state[0, 1:]
    np.testing.assert_allclose(dinov2.small(str(folder))(grey)[0].flatten(1).T, tokens, atol=1e-5)


@pytest.mark.parametrize("cell", [(0, 0), (1, 4), (3, 2), (3, 5)])
def test_a_cell_reacts_most_to_its_own_pixels(folder, cell):
    backbone, x = dinov2.small(str(folder)), images(1, 56, 84)
    row, column = cell
    changed = x.clone()
    changed[:, :, 14 * row : 14 * row + 14, 14 * column : 14 * column + 14] = images(1, 14, 14, seed=1)
    difference = (backbone(changed) - backbone(x))[0].norm(dim=0)
    assert divmod(int(difference.argmax()), 6) == cell


def test_deterministic(folder):
    x = images(3, 42, 42)
    first = dinov2.small(str(folder))
    assert torch.equal(first(x), first(x)) and torch.equal(first(x), dinov2.small(str(folder))(x))


def test_images_of_a_batch_do_not_mix(folder):
    x = images(3, 42, 42)
    backbone = dinov2.small(str(folder))
    np.testing.assert_allclose(backbone(x)[1:2], backbone(x[1:2]), atol=1e-5)


def test_file_and_folder_are_the_same(folder, tiny_sizes):
    from_folder, from_file = dinov2.small(str(folder)), dinov2.small(str(folder / "model.safetensors"))
    assert from_file.fingerprint == from_folder.fingerprint
    assert torch.equal(from_file(images(1, 28, 42)), from_folder(images(1, 28, 42)))


def test_fingerprint_follows_weights_and_name(folder, tmp_path, tiny_sizes):
    tensors = load_file(folder / "model.safetensors")
    tensors["layernorm.bias"] = tensors["layernorm.bias"].nextafter(torch.tensor(1.0))
    save_file(tensors, tmp_path / "other.safetensors")
    prints = {dinov2.small(str(p)).fingerprint for p in (folder, tmp_path / "other.safetensors")}
    assert len(prints | {dinov2.base(str(folder)).fingerprint}) == 3


def test_half_precision_files_are_read_as_float(folder, tmp_path, tiny_sizes):
    tensors = {key: value.half() for key, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, tmp_path / "half.safetensors")
    grid, exact = (dinov2.small(str(p))(images(1, 28, 28)) for p in (tmp_path / "half.safetensors", folder))
    assert grid.dtype == torch.float32
    np.testing.assert_allclose(grid, exact, atol=0.02)


def test_sizes_of_the_published_networks():
    from transformers import Dinov2Config, Dinov2Model

    with torch.device("meta"):
        counts = {name: Dinov2Model(Dinov2Config(**size)).num_parameters() for name, size in dinov2.SIZES.items()}
    assert counts == {"dinov2-small": 22_056_576, "dinov2-base": 86_580_480}


def test_sides_must_be_multiples_of_14(folder):
    with pytest.raises(ValueError, match="multiples of 14, got 42 x 30"):
        dinov2.small(str(folder))(images(1, 30, 42))


def test_no_such_path(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such weights file.*facebook/dinov2-base.*--backbone dinov2-base:"):
        load_backbone(f"dinov2-base:{tmp_path / 'none'}")


def test_folder_without_config_or_weights(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file"):
        dinov2.small(str(tmp_path))
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(FileNotFoundError, match="no such weights file"):
        dinov2.small(str(tmp_path))


def test_folder_of_another_model(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text().replace('"dinov2"', '"vit"'))
    with pytest.raises(ValueError, match="describes a 'vit' model"):
        dinov2.small(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_broken_config(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"config\.json: not a JSON object"):
        dinov2.small(str(tmp_path))


def test_truncated_file(folder, tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        dinov2.small(str(path))


def test_pickles_are_not_opened(tmp_path):
    path = tmp_path / "model.bin"
    torch.save({}, path)
    with pytest.raises(ValueError, match=r"must be a \.safetensors file"):
        dinov2.small(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("layernorm.weight"), "1 missing tensors, the first is layernorm.weight"),
        (lambda t: t.update({"layernorm.weight": torch.zeros(7)}), "1 tensors of another shape"),
        (lambda t: t.update({"neck.weight": torch.zeros(7)}), "1 unknown tensors, the first is neck.weight"),
        (lambda t: (t.clear(), t.update({"conv1": torch.zeros(7)})), "missing tensors"),
    ],
)
def test_wrong_weights(folder, tmp_path, tiny_sizes, change, message):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError, match=f"not the weights of dinov2-small: .*{message}.*--backbone hog"):
        dinov2.small(str(tmp_path / "wrong.safetensors"))


def test_loading_is_silent_and_leaves_no_trace(folder, tmp_path, tiny_sizes, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    dinov2.small(str(folder))
    save_file({"conv1": torch.zeros(7)}, tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError, match="not the weights"):
        dinov2.small(str(tmp_path / "wrong.safetensors"))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_no_network(monkeypatch, tmp_path):
    """Neither cached nor reachable: one attempt, no retries, and a way out."""
    import huggingface_hub

    asked = []

    class Unplugged:
        def head(self, url, timeout):
            asked.append((url, timeout))
            raise ConnectionError("Name or service not known")

    download = huggingface_hub.hf_hub_download
    monkeypatch.setattr(huggingface_hub, "get_session", Unplugged)
    monkeypatch.setattr(
        huggingface_hub,
        "hf_hub_download",
        lambda repository, file, **options: download(repository, file, cache_dir=tmp_path, **options),
    )
    way_out = r"download config\.json and model\.safetensors of the repository facebook/dinov2-small.*hog"
    with pytest.raises(OSError, match=f"not on this machine and could not be downloaded.*{way_out}"):
        load_backbone("dinov2-small")
    assert len(asked) == 1 and asked[0][1] <= 10


def test_hub_cache_is_used_without_network(monkeypatch, folder, tiny_sizes):
    import huggingface_hub

    def cached(repository, file, local_files_only=False):
        assert (repository, file, local_files_only) == ("facebook/dinov2-small", "model.safetensors", True)
        return str(folder / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", cached)
    assert load_backbone("dinov2-small").fingerprint == dinov2.small(str(folder)).fingerprint


def test_transformers_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'uop3d\[dinov2\]'"):
        load_backbone("dinov2-small")
