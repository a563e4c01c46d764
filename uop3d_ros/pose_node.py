"""The lifecycle node that turns images and detections into object poses; it does no mathematics itself.

In: topics image, camera_info, detections, depth or points. Out: ~/objects, ~/detections, ~/poses, ~/estimates,
~/markers, /tf, /diagnostics; services ~/set_enabled, ~/reset_tracks, ~/reload_model, ~/estimate. See docs/ros.md.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import ClockChange, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from uop3d_core.pose.stream import PoseStream
from uop3d_ros import memory
from uop3d_ros.diagnostics import Diagnostics
from uop3d_ros.frames import Frames
from uop3d_ros.health import Health
from uop3d_ros.listening import WATCH_S, Listening
from uop3d_ros.outputs import Outputs
from uop3d_ros.parameters import NodeSettings, describe, fields, fixed_changes, settings_of
from uop3d_ros.pixels import Pixels
from uop3d_ros.processing import Job, Processor
from uop3d_ros.services import Services
from uop3d_ros.spinning import spin
from uop3d_ros.worker import Worker


class PoseNode(LifecycleNode):
    """Configured it holds the models, active it listens.

    Attributes:
        settings: the parameters.
        health: rates and problems.
        listening: while it is active, else None.
        enabled: whether it estimates the poses of what it hears.
        failure: why it could not be configured, or "".
        processor, worker: what it works with, or None.
    """

    def __init__(self) -> None:
        """Declare the parameters; nothing is loaded yet.

        Raises:
            ParameterException: a parameter has a wrong type or is out of its range.
        """
        super().__init__("pose_node")
        self._names = [name for name, _, _ in fields()]
        for name, field, changeable in fields():
            default, descriptor = describe(field, changeable)
            self.declare_parameter(name, default, descriptor)
        self.health = Health(self.get_logger().warning)
        self.enabled, self.failure = True, ""
        self.processor: Processor | None = None
        self.worker: Worker | None = None
        self.listening: Listening | None = None
        self._outputs: Outputs | None = None
        self.settings = NodeSettings()
        self.settings = self._read()
        self.add_on_set_parameters_callback(self._set)
        self._diagnostics = Diagnostics(self)
        self._offered = Services(self)
        self._watch_timer = self.create_timer(WATCH_S, lambda: self.listening and self.listening.watch())
        backwards = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        self._jumps = self.get_clock().create_jump_callback(backwards, post_callback=self._jumped)
        if self.settings.autostart:
            self._start_timer = self.create_timer(0.0, self._autostart)

    # Parameters

    def _read(self, changed: list[Parameter] | None = None) -> NodeSettings:
        """The parameters as they are, or as they would be.

        Raises:
            ValueError: a value does not mean anything; says which.
        """
        values = {name: self.get_parameter(name).value for name in self._names}
        values.update({p.name: p.value for p in changed or () if p.name in values})
        return settings_of(values)

    def _set(self, changed: list[Parameter]) -> SetParametersResult:
        """Take parameters over, or refuse them."""
        try:
            settings = self._read(changed)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        fixed = fixed_changes(self.settings, settings) if self.processor else []
        if fixed:
            reason = (
                f"{', '.join(fixed)}: deactivate and clean up the node first (ros2 lifecycle set), then configure it"
            )
            return SetParametersResult(successful=False, reason=reason)
        if self.processor and (unknown := settings.known_sizes.keys() - self.processor.stream.templates.keys()):
            reason = f"sizes: there is no model of {', '.join(sorted(unknown))}"
            return SetParametersResult(successful=False, reason=reason)
        before, self.settings = self.settings, settings
        self._apply(before)
        return SetParametersResult(successful=True)

    def _apply(self, before: NodeSettings) -> None:
        """Let a running node have its new parameters."""
        processor, worker, settings = self.processor, self.worker, self.settings
        if processor is None or worker is None:
            return
        processor.settings = settings
        if settings.sizes != before.sizes:
            worker.call(lambda: setattr(processor.stream, "sizes", settings.known_sizes))
        if settings.track != before.track:
            worker.call(lambda: processor.stream.configure(settings.track))
        if self.active:
            self._listen_to_tf()

    # Lifecycle

    def _autostart(self) -> None:
        self.destroy_timer(self._start_timer)
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the models; on failure the node lives and says why."""
        try:
            self.settings, self.failure = self._read(), ""
            pixels, stream = Pixels(), self.load()
            self._outputs = Outputs(self)
            self.processor = Processor(self.settings, stream, self._outputs, self.health, pixels)
            self.worker = Worker(self._work)
        except Exception as error:  # rclpy would swallow what is not caught here
            self.failure = f"cannot be configured: {error}"
            self.get_logger().error(self.failure)
            self._release()
            self._diagnostics.update()
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(f"models of {', '.join(stream.templates)} on {self.settings.device}")
        return TransitionCallbackReturn.SUCCESS

    def load(self) -> PoseStream:
        """Read the model files that the parameters name; errors as in `PoseStream.load`."""
        settings = self.settings
        if not settings.models:
            raise ValueError("the parameter 'models' is empty: name one model file per category")
        return PoseStream.load(settings.models, settings.device, settings.pose, settings.track, settings.known_sizes)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen."""
        self.health.clear()
        try:
            self.listening = Listening(self, self.settings, self.health, self._submit, self._begin_anew)
        except Exception as error:  # rclpy would swallow what is not caught here
            self.get_logger().error(f"cannot be activated: {error}")
            return TransitionCallbackReturn.FAILURE
        self._listen_to_tf()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do not listen any more; models stay, objects are forgotten."""
        self._stop_listening()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the models."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything."""
        self._stop_listening()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an error that nobody expected: back to the beginning."""
        self._stop_listening()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _stop_listening(self) -> None:
        listening, self.listening = self.listening, None
        if listening:
            listening.close()
        processor, worker = self.processor, self.worker
        if processor and worker:
            worker.forget()
            worker.call(processor.reset)
            self._close_frames(processor)

    def _release(self) -> None:
        if self.worker:
            self.worker.close()
        if self._outputs:
            self._outputs.close()
        self.worker = self.processor = self._outputs = None
        memory.give_back()

    def close(self) -> None:
        """End the threads, whatever state the node is in."""
        self._stop_listening()
        self._release()

    def _listen_to_tf(self) -> None:
        """Listen to TF if a parameter needs it."""
        settings, processor = self.settings, self.processor
        assert processor is not None  # the node is active
        needed = settings.target_frame or settings.fixed_frame or settings.plane_frame or settings.depth == "points"
        if needed and processor.frames is None:
            processor.frames = Frames(self)
        elif not needed:
            self._close_frames(processor)

    def _close_frames(self, processor: Processor) -> None:
        frames, processor.frames = processor.frames, None
        if frames:
            frames.close()

    # What is heard

    @property
    def active(self) -> bool:
        """Whether the node listens."""
        return self.listening is not None

    def _submit(self, job: Job) -> None:
        if self.worker and self.enabled:
            self.worker.submit(job)

    def _work(self, job: Job) -> None:
        listening, processor = self.listening, self.processor
        if processor and listening:
            processor.work(replace(job, info=job.info or listening.info))  # it may have come just after the image

    def _jumped(self, jump: TimeJump) -> None:
        change = jump.clock_change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED)
        if self.listening and (change or jump.delta.nanoseconds < 0):
            self.listening.forget()
            self._begin_anew("the clock went back")

    def _begin_anew(self, why: str) -> None:
        """Forget what was before: a recording started again."""
        self.get_logger().info(f"{why}: objects and transforms are forgotten")
        processor, worker = self.processor, self.worker
        if processor and worker:
            worker.forget()
            worker.call(processor.reset)
            if processor.frames:
                processor.frames.clear()

    def enable(self, wanted: bool) -> None:
        """Work on what comes, or only listen."""
        self.enabled = wanted
        if not wanted and self.worker:
            self.worker.forget()


class _RosLog(logging.Handler):
    """Carries the log of uop3d_core into that of the node."""

    def __init__(self, node: PoseNode) -> None:
        super().__init__(logging.WARNING)
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        (self._logger.error if record.levelno >= logging.ERROR else self._logger.warning)(self.format(record))


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    memory.keep()
    rclpy.init(args=args)
    try:
        node = PoseNode()
    except (ParameterException, ValueError) as error:
        print(f"pose_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    handler = _RosLog(node)
    logging.getLogger("uop3d_core").addHandler(handler)
    logging.getLogger("uop3d_ros").addHandler(handler)
    return spin(node, node.close)


if __name__ == "__main__":
    sys.exit(main())
