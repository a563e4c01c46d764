"""Light heads: exact rotations and gradients of every parametrisation, soft-argmax, losses modulo symmetry."""

import numpy as np
import pytest
import torch
from scenes import sphere
from torch.autograd import gradcheck

from uop3d_core.config import TrainSettings, parse_settings
from uop3d_core.correspondence.heads import (
    PARAMETRISATIONS,
    HybridNet,
    KeypointNet,
    RotationNet,
    build_network,
    from_nine,
    from_quaternion,
    from_six,
)
from uop3d_core.correspondence.losses import keypoint_distance, rotation_distance, turns
from uop3d_core.correspondence.model import CorrespondenceNet
from uop3d_core.geometry import closest_rotation, farthest_points, project, random_rotations, rotation_error, transform
from uop3d_core.types import Symmetry, Template

TRUNK = {"components": 8, "width": 16, "blocks": 1, "context_dropout": 0.0}


def rotations(count: int = 20) -> torch.Tensor:
    return torch.tensor(random_rotations(count, np.random.default_rng(0)))


@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_any_numbers_give_a_rotation_and_a_finite_gradient(name: str) -> None:
    from_numbers, count = PARAMETRISATIONS[name]
    numbers = torch.randn(50, count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    numbers.requires_grad_()
    R = from_numbers(numbers)
    assert torch.allclose(R @ R.mT, torch.eye(3).double().expand(50, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(R), torch.ones(50).double(), atol=1e-12)
    rotation_distance(R, rotations(50), torch.eye(3).double()[None]).sum().backward()
    assert numbers.grad is not None and numbers.grad.isfinite().all() and (numbers.grad != 0).any()


@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_gradients_are_right(name: str) -> None:
    from_numbers, count = PARAMETRISATIONS[name]
    numbers = torch.randn(6, count, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert gradcheck(from_numbers, numbers.requires_grad_())


def test_round_trips() -> None:
    R = rotations()
    columns = torch.cat([R[:, :, 0] * 3, R[:, :, 1] * 0.2 + R[:, :, 0]], 1)
    assert torch.allclose(from_six(columns), R)
    assert torch.allclose(from_nine(5 * R.flatten(1)), R)
    half = torch.tensor([np.cos(0.4), 0, 0, np.sin(0.4)])
    c, s = np.cos(0.8), np.sin(0.8)
    about_z = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert torch.allclose(from_quaternion(7 * half), about_z) and torch.allclose(from_quaternion(-half), about_z)


def test_nine_numbers_give_the_nearest_rotation_also_of_a_mirror() -> None:
    M = torch.randn(40, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert (torch.linalg.det(M) < 0).any()
    assert np.allclose(from_nine(M.flatten(1)).numpy(), closest_rotation(M.numpy()))


def test_the_nearest_rotation_has_a_gradient_where_singular_values_are_equal() -> None:
    """Differentiating the factors of the SVD by themselves gives infinities here."""
    R = rotations(4).flatten(1).requires_grad_()
    assert gradcheck(from_nine, R)
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0])).flatten()[None].requires_grad_()
    from_nine(mirror).sum().backward()
    assert mirror.grad is not None and mirror.grad.isfinite().all()


def test_heads_are_built_by_name_and_share_the_trunk() -> None:
    template = Template("ball", sphere(0.5, 2))
    kinds = {"hybrid": HybridNet, "dense": CorrespondenceNet, "keypoints": KeypointNet, "rotation9d": RotationNet}
    for head, kind in kinds.items():
        settings = TrainSettings(head=head, components=8, width=16, blocks=1, keypoints=9, embedding=8)
        torch.manual_seed(0)
        net = build_network(12, template, settings).eval()
        assert type(net) is kind
        first = net.stem.weight
        torch.manual_seed(0)
        again = build_network(12, template, settings.model_copy(update={"head": "quaternion"}))
        assert torch.equal(first, again.stem.weight)
        outputs = net(torch.randn(2, 12, 8, 8))
        dense, keypoints = [(2, 16, 16, len(template.mesh.vertices) + 1), (2, 16, 16, 3)], [(2, 9, 2), (2, 9)]
        shapes = {"hybrid": dense + keypoints, "dense": dense, "keypoints": keypoints}
        assert [output.shape for output in outputs] == shapes.get(head, [(2, 3, 3)])


def test_the_parts_of_a_hybrid_network_share_features_and_nothing_else() -> None:
    settings = TrainSettings(head="hybrid", components=8, width=16, blocks=1, keypoints=9, embedding=8)
    net = build_network(12, Template("ball", sphere(0.5, 2)), settings).eval()
    dense, light = net.groups()
    assert len(dense) + len(light) == len(list(net.parameters())) and not {*map(id, dense)} & {*map(id, light)}
    assert [name for name, _ in net.named_buffers() if "projection" in name] == ["projection"]
    logits, offsets, places, spread = net(torch.randn(2, 12, 8, 8))
    (places.sum() + spread.sum()).backward()
    assert all(value.grad is None for value in dense) and any(value.grad.abs().sum() for value in light)


def test_an_unknown_head_is_an_error() -> None:
    with pytest.raises(ValueError, match="head.*'hybrid', 'dense', 'keypoints', 'quaternion', 'rotation6d'"):
        parse_settings(TrainSettings, {"head": "euler"}, "settings.json")


def test_rotations_stay_exact_in_half_precision() -> None:
    net = RotationNet(12, "rotation6d", **TRUNK).eval()
    with torch.autocast("cpu", torch.bfloat16):
        [R] = net(torch.randn(3, 12, 8, 8))
    assert R.dtype == torch.float32
    assert torch.allclose(R @ R.mT, torch.eye(3).expand(3, 3, 3), atol=1e-5)


def test_soft_argmax_finds_where_the_heat_is() -> None:
    net = KeypointNet(12, torch.zeros(1, 3), **TRUNK)
    heat = torch.full((1, 1, 6, 8), -50.0)
    heat[0, 0, 1, 5] = heat[0, 0, 1, 6] = 50.0
    net.look = lambda components: heat  # type: ignore[method-assign]
    net.heat = torch.nn.Identity()  # type: ignore[assignment]
    places, spread = net.say(torch.zeros(1, 8, 12, 16))
    assert torch.allclose(places[0, 0], torch.tensor([6 / 8, 1.5 / 6]))
    assert torch.allclose(spread[0, 0] ** 2, torch.tensor((0.5 / 8) ** 2 / 2 + 1 / (12 * 48)))


def test_losses_are_zero_at_equivalent_poses_only() -> None:
    symmetry = Symmetry([0, 0, 1], 4)
    about = torch.tensor(turns(symmetry))
    assert about.shape == (4, 3, 3) and torch.allclose(about[0], torch.eye(3).double())
    R = rotations(5)
    assert float(rotation_distance(R @ about[3], R, about).max()) < 2e-3
    wrong = rotation_distance(R @ about[3], R, about[:1])
    assert torch.allclose(wrong, torch.full((5,), np.sin(np.pi / 4)).double(), atol=1e-4)


def test_a_body_of_revolution_has_turns_all_around() -> None:
    about = turns(Symmetry([0, 1, 0], 0))
    angles = np.rad2deg(rotation_error(about[:1], about))
    assert np.allclose(about[:, :, 1], [0, 1, 0]) and np.allclose(np.sort(angles)[1:3], 5)


def test_keypoints_of_a_pose_lie_where_it_shows_them() -> None:
    points = sphere(0.5, 2).vertices
    points = points[farthest_points(points, 7)]
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = random_rotations(1, np.random.default_rng(4))[0], [0.1, -0.1, 3]
    pixels = project(np.array([[200.0, 0, 49.5], [0, 200, 49.5], [0, 0, 1]]), transform(T, points))
    found = torch.tensor((pixels + 0.5) / 100)[None]
    given = torch.tensor(points), torch.tensor(T)[None], torch.tensor([2.0]), torch.eye(3).double()[None]
    mean, each = keypoint_distance(found, *given)
    assert float(mean) < 2e-3 and each.shape == (1, 7)
    assert torch.allclose(
        keypoint_distance(found + torch.tensor([0.03, 0.04]), *given)[0], torch.tensor([0.05]).double(), atol=1e-4
    )


def test_farthest_points_are_spread_out() -> None:
    points = sphere(0.5, 3).vertices
    chosen = farthest_points(points, 6)
    apart = np.linalg.norm(points[chosen][:, None] - points[chosen][None], axis=-1)
    assert len(set(chosen)) == 6 and apart[~np.eye(6, dtype=bool)].min() > 0.55
    assert sorted(farthest_points(points[:4], 9)) == [0, 1, 2, 3]
