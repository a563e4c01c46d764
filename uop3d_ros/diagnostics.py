"""What /diagnostics says of pose_node, from its Health and its parts.

In: figures. Out: diagnostic_msgs/DiagnosticStatus through diagnostic_updater: inputs, estimation, model, objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_updater import Updater

if TYPE_CHECKING:
    from uop3d_ros.pose_node import PoseNode

SILENCE_S = 2.0
"""An input that says nothing for so long is missed."""
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Diagnostics:
    """The tasks of one node; they run in its executor."""

    def __init__(self, node: PoseNode) -> None:
        """Begin to publish."""
        self._node, self._health = node, node.health
        updater = Updater(node)
        updater.setHardwareID("none")
        for name in ("inputs", "estimation", "model", "objects"):
            updater.add(name, getattr(self, f"_{name}"))
        self._updater = updater

    def update(self) -> None:
        """Publish now, without waiting for the timer."""
        self._updater.force_update()

    def _summarise(self, status: Any, sentences: list[str], level: bytes = WARN, otherwise: str = "all is well") -> Any:
        status.summary(level if sentences else OK, "; ".join(sentences) if sentences else otherwise)
        return status

    def _inputs(self, status: Any) -> Any:
        health, listening = self._health, self._node.listening
        for name, rate in health.rates.items():
            if name != "results":
                status.add(f"{name} (Hz)", f"{rate.hz:.1f}")
        for name, value in (vars(listening.counts) if listening else {}).items():
            status.add(name, str(value))
        for name, value in sorted(health.counts.items()):
            status.add(f"problems with {name}", str(value))
        if listening is None:
            return self._summarise(status, [], otherwise="not active")
        kinds = ("images", "camera_info", "detections", "depth", "transforms", "qos")
        present = [text for kind in kinds if (text := health.present(kind))]
        missing = [listening.silence(name) for name in listening.inputs if health.silent(name, SILENCE_S)]
        return self._summarise(status, missing + present, ERROR if missing else WARN)

    def _estimation(self, status: Any) -> Any:
        health, worker = self._health, self._node.worker
        status.add("results (Hz)", f"{health.rates['results'].hz:.1f}")
        for stage, value in health.stages_ms.items():
            status.add(f"{stage} (ms)", f"{value:.1f}")
        status.add("images processed", str(worker.done if worker else 0))
        status.add("images dropped for newer ones", str(worker.dropped if worker else 0))
        status.add("images overtaken", str(health.counts["overtaken"]))
        present = [text for kind in ("estimation", "scale") if (text := health.present(kind))]
        return self._summarise(status, present, otherwise="all is well" if self._node.active else "not active")

    def _model(self, status: Any) -> Any:
        node = self._node
        status.add("device", node.settings.device)
        if node.failure:
            return self._summarise(status, [node.failure], ERROR)
        if node.processor is None:
            return self._summarise(status, [], otherwise="not configured")
        warnings = []
        for category, estimator in node.processor.stream.estimator.estimators.items():
            model, views = estimator.model, estimator.calibration.views
            status.add(category, f"backbone {model.backbone_spec}, uop3d {model.metadata.get('version', 'unknown')}")
            status.add(f"{category}: views that scores were calibrated on", str(views))
            if views == 0:
                warnings.append(f"{category}: scores and covariances are not calibrated, so they promise nothing")
        return self._summarise(status, warnings)

    def _objects(self, status: Any) -> Any:
        processor = self._node.processor
        status.add("objects", str(processor.tracked if processor else 0))
        status.add("objects of unknown size", str(processor.unscaled if processor else 0))
        if processor is None or not processor.unscaled:
            return self._summarise(status, [])
        if self._node.settings.publish_unscaled:
            text = "objects of unknown size are published with an object unit taken for a metre (publish_unscaled)"
        else:
            text = (
                "objects of unknown size are in ~/objects only, not in TF: set 'sizes', or give depth, points or a "
                "plane_frame"
            )
        return self._summarise(status, [text])
