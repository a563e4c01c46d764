"""The network: shapes, unit embeddings, clutter, upsampling geometry."""

import pytest
import torch

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.model import CorrespondenceNet


@pytest.fixture
def net() -> CorrespondenceNet:
    torch.manual_seed(0)
    settings = TrainSettings(components=16, width=16, blocks=1, embedding=8, clutter=2)
    net = CorrespondenceNet(20, torch.rand(30, 3) - 0.5, **settings.network_arguments()).eval()
    net.projection.copy_(torch.randn(16, 20))
    return net


def test_output_has_twice_the_cells_and_one_logit_more_than_vertices(net: CorrespondenceNet) -> None:
    logits, offsets = net(torch.randn(2, 20, 5, 5))
    assert logits.shape == (2, 10, 10, 31) and offsets.shape == (2, 10, 10, 3)


def test_embeddings_are_unit_vectors(net: CorrespondenceNet) -> None:
    embeddings, _ = net.embed(net.project(torch.randn(2, 20, 6, 6)))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2, 12, 12))


def test_projection_subtracts_the_mean(net: CorrespondenceNet) -> None:
    net.mean.copy_(torch.randn(20))
    assert net.project(net.mean.view(1, 20, 1, 1)).abs().max() < 1e-6


def test_a_pixel_equal_to_a_vertex_embedding_is_classified_as_that_vertex(net: CorrespondenceNet) -> None:
    assert torch.equal(net.logits(net.bank).argmax(1), torch.arange(30))
    clutter = torch.nn.functional.normalize(net.clutter, dim=1)
    assert torch.equal(net.logits(clutter).argmax(1), torch.full((2,), 30))


def test_components_never_exceed_the_channels() -> None:
    settings = TrainSettings(components=256, width=16, blocks=0)
    assert CorrespondenceNet(20, torch.rand(30, 3) - 0.5, **settings.network_arguments()).projection.shape == (20, 20)


def test_neighbouring_vertices_are_alike_from_the_start() -> None:
    settings = TrainSettings(width=16, blocks=0)
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    bank = CorrespondenceNet(20, points, **settings.network_arguments()).bank
    alike, apart = bank @ bank.T, torch.cdist(points, points)
    near, far = alike[(apart < 0.08) & (apart > 0)].mean(), alike[apart > 0.4].mean()
    assert near > far + 0.3
    torch.testing.assert_close(bank.norm(dim=1), torch.ones(200))
