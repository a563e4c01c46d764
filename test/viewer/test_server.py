"""A server that really starts, what its switches do, and what a browser makes of it."""

import os
import socket
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from scenes import box, film, sphere, square_camera

from uop3d_core.geometry import inverse_rigid
from uop3d_core.viewer.scene import Scene, ShownCamera, Thing

pytest.importorskip("viser", reason="the extra viewer is not installed")

from uop3d_core.viewer.server import STEP, Viewer  # noqa: E402

CHROMIUM = os.environ.get("UOP3D_CHROMIUM", "")
"""A browser for the one test that needs one; playwright must be installed, too."""


def thing(name, accepted=True, colour=(200, 30, 30)):
    mesh, image = sphere(0.4, 3), np.full((40, 40, 3), 90, np.uint8)
    cameras = tuple(
        ShownCamera(f.name, square_camera(40), inverse_rigid(f.cam_T_world), image) for f in film(mesh, 3).frames
    )
    colours = np.tile(np.array(colour, np.uint8), (len(mesh.vertices), 1))
    reason = "" if accepted else "agrees with *nothing* <b>"
    return Thing(name, mesh, colours, cameras, mesh.vertices[:9], accepted, reason)


@pytest.fixture(scope="module")
def scene():
    things = thing("mug_a"), thing("mug_b", colour=(30, 30, 200)), replace(thing("mug_c", False), colours=None)
    return Scene("mug", things, box((0.7, 0.5, 0.5)), True, ("a warning",))


@pytest.fixture
def viewer(scene):
    viewer = Viewer(scene, port=0)
    yield viewer
    viewer.stop()


def parts_on(viewer, part):
    return [handle.visible for node in viewer._nodes for handle in node.parts[part]]


def test_it_serves_a_page_from_this_machine_alone(viewer):
    assert viewer.url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(viewer.url, timeout=20) as answer:
        page = answer.read()
    assert answer.status == 200 and b"<script" in page and len(page) > 100_000


def test_it_says_nothing_itself(scene, capsys):
    Viewer(scene, port=0).stop()
    assert capsys.readouterr().out == ""


def test_a_port_that_is_taken(scene):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        viewer = Viewer(scene, port=port)
        assert not viewer.url.endswith(f":{port}")
        viewer.stop()


def test_switches(viewer):
    assert all(parts_on(viewer, "surfaces")) and all(parts_on(viewer, "names"))
    assert not any(parts_on(viewer, "cameras")) and not any(parts_on(viewer, "points"))
    viewer._switches["cameras"].value = True
    viewer._switches["surfaces"].value = False
    viewer._switches["template"].value = False
    viewer._update()
    assert all(parts_on(viewer, "cameras")) and not any(parts_on(viewer, "surfaces"))
    assert not viewer._template.visible and all(axis.visible for axis in viewer._axes)
    viewer._nodes[1].box.value = False
    viewer._update()
    assert [node.root.visible for node in viewer._nodes] == [True, False, True]


def test_side_by_side_or_in_the_common_frame(viewer):
    seats = np.array([*[node.root.position for node in viewer._nodes], viewer._template.position])
    apart = np.linalg.norm(seats[:, None] - seats[None], axis=-1)[~np.eye(4, dtype=bool)]
    assert apart.min() == pytest.approx(STEP) and apart.max() == pytest.approx(STEP * 2**0.5)
    viewer._spread.value = 0.0
    viewer._place()
    assert all(np.allclose(node.root.position, 0) for node in viewer._nodes)
    assert np.allclose(viewer._axes[0].position, 0) and np.allclose(viewer._template.position, 0)


def test_the_rejected_one_is_marked(viewer):
    nodes = {node.thing.name: node for node in viewer._nodes}
    assert "rejected" in nodes["mug_c"].parts["names"][0].text
    assert [len(nodes[name].parts["surfaces"]) for name in ("mug_a", "mug_b", "mug_c")] == [1, 1, 2]


def test_nothing_to_view():
    with pytest.raises(ValueError, match="nothing to view"):
        Viewer(Scene("empty", ()))


@pytest.mark.skipif(not CHROMIUM, reason="UOP3D_CHROMIUM names no browser")
def test_a_browser_draws_it(viewer, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    from PIL import Image

    with playwright.sync_playwright() as running:
        options = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
        browser = running.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": 1100, "height": 800})
        wrong, elsewhere = [], []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: elsewhere.append(request.url) if _is_elsewhere(request.url) else None)
        page.goto(viewer.url)
        page.get_by_text("Rejected (1)").wait_for(timeout=60_000)
        page.wait_for_timeout(6_000)
        shares = [_share_of_colours(page, tmp_path / "on.png", Image)]
        viewer._switches["surfaces"].value = False
        viewer._update()
        page.wait_for_timeout(4_000)
        shares.append(_share_of_colours(page, tmp_path / "off.png", Image))
        text = page.inner_text("body")
        eye = _eye_after_a_click(viewer, page)
        browser.close()
    node = viewer._nodes[1]
    photograph = node.thing.cameras[2].thing_T_cam
    np.testing.assert_allclose(eye.position, photograph[:3, 3] + node.root.position, atol=1e-3)
    ahead = (eye.look_at - eye.position) / np.linalg.norm(eye.look_at - eye.position)
    np.testing.assert_allclose(ahead, photograph[:3, 2], atol=1e-3)
    assert wrong == [] and elsewhere == []
    assert min(shares[0]) > 0.004 and max(shares[1]) < 0.001
    assert "agrees with *nothing* <b>" in text and "a warning" in text and "1 rejected" in text


def _eye_after_a_click(viewer, page):
    """The browser's camera when the third photograph of the second capture was clicked."""
    [client] = viewer._server.get_clients().values()
    shown = viewer._nodes[1].thing.cameras[2]
    viewer._look_from(client, f"/captures/mug_b/cameras/{shown.name}", shown.thing_T_cam)
    page.wait_for_timeout(3_000)
    return client.camera


def _is_elsewhere(url):
    return not url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))


def _share_of_colours(page, path, image):
    """Shares of red and of blue pixels beside the panel."""
    page.screenshot(path=path)
    pixels = np.array(image.open(path).convert("RGB")).astype(int)[200:, :760]
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return [((red > 1.8 * green) & (red > 1.8 * blue)).mean(), ((blue > 1.8 * green) & (blue > 1.8 * red)).mean()]
