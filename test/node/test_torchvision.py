"""A detector of torchvision with weights that were written for the test, as none are downloaded."""

import urllib.error
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torchvision_files import ARCHITECTURE, why_not, write_weights

from uop3d_ros.detectors import Detector, Thresholds, open_detector

IMAGE = np.zeros((240, 320, 3), np.uint8)
WHY_NOT = why_not()


def test_one_that_does_not_fit_torch_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is where torch is the one for processors and torchvision that for graphics cards."""
    modules = __import__("sys").modules
    for name in [name for name in modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(modules, name)
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="not built for torch .*nms does not exist"):
        open_detector("torchvision")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where torchvision keeps weights."""
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    home = tmp_path_factory.mktemp("torch")
    write_weights(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        yield home


def opened(*thresholds: float, labels: tuple[str, ...] = ()) -> Detector:
    return open_detector(f"torchvision:{ARCHITECTURE}", "cpu", Thresholds(*thresholds), labels)


def test_boxes_scores_and_labels(home: Path) -> None:
    cup, *bowls = opened()(IMAGE)
    assert cup.label == "cup" and cup.score == pytest.approx(0.9, abs=1e-3)
    np.testing.assert_allclose(cup.bbox_xyxy, [7.5, 5.5, 311.5, 233.5], atol=0.01)
    assert [(bowl.label, round(bowl.score, 2)) for bowl in bowls] == [("bowl", 0.6)] * 4
    corners = sorted(bowl.bbox_xyxy.round(2).tolist() for bowl in bowls)
    np.testing.assert_allclose(corners[0], [-0.5, -0.5, 207.5, 155.5], atol=0.02)
    np.testing.assert_allclose(corners[-1], [111.5, 83.5, 319.5, 239.5], atol=0.02)


def test_thresholds(home: Path) -> None:
    assert [found.label for found in opened(0.7)(IMAGE)] == ["cup"]
    assert len(opened(0.4, 0.2)(IMAGE)) == 3  # bowls side by side overlap by 0.3, those across by 0.12


def test_labels_of_the_user(home: Path) -> None:
    assert {found.label for found in opened(labels=("nothing", "person"))(IMAGE)} == {"47", "51"}


def test_what_cannot_be_had(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    with pytest.raises(ValueError, match="no detector 'resnet18'; it has .*fasterrcnn"):
        open_detector("torchvision:resnet18")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device cuda"):
            open_detector("torchvision", "cuda")

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(OSError, match=r"no network.*put https://.*\.pth into .*checkpoints yourself"):
        opened()
    [path] = (home / "hub" / "checkpoints").iterdir()
    (tmp_path / "hub" / "checkpoints" / path.name).write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"\.pth: not the weights of ssdlite.*delete it"):
        opened()


class Trap:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_of_weights_is_run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    [path] = (home / "hub" / "checkpoints").iterdir()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save({"weights": Trap(tmp_path / "sprung")}, tmp_path / "hub" / "checkpoints" / path.name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="not the weights of ssdlite320"):
        opened()
    assert not (tmp_path / "sprung").exists()
