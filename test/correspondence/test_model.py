"""The network: shapes, unit embeddings, clutter, upsampling geometry."""

import pytest
import torch

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.model import CorrespondenceNet


@pytest.fixture
def net() -> CorrespondenceNet:
    torch.manual_seed(0)
    settings = TrainSettings(components=16, width=16, blocks=1, embedding=8, clutter=2)
    net = CorrespondenceNet(20, 30, **settings.network_arguments()).eval()
    net.projection.copy_(torch.randn(16, 20))
    return net


def test_output_has_twice_the_cells_and_one_logit_more_than_vertices(net: CorrespondenceNet) -> None:
    assert net(torch.randn(2, 20, 5, 5)).shape == (2, 10, 10, 31)


def test_embeddings_are_unit_vectors(net: CorrespondenceNet) -> None:
    embeddings = net.embed(net.project(torch.randn(2, 20, 6, 6)))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2, 12, 12))


def test_projection_subtracts_the_mean(net: CorrespondenceNet) -> None:
    net.mean.copy_(torch.randn(20))
    assert net.project(net.mean.view(1, 20, 1, 1)).abs().max() < 1e-6


def test_a_pixel_equal_to_a_vertex_embedding_is_classified_as_that_vertex(net: CorrespondenceNet) -> None:
    bank = torch.nn.functional.normalize(net.bank, dim=1)
    assert torch.equal(net.logits(bank).argmax(1), torch.arange(30))
    clutter = torch.nn.functional.normalize(net.clutter, dim=1)
    assert torch.equal(net.logits(clutter).argmax(1), torch.full((2,), 30))


def test_components_never_exceed_the_channels() -> None:
    settings = TrainSettings(components=256, width=16, blocks=0)
    assert CorrespondenceNet(20, 30, **settings.network_arguments()).projection.shape == (20, 20)
