"""Import and export as a whole: detection, capture folders that stand alone, what is said of masks, plug-ins."""

import gzip
import json
import shutil
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from PIL import Image
from posed import HEIGHT, LENSES, WIDTH, assert_same, make_recording
from typer.testing import CliRunner

from uop3d_core.capture.co3d import write_co3d
from uop3d_core.capture.colmap import write_colmap
from uop3d_core.capture.folder import read_captures
from uop3d_core.capture.formats import detect_format, importer_names, load_exporter, load_importer
from uop3d_core.capture.nerfstudio import read_nerfstudio, read_recording, write_recording
from uop3d_core.capture.recordings import ImportOptions
from uop3d_core.cli import app
from uop3d_core.pipeline.importing import export_capture, import_captures


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture
def recording(tmp_path):
    return make_recording(tmp_path / "source")


@pytest.mark.parametrize("format", ["nerfstudio", "colmap", "colmap-text"])
def test_out_and_in_again(tmp_path, format):
    old = make_recording(tmp_path / "source", list(LENSES))
    write_recording(old, tmp_path / "cup_01")
    export_capture(tmp_path / "cup_01", tmp_path / "exported", format)
    [done] = import_captures(tmp_path / "exported", tmp_path / "again")
    assert_same(read_recording(tmp_path / "again"), old)
    assert (done.frames, done.unmasked, done.points) == (len(LENSES), 0, 7)
    shutil.rmtree(tmp_path / "exported")
    shutil.rmtree(tmp_path / "source")
    capture = read_nerfstudio(tmp_path / "again")
    assert [frame.mask.shape for frame in capture.frames] == [(HEIGHT, WIDTH)] * len(LENSES)


def test_co3d_makes_a_category(recording, tmp_path):
    write_co3d(replace(recording, source={"category": "cup"}), tmp_path / "co3d")
    [done] = import_captures(tmp_path / "co3d", tmp_path / "cup")
    assert done.folder == tmp_path / "cup" / "cup_01"
    [capture] = read_captures(tmp_path / "cup")
    assert len(capture.frames) == 3
    [again] = import_captures(tmp_path / "co3d", tmp_path / "cup")
    assert again.reused
    assert read_recording(done.folder).source["category"] == "cup"


@pytest.mark.parametrize("name", ["../up", "/tmp/up", "a/b", "..", ".hidden", ""])
def test_names_of_sequences_that_lead_out(recording, tmp_path, name):
    write_co3d(replace(recording, source={"category": "cup"}), tmp_path / "co3d")
    path = tmp_path / "co3d" / "cup" / "frame_annotations.jgz"
    frames = [{**frame, "sequence_name": name} for frame in json.loads(gzip.decompress(path.read_bytes()))]
    path.write_bytes(gzip.compress(json.dumps(frames).encode()))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="cannot be (a file name|used)"):
        import_captures(tmp_path / "co3d", tmp_path / "out")
    assert sorted(path for path in tmp_path.rglob("*") if path != tmp_path / "out") == before


def test_several_categories_are_not_mixed(recording, tmp_path):
    write_co3d(replace(recording, source={"category": "cup"}), tmp_path / "co3d")
    shutil.copytree(tmp_path / "co3d" / "cup", tmp_path / "co3d" / "mug")
    with pytest.raises(ValueError, match="several categories: import one of cup, mug"):
        import_captures(tmp_path / "co3d", tmp_path / "out")


def test_formats_are_told_apart(recording, tmp_path):
    write_recording(recording, tmp_path / "a")
    write_colmap(recording, tmp_path / "b")
    write_co3d(recording, tmp_path / "c")
    shutil.copytree(tmp_path / "b" / "sparse", tmp_path / "a" / "colmap" / "sparse")
    found = [detect_format(tmp_path / name) for name in "abc"]
    assert found == ["nerfstudio", "colmap", "co3d"]
    (tmp_path / "d").mkdir()
    with pytest.raises(
        ValueError, match="no known format. Known are nerfstudio: a folder with .*must be unpacked first"
    ):
        detect_format(tmp_path / "d")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        detect_format(tmp_path / "e")


def test_masks_from_elsewhere_and_fewer_frames(tmp_path):
    write_colmap(make_recording(tmp_path / "source", ["pinhole"] * 5, masks=False), tmp_path / "colmap")
    (tmp_path / "masks").mkdir()
    for name in ("f0.png", "f2.jpg.png"):
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(tmp_path / "masks" / name)
    [done] = import_captures(
        tmp_path / "colmap", tmp_path / "out", masks=tmp_path / "masks", options=ImportOptions(frames=3)
    )
    assert [shot.name for shot in read_recording(tmp_path / "out").shots] == ["f0", "f2", "f4"]
    assert done.unmasked == 1
    with pytest.raises(FileNotFoundError, match=r"holds no mask of these images; that of .*f0\.jpg is f0\.png"):
        import_captures(tmp_path / "colmap", tmp_path / "out2", masks=tmp_path / "colmap" / "images")
    with pytest.raises(FileNotFoundError, match="no such folder of masks"):
        import_captures(tmp_path / "colmap", tmp_path / "out2", masks=tmp_path / "nowhere")
    assert not (tmp_path / "out2").exists()


def test_masks_of_another_size_are_noticed(tmp_path):
    write_colmap(make_recording(tmp_path / "source"), tmp_path / "colmap")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "colmap" / "masks" / "f1.jpg.png")
    with pytest.raises(ValueError, match=r"f1\.jpg\.png is 5 x 5 pixels, but its image is 48 x 40"):
        import_captures(tmp_path / "colmap", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_nor_left_behind(recording, tmp_path):
    write_colmap(recording, tmp_path / "colmap")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("keep")
    with pytest.raises(FileExistsError):
        import_captures(tmp_path / "colmap", tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    for inside in (tmp_path / "colmap", tmp_path / "colmap" / "out"):
        with pytest.raises(ValueError, match="lies inside of what is imported"):
            import_captures(tmp_path / "colmap", inside)
    (tmp_path / "colmap" / "images" / "f1.jpg").unlink()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        import_captures(tmp_path / "colmap", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_export_into_itself(recording, tmp_path):
    write_recording(recording, tmp_path / "a")
    with pytest.raises(ValueError, match="lies inside of what is exported"):
        export_capture(tmp_path / "a", tmp_path / "a" / "out", "colmap")


class Toy:
    """A format of a third party: a file with the word toy."""

    description = "toy: a file with the word toy"
    many = False

    def recognises(self, source):
        return source.is_file() and source.read_text() == "toy"

    def recordings(self, source, options):
        yield make_recording(source.parent / "toys", masks=False)


def test_third_parties(tmp_path, monkeypatch):
    point = EntryPoint("toy", f"{__name__}:Toy", "uop3d.importers")
    monkeypatch.setattr(EntryPoint, "load", lambda self: Toy)
    monkeypatch.setattr("uop3d_core.plugins.entry_points", lambda group: [point] if group == point.group else [])
    (tmp_path / "file").write_text("toy")
    assert importer_names()[-1] == "toy"
    [done] = import_captures(tmp_path / "file", tmp_path / "out")
    assert done.unmasked == 3


def test_unknown_names():
    with pytest.raises(
        ValueError, match="unknown format to import 'kml'; known are bag, co3d, colmap, nerfstudio, polycam, record3d"
    ):
        load_importer("kml")
    with pytest.raises(ValueError, match="unknown format to export 'polycam'"):
        load_exporter("polycam")


def test_up_is_as_the_user_says(tmp_path):
    write_colmap(make_recording(tmp_path / "source"), tmp_path / "colmap")
    call("capture", "import", tmp_path / "colmap", "--out", tmp_path / "cup", "--up", "0,-2,0")
    assert read_recording(tmp_path / "cup").up.tolist() == [0, -1, 0]
    for wrong in ("0,0,0", "up", "1,2", "nan,0,1"):
        said = call("capture", "import", tmp_path / "colmap", "--out", tmp_path / "x", "--up", wrong, code=1)
        assert f"--up {wrong}" in said and not (tmp_path / "x").exists()


def test_commands(tmp_path):
    write_colmap(make_recording(tmp_path / "source", masks=False), tmp_path / "colmap")
    said = call("capture", "import", tmp_path / "colmap", "--out", tmp_path / "cup")
    assert "warning: 3 of 3 frames have no mask: learning needs a mask of the object in every frame" in said
    said = call("capture", "export", tmp_path / "cup", "--format", "colmap-text", "--out", tmp_path / "text")
    assert said.startswith("exported:")
    assert (tmp_path / "text" / "sparse" / "0" / "cameras.txt").is_file()
    said = call("capture", "import", tmp_path / "colmap", "--format", "polycam", "--out", tmp_path / "x", code=1)
    assert "no raw data of Polycam" in said
    assert "source" not in json.loads((tmp_path / "cup" / "transforms.json").read_text())["frames"][0]
    next((tmp_path / "colmap" / "images").iterdir()).unlink()
    said = call("capture", "import", tmp_path / "colmap", "--out", tmp_path / "two", code=1)
    assert "1 of 3 images are missing" in said
    assert not (tmp_path / "two").exists()
    said = call("capture", "import", tmp_path / "colmap", "--out", tmp_path / "two", "--skip-missing")
    assert "note:" in said and "1 of 3 images are missing and left out" in said
