"""The fused shape: what goes in comes out, in the agreed frame."""

import numpy as np
import pytest
from scenes import box, potato, random_features, random_sim3, sphere, surface, to_trimesh, torus

from uop3d_core.alignment.joint import reorient
from uop3d_core.alignment.template import fuse_template
from uop3d_core.config import TemplateSettings
from uop3d_core.geometry import rotation_error
from uop3d_core.types import Alignment, CaptureAlignment, Mesh, Sim3, Surface, Symmetry
from uop3d_core.volume import Grid, Lattice, extract_mesh, signed_distance

QUICK = TemplateSettings(vertices=400, resolution=36)
SHAPE = potato(2)


def category(meshes: list[Mesh], seed: int = 0, rejected: tuple[str, ...] = ()) -> tuple[Alignment, dict[str, Surface]]:
    """Meshes of a common frame as captures in random worlds, exactly aligned in a frame that is random, too."""
    rng = np.random.default_rng(seed)
    obj_T_common = random_sim3(rng)
    surfaces, entries = {}, {}
    for i, mesh in enumerate(meshes):
        name, gauge = f"c{i}", random_sim3(rng)
        features = random_features(len(mesh.vertices), 1, 4, rng)
        surfaces[name] = surface(name, mesh, features, gauge)
        accepted = name not in rejected
        entries[name] = CaptureAlignment(obj_T_common @ gauge.inverse(), 1.0, accepted, "" if accepted else "bad")
    return Alignment("thing", "c0", entries), surfaces


def distance_to(template: Mesh, mesh: Mesh) -> float:
    """Mean distance both ways."""
    there, back = (
        signed_distance(template, 64).sample(mesh.vertices),
        signed_distance(mesh, 64).sample(template.vertices),
    )
    return float((np.abs(there).mean() + np.abs(back).mean()) / 2)


@pytest.fixture(scope="module")
def fused():
    alignment, surfaces = category([SHAPE] * 3)
    template, placed = fuse_template(alignment, surfaces, QUICK)
    return alignment, surfaces, template, placed


def test_unit_diagonal_and_centred(fused):
    mesh = fused[2].mesh
    assert mesh.diameter == pytest.approx(1)
    np.testing.assert_allclose(mesh.vertices.min(0), -mesh.vertices.max(0), atol=1e-9)
    assert fused[2].category == "thing"


def test_closed_and_about_as_fine_as_asked(fused):
    solid = to_trimesh(fused[2].mesh)
    assert solid.is_watertight and solid.is_winding_consistent and solid.body_count == 1 and solid.volume > 0
    assert 0.75 * QUICK.vertices <= len(fused[2].mesh.vertices) <= 1.15 * QUICK.vertices


def test_copies_give_the_shape_back(fused):
    _, surfaces, template, placed = fused
    for name, entry in placed.captures.items():
        mesh = surfaces[name].mesh.transformed(entry.obj_T_world)
        assert distance_to(template.mesh, mesh) < 0.005
        assert mesh.diameter == pytest.approx(1, rel=0.02)


def test_up_is_z(fused):
    _, surfaces, _, placed = fused
    for name, entry in placed.captures.items():
        np.testing.assert_allclose(entry.obj_T_world.R @ surfaces[name].up, [0, 0, 1], atol=1e-9)


def test_x_is_the_longest_horizontal_extent(fused):
    horizontal = fused[2].mesh.vertices[:, :2] - fused[2].mesh.vertices[:, :2].mean(0)
    variances, axes = np.linalg.eigh(horizontal.T @ horizontal)
    assert variances[1] > 1.2 * variances[0] and abs(axes[0, 1]) > 0.98


def test_doubts_become_warnings(fused):
    """The potato has no mirror plane."""
    assert len(fused[3].warnings) == 1 and "front could not be told" in fused[3].warnings[0]


def test_symmetry_turns_with_the_frame():
    alignment, surfaces = category([box((2, 1.2, 0.8))] * 3)
    given = Symmetry(alignment.captures["c0"].obj_T_world.R @ surfaces["c0"].up, 2)
    template, _ = fuse_template(alignment, surfaces, QUICK, given)
    assert template.symmetry.fold == 2
    np.testing.assert_allclose(template.symmetry.axis, [0, 0, 1], atol=1e-9)


def test_captures_keep_their_places_to_each_other(fused):
    alignment, _, _, placed = fused
    new_T_old = placed.captures["c0"].obj_T_world @ alignment.captures["c0"].obj_T_world.inverse()
    expected = reorient(alignment, new_T_old)
    for name in alignment.captures:
        found = placed.captures[name].obj_T_world.matrix
        np.testing.assert_allclose(found, expected.captures[name].obj_T_world.matrix, atol=1e-9)
    assert (placed.category, placed.reference) == ("thing", "c0")


@pytest.mark.parametrize("shape", [sphere(subdivisions=2), torus(1, 0.3, 24, 12), box((2, 1.2, 0.5))])
def test_volume_is_kept(shape):
    alignment, surfaces = category([shape] * 2)
    template, placed = fuse_template(alignment, surfaces, QUICK)
    mesh = surfaces["c0"].mesh.transformed(placed.captures["c0"].obj_T_world)
    assert to_trimesh(template.mesh).volume == pytest.approx(to_trimesh(mesh).volume, rel=0.08)


def test_mean_of_different_sizes():
    alignment, surfaces = category([sphere(0.8, 2), sphere(1.0, 2), sphere(1.2, 2)])
    template, placed = fuse_template(alignment, surfaces, QUICK)
    radii = np.linalg.norm(template.mesh.vertices, axis=1)
    assert radii.std() < 0.02 * radii.mean()
    given = [s.mesh.transformed(placed.captures[n].obj_T_world) for n, s in surfaces.items()]
    assert radii.mean() == pytest.approx(np.mean([mesh.diameter / 12**0.5 for mesh in given]), rel=0.04)


def test_a_part_that_the_reference_has_lost_is_in_the_template():
    """Three shapes with an arm, and one without that agrees best with all others."""
    plain = sphere(subdivisions=3)
    along = plain.vertices @ np.array([1.0, 0, 0])
    armed = Mesh(plain.vertices * (1 + 1.2 * np.clip(along - 0.9, 0, None) / 0.1)[:, None], plain.faces)
    alignment, surfaces = category([plain, armed, armed, armed])
    template, _ = fuse_template(alignment, surfaces, QUICK)
    sides = np.sort(np.ptp(template.mesh.vertices, axis=0))
    assert alignment.reference == "c0" and sides[2] > 1.25 * sides[1]


def test_thin_parts_that_do_not_coincide_survive():
    """A stick at slightly different places: the plain mean of distances would lose most of it."""
    alignment, surfaces = category([cube_with_stick(shift) for shift in (-0.08, 0.0, 0.08)])
    template, _ = fuse_template(alignment, surfaces, TemplateSettings(vertices=500, resolution=48))
    extents = np.ptp(template.mesh.vertices, axis=0)
    assert extents[0] > 1.5 * extents[1]


def cube_with_stick(shift: float) -> Mesh:
    """A unit cube with a stick of 0.2 x 0.2 x 0.8 on its x side."""
    lattice = Lattice.over(np.array([-0.7, -0.7, -0.7]), np.array([1.5, 0.7, 0.7]), 56)

    def outside(centre, half):
        return (np.abs(lattice.points - centre) - half).max(-1)

    union = np.minimum(outside([0, 0, 0], 0.5), outside([0.85, shift, 0], [0.45, 0.1, 0.1]))
    return extract_mesh(Grid(lattice, union.astype(np.float32)), 500)


def test_rejected_captures_take_no_part():
    alignment, surfaces = category([SHAPE, SHAPE, box((3, 3, 3))], rejected=("c2",))
    template, placed = fuse_template(alignment, surfaces, QUICK)
    mesh = surfaces["c0"].mesh.transformed(placed.captures["c0"].obj_T_world)
    assert distance_to(template.mesh, mesh) < 0.005
    assert not placed.captures["c2"].accepted and placed.captures["c2"].reason == "bad"


def test_one_capture():
    alignment, surfaces = category([SHAPE])
    template, placed = fuse_template(alignment, surfaces, QUICK)
    assert distance_to(template.mesh, surfaces["c0"].mesh.transformed(placed.captures["c0"].obj_T_world)) < 0.005


def test_the_frame_of_the_alignment_does_not_matter():
    """Only shape and up decide about obj, up to the sign of x."""
    alignment, surfaces = category([SHAPE] * 2, seed=1)
    turned = reorient(alignment, random_sim3(np.random.default_rng(9)))
    (first, placed), (second, again) = (fuse_template(a, surfaces, QUICK) for a in (alignment, turned))
    change = again.captures["c0"].obj_T_world @ placed.captures["c0"].obj_T_world.inverse()
    half_turn = np.diag([-1.0, -1.0, 1.0])
    angle = min(rotation_error(change.R, np.eye(3)), rotation_error(change.R, half_turn))
    assert np.rad2deg(angle) < 0.5 and change.scale == pytest.approx(1, rel=0.02)
    assert distance_to(first.mesh.transformed(Sim3(1, change.R, np.zeros(3))), second.mesh) < 0.01
