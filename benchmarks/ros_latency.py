"""What ROS adds: from the stamp of an image to its TF, against the same stream of poses alone, and a soak.

    python benchmarks/ros_latency.py runs/demo/run/model.safetensors --soak 900 --json latency.json

In: a model of the demo's mugs; needs a sourced ROS 2 with uop3d_ros built. Out: figures, also as JSON. The image is a
rendered mug in a picture of each size, with its box. Alone: `PoseStream.process`, in a process of its own. Node:
pose_node in another one; image, camera_info and box are published together, and TF is waited for. The two take turns,
so they share whatever else the machine does. "Around": what of the node's latency the stream in it did not take, of
the same images, which other work on the machine disturbs less. The soak sends 30 images a second for some time and
looks at memory and threads.
"""

from __future__ import annotations

import argparse
import array
import json
import multiprocessing
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2D, Detection2DArray

from uop3d_core.capture.synthetic import make_mug
from uop3d_core.config import TrackSettings
from uop3d_core.images import mask_box
from uop3d_core.messages.reading import stamp_ns
from uop3d_core.pose.scale import KnownSize
from uop3d_core.pose.stream import PoseStream
from uop3d_core.types import Camera, Detection, Frame
from uop3d_ros import memory
from uop3d_ros.health import SMOOTHING

PATIENCE_S = 60.0
WARM_UP = 5
SOAK_HZ = 30.0
SAMPLE_S = 5.0
DIAMETER_M = 0.12
SETTINGS = TrackSettings(confirm_hits=1)


def query(width: int, height: int, seed: int = 2) -> tuple[Frame, Detection]:
    """A rendered mug in the middle of a picture of this size."""
    side = min(width, height)
    [frame, *_] = make_mug((seed, 0), views=2, pixels=side, clutter=False).capture.frames
    x, y = (width - side) // 2, (height - side) // 2
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[y : y + side, x : x + side] = frame.image
    K = frame.camera.K.copy()
    K[:2, 2] += x, y
    box = mask_box(frame.mask) + np.array([x, y, x, y])
    return Frame("mug", Camera(K, width, height), picture), Detection(box, "mug")


class Alone:
    """The stream in a process that sleeps until it is asked, as the node's does."""

    def __init__(self, model: Path, sizes: Sequence[tuple[int, int]]) -> None:
        """Start it; it is ready when `seconds` returns."""
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_answer, args=(model, list(sizes), other), daemon=True)
        self._process.start()

    def seconds(self, size: tuple[int, int]) -> float:
        """What one image takes."""
        self._pipe.send(size)
        return float(self._pipe.recv())

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.join()


def _answer(model: Path, sizes: Sequence[tuple[int, int]], pipe: Any) -> None:
    stream = PoseStream.load([model], track=SETTINGS, sizes={"mug": KnownSize(diameter=DIAMETER_M)})
    queries = {size: query(*size) for size in sizes}
    while True:
        frame, detection = queries[pipe.recv()]
        start = time.perf_counter()
        stream.process(time.time_ns(), frame, [detection])
        pipe.send(time.perf_counter() - start)


class Camera2Tf:
    """The other side of pose_node: publishes, and hears TF and diagnostics."""

    def __init__(self) -> None:
        """Connect."""
        memory.keep()  # as drivers of cameras do, which fill the same buffers again
        rclpy.init()
        self.node = rclpy.create_node("latency")
        self._images = self.node.create_publisher(Image, "image", qos_profile_sensor_data)
        self._infos = self.node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self._boxes = self.node.create_publisher(Detection2DArray, "detections", 10)
        self.arrivals: dict[int, float] = {}
        self._heard = threading.Condition()
        self.values: dict[str, str] = {}
        self.node.create_subscription(TFMessage, "/tf", self._tf, 100)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self) -> None:
        """Disconnect."""
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _tf(self, message: TFMessage) -> None:
        now = time.time()
        with self._heard:
            for transform in message.transforms:
                self.arrivals.setdefault(stamp_ns(transform.header.stamp), now)
            self._heard.notify()

    def _diagnostics(self, message: DiagnosticArray) -> None:
        self.values.update({value.key: value.value for status in message.status for value in status.values})

    def prepare(self, frame: Frame, detection: Detection) -> Callable[[], int]:
        """A function that publishes everything and returns the stamp."""
        camera, (left, top, right, bottom) = frame.camera, (float(v) for v in detection.bbox_xyxy)
        image = Image(height=camera.height, width=camera.width, encoding="rgb8", step=3 * camera.width)
        image.data = array.array("B", frame.image.tobytes())
        image.header.frame_id = "camera_optical_frame"
        info = CameraInfo(height=camera.height, width=camera.width, k=camera.K.reshape(-1))
        item = Detection2D()
        item.bbox.center.position.x, item.bbox.center.position.y = (left + right) / 2, (top + bottom) / 2
        item.bbox.size_x, item.bbox.size_y = right - left, bottom - top
        boxes = Detection2DArray(header=image.header, detections=[item])

        def publish() -> int:
            at = time.time_ns()
            image.header.stamp.sec, image.header.stamp.nanosec = divmod(at, 1_000_000_000)
            info.header = image.header
            self._infos.publish(info)
            self._boxes.publish(boxes)
            self._images.publish(image)
            return at

        return publish

    def wait_for_node(self) -> None:
        """Until it listens."""
        deadline = time.monotonic() + PATIENCE_S
        while not (self._images.get_subscription_count() and self._boxes.get_subscription_count()):
            if time.monotonic() > deadline:
                raise TimeoutError("pose_node does not answer")
            time.sleep(0.1)
        time.sleep(1.0)

    def latency_s(self, publish: Callable[[], int]) -> float:
        """From the stamp of one image to its TF; NaN where there was none."""
        at = publish()
        with self._heard:  # asleep meanwhile: looking again and again would take the processor from the node
            arrived = self._heard.wait_for(lambda: at in self.arrivals, 5.0)
        return self.arrivals[at] - at / 1e9 if arrived else float("nan")

    def around_ms(self, latencies_ms: Sequence[float]) -> dict[str, float]:
        """What the latencies of the last images have besides the estimation, smoothed as the node smooths its times."""
        time.sleep(1.5)  # diagnostics come once a second
        smooth = latencies_ms[0]
        for latency in latencies_ms[1:]:
            smooth += SMOOTHING * (latency - smooth)
        stages = {k.removesuffix(" (ms)"): float(v) for k, v in self.values.items() if k.endswith(" (ms)")}
        node = {name: stages[name] for name in ("queue", "decoding", "transforms", "publishing")}
        return {"all": smooth - stages["estimation"], **node}


def in_turns(stream: Alone, robot: Camera2Tf, size: tuple[int, int], images: int) -> dict[str, Any]:
    """Latencies of the stream alone and of the node, image by image in turns."""
    publish, alone, node = robot.prepare(*query(*size)), [], []
    for index in range(images + WARM_UP):
        took = stream.seconds(size)
        latency = robot.latency_s(publish)
        if index >= WARM_UP:
            alone.append(1000 * took)
            node.append(1000 * latency)
    quantiles = {"fastest_tenth": 10, "median": 50}  # other work on the machine disturbs the fastest the least
    figures = {
        what: {name: float(np.nanpercentile(values, q)) for name, q in quantiles.items()}
        for what, values in (("alone_ms", alone), ("node_ms", node))
    }
    overhead = {name: figures["node_ms"][name] - figures["alone_ms"][name] for name in quantiles}
    about = {"size": f"{size[0]}x{size[1]}", "images": images, "without_tf": int(np.isnan(node).sum())}
    return {**about, **figures, "overhead_ms": overhead, "around_ms": robot.around_ms(node)}


def soak(robot: Camera2Tf, process: psutil.Process, size: tuple[int, int], seconds: float) -> dict[str, Any]:
    """Thirty images a second for some time: memory, threads, latency at the beginning and at the end, drops."""
    publish, sent, samples = robot.prepare(*query(*size)), [], []
    begin = time.monotonic()
    while (now := time.monotonic() - begin) < seconds:
        sent.append(publish())
        if now >= SAMPLE_S * len(samples):
            samples.append((now, process.memory_info().rss / 2**20, process.num_threads()))
        time.sleep(max(0.0, begin + len(sent) / SOAK_HZ - time.monotonic()))
    time.sleep(2.0)
    latencies = [(at, 1000 * (robot.arrivals[at] - at / 1e9)) for at in sent if at in robot.arrivals]
    third = len(latencies) // 3
    settled = np.array(samples[len(samples) // 4 :])
    return {
        "size": f"{size[0]}x{size[1]}",
        "seconds": seconds,
        "sent": len(sent),
        "served": len(latencies),
        "dropped": int(robot.values.get("images dropped for newer ones", 0)),
        "latency_ms_first_third": statistics.median(ms for _, ms in latencies[:third]),
        "latency_ms_last_third": statistics.median(ms for _, ms in latencies[-third:]),
        "memory_mib": [round(m, 1) for _, m, _ in samples],
        "memory_mib_per_minute": float(60 * np.polyfit(settled[:, 0], settled[:, 1], 1)[0]),
        "threads": sorted({int(n) for _, _, n in samples[1:]}),
    }


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def measure(model: Path, sizes: Sequence[tuple[int, int]], images: int, seconds: float) -> dict[str, Any]:
    """Everything, with a node that is started for it."""
    lists = [f"models:=['{model.absolute()}']", f"sizes:=['mug={DIAMETER_M}']"]
    parameters = [*lists, "autostart:=true", "track.confirm_hits:=1"]
    words = [word for parameter in parameters for word in ("-p", parameter)]
    node = subprocess.Popen([sys.executable, "-m", "uop3d_ros.pose_node", "--ros-args", *words])
    stream, robot = Alone(model, sizes), Camera2Tf()
    try:
        robot.wait_for_node()
        turns = [in_turns(stream, robot, size, images) for size in sizes]
        stream.close()
        soaked = soak(robot, psutil.Process(node.pid), sizes[0], seconds) if seconds else None
        return {"latency": turns, "soak": soaked}
    finally:
        node.terminate()
        node.wait(30)
        robot.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--sizes", type=_size, nargs="+", default=[(640, 480), (1920, 1080)], metavar="WxH")
    parser.add_argument("--images", type=int, default=60, help="per size")
    parser.add_argument("--soak", type=float, default=180.0, metavar="SECONDS", help="0: none")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = measure(options.model, options.sizes, options.images, options.soak)
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
