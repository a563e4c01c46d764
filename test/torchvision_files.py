"""Weights of a detector of torchvision that finds the same in every image, so that every box is known."""

from pathlib import Path

import torch

ARCHITECTURE = "ssdlite320_mobilenet_v3_large"
CUP, BOWL = 47, 51
"""Classes of COCO. A cup, 0.95 of the image wide and high, in the middle; and a bowl in each corner, 0.65 wide."""


def why_not() -> str:
    """Why there is no torchvision to be tested; "" where there is one."""
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:
        return f"no torchvision that works: {error}"
    return "" if torchvision.extension._has_ops() else "torchvision without its operators"


def write_weights(torch_home: Path) -> Path:
    """Where torchvision looks for what it would download, with TORCH_HOME set so."""
    from torchvision.models import get_model, get_model_weights

    model = get_model(ARCHITECTURE, weights=None, weights_backbone=None)
    head = model.head
    for convolution in (block[-1] for block in head.regression_head.module_list):  # boxes are the anchors
        torch.nn.init.zeros_(convolution.weight)
        torch.nn.init.zeros_(convolution.bias)
    biases = []
    for convolution in (block[-1] for block in head.classification_head.module_list):
        torch.nn.init.zeros_(convolution.weight)
        bias = convolution.bias.data.view(-1, 91)  # anchors, classes
        bias[:] = 0
        bias[:, 0] = 30  # nothing
        biases.append(bias)
    _say(biases[5][0], CUP, 0.9)  # of a map of 1 x 1
    _say(biases[4][0], BOWL, 0.6)  # of 2 x 2
    path = torch_home / "hub" / "checkpoints" / Path(get_model_weights(ARCHITECTURE).DEFAULT.url).name
    path.parent.mkdir(parents=True)
    torch.save(model.state_dict(), path)
    return path


def _say(bias: torch.Tensor, number: int, probability: float) -> None:
    bias[0] = 0
    bias[number] = torch.logit(torch.tensor(probability)) + torch.log(torch.tensor(90.0))
