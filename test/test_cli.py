"""The command line: what it accepts, what it says when it cannot go on, and the files it promises."""

import gzip
import json
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
from mat_files import annotated, write_objectnet3d, write_pascal3d
from PIL import Image
from safetensors import safe_open
from small import ALIGNMENT, TRAINING, options, tiny_mugs
from typer.testing import CliRunner

from uop3d_core.capture.co3d import FRAMES, SEQUENCES, write_co3d
from uop3d_core.capture.nerfstudio import read_recording
from uop3d_core.cli import app
from uop3d_core.cli.console import out
from uop3d_core.cli.evaluating import figures_table
from uop3d_core.cli.learning import show_symmetry
from uop3d_core.evaluation.co3d_labels import LABEL_R_RELEASED
from uop3d_core.evaluation.metrics import summary
from uop3d_core.images import read_rgb
from uop3d_core.runs import Run
from uop3d_core.timings import read_timings
from uop3d_core.types import Sim3, Symmetry

SETTINGS = options({**ALIGNMENT, "train": TRAINING})


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_a_terminated_command_leaves_nothing_half_written(tmp_path):
    code = """
        import sys, time
        from pathlib import Path
        from uop3d_core import cli
        from uop3d_core.atomic import replaced

        def command():
            with replaced(Path(sys.argv[1]) / "result"):
                print("writing", flush=True)
                time.sleep(60)

        cli.app = command
        cli.main()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def mugs(tmp_path_factory):
    return tiny_mugs(tmp_path_factory.mktemp("captures"))


@pytest.fixture(scope="module")
def learned(mugs, tmp_path_factory):
    """A run with a model of two mugs; to be read only."""
    folder = tmp_path_factory.mktemp("runs") / "mug"
    call("learn", mugs, "--out", folder, "--backbone", "hog", "--only", "mug_00,mug_01", *SETTINGS)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "",
        "learn",
        "align",
        "orient",
        "train",
        "report",
        "estimate",
        "synchronize",
        "evaluate alignment",
        "evaluate pose",
        "evaluate pascal3d",
        "evaluate objectnet3d",
        "evaluate co3d",
        "view",
        "info",
        "card",
        "push",
        "pull",
        "picture overlay",
        "picture correspondence",
        "picture turntable",
        "capture import",
        "capture export",
        "export",
        "compare",
        "bench",
        "demo",
    ],
)
def test_help(command):
    assert "Usage" in call(*command.split(), "--help")


def test_version():
    assert call("--version").startswith("uop3d 0.")


def test_learn_makes_what_the_contract_says(learned):
    for name in ("alignment.json", "template.ply", "model.safetensors", "run.json"):
        assert (learned / name).is_file()


def test_train_again_finds_the_model(learned):
    assert "was there already" in call("train", learned)


def test_report(learned, tmp_path):
    output = call("report", learned, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "report.html (0." in output
    for words in ("2 of 2", "scores are calibrated", "epochs, last loss", "mug_01"):
        assert words in page
    assert "outdated" not in page
    assert "is not a run" in call("report", tmp_path, code=1)


@pytest.mark.parametrize("kind", ["overlay", "correspondence"])
def test_figures(learned, mugs, tmp_path, kind):
    size = ("--width", 50, "--dpi", 100, "--columns", 2, "--frames", 3)
    for source, name in ((learned / "model.safetensors", mugs / "mug_02"), (learned, "mug_01")):
        output = call("picture", kind, source, name, "--out", tmp_path / "figure.png", "--crop", *size)
        figure = read_rgb(tmp_path / "figure.png")
        assert f"(197 x {len(figure)} pixels)" in output and figure.shape[1] == 197
        assert np.ptp(figure.reshape(-1, 3), axis=0).min() > 150
    call("picture", kind, learned, "--out", tmp_path / "all.jpg", *size)
    picture = ("picture", kind, "--out", tmp_path / "not.png")
    assert "has no aligned capture 'cup'" in call(*picture, learned, "cup", code=1)
    assert "--detections FILE and --camera FILE" in call(*picture, learned / "model.safetensors", mugs, code=1)
    assert "give a capture folder" in call(*picture, learned / "model.safetensors", code=1)
    assert "must end with .png" in call("picture", kind, learned, "--out", tmp_path / "not.svg", code=1)
    assert "dpi" in call(*picture, learned, "--dpi", 5, code=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.jpg", "figure.png"]


def test_figures_of_images_with_boxes(learned, mugs, tmp_path):
    boxes = [{"bbox_xyxy": [10, 10, 50, 50]}, {"bbox_xyxy": [-20, 40, 30, 90]}]
    entries = [{"image": f"000{i}.jpg", "detections": boxes[: 2 - i]} for i in range(3)]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    (tmp_path / "camera.json").write_text(
        json.dumps({"width": 64, "height": 64, "K": [[80, 0, 31.5], [0, 80, 31.5], [0, 0, 1]]})
    )
    given = ("--detections", tmp_path / "boxes.json", "--camera", tmp_path / "camera.json", "--dpi", 60)
    for kind in ("overlay", "correspondence"):
        call(
            "picture",
            kind,
            learned / "model.safetensors",
            mugs / "mug_02" / "images",
            *given,
            "--out",
            tmp_path / "p.png",
        )
        assert read_rgb(tmp_path / "p.png").shape[1] == 425
    (tmp_path / "boxes.json").write_text("[]")
    none = ("picture", "overlay", learned / "model.safetensors", mugs / "mug_02" / "images", *given)
    assert "no image has a box" in call(*none, "--out", tmp_path / "p.png", code=1)
    picture = ("picture", "overlay", "--out", tmp_path / "p.png", *given)
    assert "boxes and cameras come from it" in call(*picture, learned / "model.safetensors", mugs / "mug_02", code=1)
    assert "is a run" in call(*picture, learned, code=1)


def test_turntables(learned, tmp_path):
    short = ("--seconds", 0.5, "--rate", 6, "--side", 120)
    for what, colour in (("template", "place"), ("mug_01", "photo"), ("all", "clay"), ("all", "photo")):
        output = call("picture", "turntable", learned, what, "--out", tmp_path / "t.gif", "--colour", colour, *short)
        assert "turntable:" in output
        with Image.open(tmp_path / "t.gif") as image:
            assert image.n_frames == 3
    call("picture", "turntable", learned / "model.safetensors", "--out", tmp_path / "t.mp4", *short)
    wrong = ("picture", "turntable", "--out", tmp_path / "u.gif")
    assert "no captures" in call(*wrong, learned / "model.safetensors", "mug_01", code=1)
    assert "unknown colour 'red'" in call(*wrong, learned, "--colour", "red", code=1)
    assert "was not photographed" in call(*wrong, learned, "--colour", "photo", code=1)


def test_estimate_capture(learned, mugs, tmp_path):
    call("estimate", learned / "model.safetensors", mugs / "mug_02", "--json", tmp_path / "out.json",
         "--overlay", tmp_path / "pictures")  # fmt: skip
    entries = json.loads((tmp_path / "out.json").read_text())
    assert len(entries) == 6 == len(list((tmp_path / "pictures").iterdir()))
    for entry in entries:
        assert entry.keys() == {"image", "detections"}
        (detection,) = entry["detections"]
        assert detection.keys() == {
            "bbox_xyxy", "label", "cam_T_obj", "scale", "scale_std", "scale_source", "size_m", "score",
            "category", "other", "covariance", "hypotheses",
        }  # fmt: skip
        total = detection["other"] + sum(hypothesis["probability"] for hypothesis in detection["hypotheses"])
        assert 0 <= detection["score"] <= total <= 1 + 1e-6
        assert np.shape(detection["covariance"]) == (6, 6)
        assert np.shape(detection["cam_T_obj"]) == (4, 4)
        assert all(detection[key] is None for key in ("scale", "scale_std", "scale_source", "size_m"))
        assert detection["label"] == "mug"


def test_estimate_images(learned, mugs, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("0000.jpg", "0001.jpg"):
        shutil.copy(mugs / "mug_02" / "images" / name, images)
    boxes = [{"bbox_xyxy": [10, 10, 50, 50], "label": "mug", "score": 0.9}] * 2
    (tmp_path / "boxes.json").write_text(json.dumps([{"image": "0001.jpg", "detections": boxes}]))
    (tmp_path / "camera.json").write_text(
        json.dumps({"width": 64, "height": 64, "K": [[80, 0, 31.5], [0, 80, 31.5], [0, 0, 1]]})
    )
    call("estimate", learned / "model.safetensors", images, "--detections", tmp_path / "boxes.json",
         "--camera", tmp_path / "camera.json", "--json", tmp_path / "out.json")  # fmt: skip
    entries = json.loads((tmp_path / "out.json").read_text())
    assert [(entry["image"], len(entry["detections"])) for entry in entries] == [("0000.jpg", 0), ("0001.jpg", 2)]
    output = call("estimate", learned / "model.safetensors", images, "--json", tmp_path / "x.json", code=1)
    assert "--detections" in output and not (tmp_path / "x.json").exists()


@pytest.fixture
def photo(mugs, tmp_path):
    """Options that estimate one image of 64 x 64 pixels."""
    (tmp_path / "boxes.json").write_text(
        json.dumps([{"image": "0001.jpg", "detections": [{"bbox_xyxy": [9, 9, 50, 50]}]}])
    )
    (tmp_path / "camera.json").write_text(
        json.dumps({"width": 64, "height": 64, "K": [[80, 0, 31.5], [0, 80, 31.5], [0, 0, 1]]})
    )
    return [mugs / "mug_02" / "images" / "0001.jpg", "--detections", tmp_path / "boxes.json",
            "--camera", tmp_path / "camera.json", "--json", tmp_path / "out.json"]  # fmt: skip


def test_estimate_is_metric_with_a_size(learned, photo, tmp_path):
    output = call("estimate", learned / "model.safetensors", *photo, "--size", 0.12, "--size-std", 0.05)
    [[detection]] = [entry["detections"] for entry in json.loads((tmp_path / "out.json").read_text())]
    assert "1 of them are metric" in output
    assert detection["scale"] == pytest.approx(0.12, rel=1e-3) and detection["scale_std"] == 0.05
    assert detection["scale_source"] == "size" and np.linalg.norm(detection["size_m"]) == pytest.approx(0.12, rel=1e-3)


def test_estimate_falls_back_from_depth_to_size(learned, photo, tmp_path, caplog):
    (tmp_path / "depth").mkdir()
    depth = np.full((64, 64), np.nan)
    depth[0, 0] = 1.0
    np.save(tmp_path / "depth" / "0001.npy", depth)
    call("estimate", learned / "model.safetensors", *photo, "--size", 0.12, "--depth", tmp_path / "depth")
    [[detection]] = [entry["detections"] for entry in json.loads((tmp_path / "out.json").read_text())]
    assert detection["scale_source"] == "size" and "0001.jpg: no scale from depth: only 0 pixels" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "0"], "--size: a size must be positive"),
        (["--size", "-0.1"], "--size: a size must be positive"),
        (["--size", "0.1", "--size-std", "2"], "--size: the std of a size"),
        (["--size-std", "0.1"], "--size, which is missing"),
        (["--plane", "0", "-2", "0", "1"], "--plane: the normal of a plane must have length 1"),
        (["--depth", "{tmp}/none.png"], "none.png: no such depth file"),
        (["--depth", "{tmp}/small.npy"], "small.npy has shape (5, 5) (height, width), but the camera"),
        (["--depth", "{tmp}"], "no depth of image 0001.jpg: add 0001.png"),
    ],
)
def test_bad_metric_options(learned, photo, tmp_path, options, message):
    np.save(tmp_path / "small.npy", np.ones((5, 5)))
    options = [option.format(tmp=tmp_path) for option in options]
    assert message in call("estimate", learned / "model.safetensors", *photo, *options, code=1)
    assert not (tmp_path / "out.json").exists()


def test_metric_options_that_do_not_fit_the_images(learned, mugs, tmp_path):
    model, capture = learned / "model.safetensors", mugs / "mug_02"
    np.save(tmp_path / "one.npy", np.ones((64, 64)))
    output = call("estimate", model, capture, "--json", tmp_path / "o.json", "--depth", tmp_path / "one.npy", code=1)
    assert "one.npy is one file, but there are 6 images" in output
    output = call("estimate", model, capture, "--json", tmp_path / "o.json", "--plane", 0, -1, 0, 0.3, code=1)
    assert "whose camera moves" in output


@pytest.mark.parametrize(
    ("boxes", "camera", "message"),
    [
        ([{"image": "9.jpg", "detections": []}], None, "'9.jpg' is none of"),
        ([{"image": "0000.jpg"}], None, '"detections" must be a list'),
        ([{"image": "0000.jpg", "detections": [{"bbox_xyxy": [5, 5, 1, 9]}]}], None, "positive size"),
        ([{"image": "0000.jpg", "detections": [{"bbox_xyxy": [1, 2, 3]}]}], None, "shape"),
        ([{"image": "0000.jpg", "detections": [{"bbox_xyxy": [1, 2, 3, 4], "score": "high"}]}], None, "score"),
        ({}, None, "must hold a list"),
        ([], {"width": 64, "height": 64}, "K is missing"),
        ([], {"width": 64, "height": 64, "K": [[1, 2]]}, "shape"),
        ([], {"width": 64.5, "height": 64, "K": []}, "whole number"),
        ([{"image": "0000.jpg", "detections": [{"bbox_xyxy": [1, 2, 30, 40]}]}], {"width": 99, "height": 64,
          "K": [[80, 0, 31.5], [0, 80, 31.5], [0, 0, 1]]}, "99 x 64"),
    ],
)  # fmt: skip
def test_bad_boxes_and_cameras(learned, mugs, tmp_path, boxes, camera, message):
    camera = camera or {"width": 64, "height": 64, "K": [[80, 0, 31.5], [0, 80, 31.5], [0, 0, 1]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    output = call("estimate", learned / "model.safetensors", mugs / "mug_02" / "images" / "0000.jpg", "--detections",
                  tmp_path / "boxes.json", "--camera", tmp_path / "camera.json", "--json", tmp_path / "o.json",
                  code=1)  # fmt: skip
    assert message in output and not (tmp_path / "o.json").exists()


def test_evaluate(learned, mugs, tmp_path):
    call("evaluate", "alignment", learned, "--labels", mugs / "labels.json", "--json", tmp_path / "a.json")
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["all"]["pairs"] == 1 and {"acc30", "median_deg", "up_acc10"} <= report["all"].keys()
    arguments = ["evaluate", "pose", learned / "model.safetensors", "--captures", mugs, "--labels",
                 mugs / "labels.json", "--run", learned, "--json", tmp_path / "p.json"]  # fmt: skip
    call(*arguments, "--jitter", 0.1)
    report = json.loads((tmp_path / "p.json").read_text())
    assert list(report["captures"]) == ["mug_02"] and report["overall"]["frames"] == 6
    assert report["frame_link"]["fitted_on"] == ["mug_00", "mug_01"] == report["trained_on"]
    assert "was trained on" in call(*arguments, "--only", "mug_00", code=1)
    assert [example["which"] for example in report["examples"]] == ["worst"] * 6
    assert sorted(example["image"] for example in report["examples"]) == list(range(6))


def test_figures_stay_in_the_run_by_default(learned, mugs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(learned, run)
    call("evaluate", "alignment", run, "--labels", mugs / "labels.json")
    call("evaluate", "pose", run / "model.safetensors", "--captures", mugs, "--labels", mugs / "labels.json",
         "--run", run)  # fmt: skip
    digest = Run(run).read_alignment().digest
    for name in ("alignment", "pose"):
        assert json.loads((run / "evaluation" / f"{name}.json").read_text())["alignment_fingerprint"] == digest


def test_licence_and_figures_are_noted_in_the_model(learned, mugs, tmp_path):
    run, model = tmp_path / "run", tmp_path / "run" / "model.safetensors"
    shutil.copytree(learned, run)
    assert "was there already" in call("train", run, "--data-licence", "CC-BY-4.0")
    call("evaluate", "pose", model, "--captures", mugs, "--labels", mugs / "labels.json", "--run", run,
         "--json", tmp_path / "p.json", "--into-model")  # fmt: skip
    facts = json.loads(CliRunner().invoke(app, ["info", str(model), "--json"]).output)
    overall = json.loads((tmp_path / "p.json").read_text())["overall"]
    assert facts["figures"]["median_deg"] == overall["median_deg"] and facts["figures"]["captures"] == ["mug_02"]
    assert (facts["data_licence"], facts["frames"]) == ("CC-BY-4.0", 12)
    assert "was there already" in call("train", run)
    assert json.loads(CliRunner().invoke(app, ["info", str(model), "--json"]).output) == facts
    assert "CC-BY-4.0" in call("card", model, "--figures", tmp_path / "p.json")
    assert "is an exported model" in call(
        "evaluate", "pose", tmp_path / "m.onnx", "--captures", mugs, "--labels", mugs / "labels.json", "--run", run,
        "--json", tmp_path / "p.json", "--into-model", code=1,
    )  # fmt: skip


def test_evaluation_says_what_estimates_are_worth(learned, mugs, tmp_path):
    arguments = ["evaluate", "pose", learned / "model.safetensors", "--captures", mugs, "--labels",
                 mugs / "labels.json", "--run", learned, "--json", tmp_path / "p.json"]  # fmt: skip
    (tmp_path / "frames.json").write_text(json.dumps({"mug_02": ["0001", "0004"], "mug_00": ["0000"]}))
    output = call(*arguments, "--only-frames", tmp_path / "frames.json", "--picture", tmp_path / "p.jpg",
                  "--reliability", tmp_path / "r.png")  # fmt: skip
    assert "what the estimates say of themselves" in output and "ECE" in output
    report = json.loads((tmp_path / "p.json").read_text())
    assert [row["frame"] for row in report["frames"]] == ["0001", "0004"]
    assert report["only_frames"] == {"mug_02": ["0001", "0004"]} and report["trained_without"] == {}
    assert {"ece", "auroc", "brier"} <= report["overall"]["score"].keys() and report["coverage"]["levels"]
    assert (tmp_path / "p.jpg").is_file() and (tmp_path / "r.png").is_file()
    for content, message in (
        ({"mug_02": ["77"]}, "mug_02 has no frame 77"),
        ({"mug_00": ["0000"]}, "lists no frame of a capture that can be tested"),
        ({"mug_09": ["0000"]}, "there is no capture mug_09"),
    ):
        (tmp_path / "frames.json").write_text(json.dumps(content))
        assert message in call(*arguments, "--only-frames", tmp_path / "frames.json", code=1)


def test_training_without_some_frames(learned, tmp_path):
    run, frames = tmp_path / "run", tmp_path / "frames.json"
    shutil.copytree(learned, run)
    frames.write_text(json.dumps({"mug_00": ["0003", "0001"], "mug_02": ["0000"]}))
    fast = options({"train": {**TRAINING, "rehearsal": 0}})
    before = read_timings(run / "timings.json").seconds
    assert before.keys() > {"features", "training", "rehearsal", "calibration", "alignment"}
    assert "trained in" in call("train", run, "--without", frames, *fast)
    after = read_timings(run / "timings.json").seconds
    assert after.keys() == before.keys() - {"rehearsal", "calibration"} and after["alignment"] == before["alignment"]
    with safe_open(run / "model.safetensors", "pt") as file:
        metadata = json.loads(file.metadata()["uop3d"])["metadata"]
    assert metadata["without"] == {"mug_00": ["0001", "0003"]} and metadata["views"] == 10
    assert "was there already" in call("train", run, "--without", frames, *fast)
    assert "trained in" in call("train", run, *fast)
    for content, message in (
        ({"mug_00": ["77"]}, "mug_00 has no frame 77"),
        ({"mug_00": [f"{i:04d}" for i in range(5)]}, "mug_00 has 1 frame(s) left"),
        ({"mug_02": ["0000"]}, "no frame of the captures that are trained on"),
    ):
        frames.write_text(json.dumps(content))
        assert message in call("train", run, "--without", frames, *fast, code=1)


def test_datasets_of_single_images(learned, mugs, tmp_path):
    pascal = write_pascal3d(tmp_path / "p3d", {"n1": [annotated("cup")], "n2": [annotated("cup", occluded=1.0)]}, "cup")
    model = learned / "model.safetensors"
    arguments = ["evaluate", "pascal3d", model, "--root", pascal, "--category", "cup", "--run", learned]
    output = call(*arguments, "--json", tmp_path / "p.json", "--picture", tmp_path / "p.jpg", "--labels",
                  mugs / "labels.json", "--link", "reference", "--boxes", "cad")  # fmt: skip
    report = json.loads((tmp_path / "p.json").read_text())
    assert report["dataset"] == "PASCAL3D+" and report["subset"] == "val" and report["boxes"] == "cad"
    assert (report["all"]["frames"], report["clear"]["frames"]) == (2, 1)
    assert len(report["frame_link"]["fitted_on"]) == 1
    assert "PASCAL3D+ cup, val" in output and "fitted" in output
    assert read_rgb(tmp_path / "p.jpg").shape[1] > 100
    assert "give --labels with it" in call(*arguments, "--link", "reference", code=1)

    objectnet = write_objectnet3d(tmp_path / "on3d", {"n1": [annotated("cup")], "n2": [annotated("bus")]})
    output = call("evaluate", "objectnet3d", model, "--root", objectnet, "--category", "cup", "--run", learned)
    assert "ObjectNet3D cup, test" in output


def test_co3d(learned, mugs, tmp_path):
    """Three mugs as CO3D has them, two of which were learned, with human labels as they are released."""
    frames, sequences, truth = [], [], json.loads((mugs / "labels.json").read_text())["instances"]
    for name in sorted(truth):
        write_co3d(replace(read_recording(mugs / name), source={"category": "cup"}), tmp_path / name)
        shutil.copytree(tmp_path / name / "cup" / name, tmp_path / "co3d" / "cup" / name)
        for found, file in ((frames, FRAMES), (sequences, SEQUENCES)):
            found += json.loads(gzip.decompress((tmp_path / name / "cup" / file).read_bytes()))
    for found, file in ((frames, FRAMES), (sequences, SEQUENCES)):
        (tmp_path / "co3d" / "cup" / file).write_bytes(gzip.compress(json.dumps(found).encode()))
    rotations = [Sim3.from_matrix(np.array(truth[name]["canonical_T_world"])).R for name in sorted(truth)]
    labels = {"category": ["cup"] * 3, "sequence": sorted(truth), "label_R_world": LABEL_R_RELEASED.T @ rotations}
    np.savez(tmp_path / "labels.npz", **{key: np.array(value) for key, value in labels.items()})
    arguments = ["evaluate", "co3d", learned / "model.safetensors", "--root", tmp_path / "co3d", "--run", learned]
    arguments += ["--labels", tmp_path / "labels.npz"]
    output = call(*arguments, "--category", "cup", "--views", 3, "--json", tmp_path / "c.json")
    report = json.loads((tmp_path / "c.json").read_text())
    call("evaluate", "alignment", learned, "--labels", mugs / "labels.json", "--json", tmp_path / "a.json")
    assert report["alignment"]["all"] == json.loads((tmp_path / "a.json").read_text())["all"]
    assert list(report["pose"]["captures"]) == ["mug_02"]
    assert report["pose"]["overall"]["frames"] == 3
    assert report["several_views"]["frames"] == 1
    assert "3 images" in output
    assert "no category 'mug' of CO3D" in call(
        *arguments, "--category", "mug", "--labels", mugs / "labels.json", code=1
    )


def test_evaluate_refuses_another_run(learned, mugs, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    content = json.loads((learned / "alignment.json").read_text())
    content["captures"]["mug_00"]["accepted"] = not content["captures"]["mug_00"]["accepted"]
    (run / "alignment.json").write_text(json.dumps(content))
    output = call("evaluate", "pose", learned / "model.safetensors", "--captures", mugs, "--labels",
                  mugs / "labels.json", "--run", run, "--json", tmp_path / "p.json", code=1)  # fmt: skip
    assert "was not trained on the alignment" in output


def test_changed_training_setting_trains_again(learned, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(learned, run)
    call("train", run, "--set", "train.epochs=2")
    assert "was there already" in call("train", run)
    assert "takes settings of train.* only" in call("train", run, "--set", "pair.modes=2", code=1)


def test_orient(learned, mugs, tmp_path):
    """A picture to choose from, the choice, and a model that no longer belongs to the run."""
    run = tmp_path / "run"
    shutil.copytree(learned, run)
    before = (run / "alignment.json").read_bytes()
    assert "orient.png" in call("orient", run) and (run / "pictures" / "orient.png").is_file()
    assert (run / "alignment.json").read_bytes() == before
    output = call("orient", run, "--front", "-x")
    assert "axes changed" in output and "uop3d train" in output
    evaluation = ["evaluate", "pose", run / "model.safetensors", "--captures", mugs, "--labels", mugs / "labels.json",
                  "--run", run, "--json", tmp_path / "p.json"]  # fmt: skip
    assert "was not trained on the alignment" in call(*evaluation, code=1)
    assert "trained in" in call("train", run)
    assert "uop3d train" not in call("orient", run, "--front", "+x")
    assert "contradict each other" in call("orient", run, "--front", "+z", code=1)
    assert "not a run" in call("orient", tmp_path / "nothing", "--up", "-z", code=1)


def test_what_is_said_of_a_symmetry(capsys):
    show_symmetry(Symmetry.none())
    assert capsys.readouterr().out == ""
    show_symmetry(Symmetry([0, 0, 1], 4))
    assert "turns by 90° about (0.00, 0.00, 1.00)" in capsys.readouterr().out
    show_symmetry(Symmetry([0, 0, 1], 0))
    assert "turns by any angle" in capsys.readouterr().out


def test_figures_modulo_a_symmetry_are_shown_where_there_are_any(capsys):
    plain = summary([1, 2], [1, 2])
    for rows, expected in (
        ({"all": {"pairs": 2, **plain}}, False),
        ({"all": {"pairs": 2, **summary([1], [1], sym=[1])}}, True),
    ):
        out.print(figures_table("figures", {**rows, "accepted": None}))
        assert ("sym" in capsys.readouterr().out) == expected


def test_damaged_models(learned, mugs, tmp_path):
    model = tmp_path / "model.safetensors"
    for content, message in (
        ((learned / "model.safetensors").read_bytes()[:-100], "damaged"),
        (b"", "damaged"),
        ((learned / "2_basis.safetensors").read_bytes(), "not a uop3d model"),
        ((learned / "model.safetensors").read_bytes().replace(b'\\"format\\": 2', b'\\"format\\": 9', 1), "format 9"),
    ):
        model.write_bytes(content)
        output = call("estimate", model, mugs / "mug_02", "--json", tmp_path / "o.json", code=1)
        assert message in output and "Traceback" not in output
        assert not (tmp_path / "o.json").exists()


def rewrite(folder, change):
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "transforms.json").unlink(), "no captures here"),
        (lambda f: next((f / "masks").iterdir()).unlink(), "mask"),
        (lambda f: rewrite(f, lambda c: c["frames"][0].update(w=63)), "63"),
        (lambda f: rewrite(f, lambda c: c["frames"][0]["transform_matrix"][0].__setitem__(0, float("nan"))), "finite"),
        (lambda f: rewrite(f, lambda c: c.update(frames=c["frames"][:1])), "at least 2"),
    ],
)
def test_bad_captures(mugs, tmp_path, spoil, message):
    folder = tmp_path / "captures" / "mug_00"
    shutil.copytree(mugs / "mug_00", folder)
    spoil(folder)
    output = call("learn", tmp_path / "captures", "--out", tmp_path / "run", "--backbone", "hog", *SETTINGS, code=1)
    assert message in output and "Traceback" not in output
    assert not (tmp_path / "run" / "alignment.json").exists()


def test_empty_masks(mugs, tmp_path):

    folder = tmp_path / "captures" / "mug_00"
    shutil.copytree(mugs / "mug_00", folder)
    for path in (folder / "masks").iterdir():
        Image.new("L", (64, 64)).save(path)
    output = call("align", tmp_path / "captures", "--out", tmp_path / "run", "--backbone", "hog", code=1)
    assert "masks show the object" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "pair.mode=3"], "did you mean 'modes'"),
        (["--set", "pears.modes=3"], "did you mean 'pair'"),
        (["--set", "pair.modes=none"], "pair.modes"),
        (["--set", "modes"], "STAGE.KEY=VALUE"),
        (["--only", "mug_07"], "there is no capture mug_07"),
        (["--backbone", "sift"], "unknown backbone 'sift'"),
        (["--backbone", "dinov2-small:/no/such/file"], "--backbone hog"),
        (["--engine", "threads"], "known are processes, ray, serial"),
        (["--engine", "serial", "--workers", "2"], "the engine serial works alone"),
    ],
)
def test_bad_options(mugs, tmp_path, arguments, message):
    backbone = [] if "--backbone" in arguments else ["--backbone", "hog"]
    assert message in call("align", mugs, "--out", tmp_path / "run", *backbone, *arguments, code=1)
    assert not (tmp_path / "run").exists()


def test_added_capture(mugs, tmp_path):
    arguments = [mugs, "--out", tmp_path / "run", "--backbone", "hog", "--engine", "serial", *SETTINGS]
    assert "aligned 2 captures together" in call("align", *arguments, "--only", "mug_00,mug_01")
    assert "added 1 capture to 2 aligned ones, by 2 pairs" in call("align", *arguments)
    assert "aligned 3 captures together" in call("align", *arguments, "--afresh")


def test_train_needs_a_run(tmp_path):
    assert "is not a run" in call("train", tmp_path, code=1)


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.setenv("UOP3D_DEBUG", "1")
    result = CliRunner().invoke(app, ["train", str(tmp_path)])
    assert isinstance(result.exception, FileNotFoundError)


def test_interrupt(monkeypatch, mugs, tmp_path):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("uop3d_core.pipeline.aligning.align", stop)
    assert "run the same command again" in call("align", mugs, "--out", tmp_path / "run", code=130)
