"""The table of backbones: built-in names, and a plug-in through a Python entry point."""

import importlib
import re
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
import torch

from uop3d_core import backbones, plugins


class Mean:
    """The least a third party has to write."""

    channels, stride, licence, fingerprint = 3, 4, "MIT", "mean-1"

    def __init__(self, weights):
        self.weights = weights

    def to(self, device):
        self.device = device
        return self

    def __call__(self, images):
        return torch.nn.functional.avg_pool2d(images, self.stride)


@pytest.fixture
def plugged(monkeypatch):
    """Installed entry points: `mean`, a broken one, and one that takes the name of a built-in."""
    module = ModuleType("third_party")
    module.create = Mean
    monkeypatch.setitem(sys.modules, "third_party", module)
    group = backbones.ENTRY_POINT_GROUP
    points = [
        EntryPoint("mean", "third_party:create", group),
        EntryPoint("broken", "no_such_module:create", group),
        EntryPoint("hog", "third_party:create", group),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [p for p in points if p.group == group])


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown backbone 'hogg'") as error:
        backbones.load_backbone("hogg")
    assert all(name in str(error.value) for name in ("dinov2-base", "dinov2-small", "hog"))


def test_plug_in(plugged):
    backbone = backbones.load_backbone("mean:some/folder:with colon", "cpu")
    assert (backbone.weights, backbone.device) == ("some/folder:with colon", "cpu")
    assert backbone(torch.ones(1, 3, 8, 8)).shape == (1, 3, 2, 2)


def test_without_weights_the_factory_gets_none(plugged):
    assert backbones.load_backbone("mean").weights is None
    assert backbones.load_backbone("mean:").weights is None


def test_plug_ins_are_named(plugged):
    assert backbones.backbone_names() == ["broken", "dinov2-base", "dinov2-small", "hog", "mean"]
    with pytest.raises(ValueError, match=re.escape("broken, dinov2-base, dinov2-small, hog, mean")):
        backbones.load_backbone("nothing")


def test_a_broken_plug_in_harms_only_itself(plugged):
    assert backbones.load_backbone("hog").stride == 8
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        backbones.load_backbone("broken")


def test_built_in_names_cannot_be_taken(plugged):
    assert backbones.load_backbone("hog").licence == "Apache-2.0"


@pytest.mark.parametrize("target", backbones.BUILT_IN.values())
def test_built_in_targets_exist(target):
    module, _, attribute = target.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))
