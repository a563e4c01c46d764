"""The services of pose_node; those that need the models wait for the worker thread, and nobody waits with them.

In: requests. Out: responses, with the reason where something cannot be done.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2DArray

from uop3d_ros.processing import Job, Processor
from uop3d_ros.srv import EstimatePoses

if TYPE_CHECKING:
    from uop3d_ros.pose_node import PoseNode

NOT_ACTIVE = "the node is not active: ros2 lifecycle set <node> configure, then activate"
PATIENCE_S = 5.0
"""A request of poses that names no time is answered within so much."""
NOT_CONFIGURED = "the node is not configured: ros2 lifecycle set <node> configure"


class Services:
    """They exist in every state of the node, and say so where they cannot help."""

    def __init__(self, node: PoseNode) -> None:
        """Offer them."""
        self._node, self._estimating = node, 0
        self._group = waiting = ReentrantCallbackGroup()  # in the usual group the whole node would wait for an answer
        node.create_service(SetBool, "~/set_enabled", self._set_enabled)
        node.create_service(Trigger, "~/reset_tracks", self._reset_tracks, callback_group=waiting)
        node.create_service(Trigger, "~/reload_model", self._reload_model, callback_group=waiting)
        node.create_service(EstimatePoses, "~/estimate", self._estimate, callback_group=waiting)
        self._wake = node.create_guard_condition(lambda: None, callback_group=waiting)

    def _set_enabled(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._node.enable(request.data)
        response.success, response.message = True, "enabled" if request.data else "disabled: ~/estimate still answers"
        return response

    async def _reset_tracks(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def reset(processor: Processor) -> str:
            processor.reset()
            return "all objects are forgotten"

        response.success, response.message = await self._in_worker(reset)
        return response

    async def _reload_model(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def reload(processor: Processor) -> str:
            stream = self._node.load()
            stream.take_over(processor.stream.next_id, self._node.settings.track)
            processor.take(stream)
            return f"models of {', '.join(stream.templates)}"

        response.success, response.message = await self._in_worker(reload)
        return response

    async def _estimate(
        self, request: EstimatePoses.Request, response: EstimatePoses.Response
    ) -> EstimatePoses.Response:
        listening = self._node.listening
        job = listening.newest(with_detections=not request.detections) if listening else None
        refusal = self._refusal(request, job)
        if refusal or job is None:
            response.success, response.message = False, refusal
            return response
        boxes = Detection2DArray(detections=request.detections)
        self._estimating += 1
        try:
            response.success, outcome = await self._in_worker(
                lambda processor: processor.estimate(job, boxes), request.timeout_s or PATIENCE_S
            )
        finally:
            self._estimating -= 1
        if response.success:
            response.objects = outcome
        else:
            response.message = outcome
        return response

    def _refusal(self, request: EstimatePoses.Request, job: Job | None) -> str:
        """Why poses cannot be estimated now, or ""."""
        if not self._node.active:
            return NOT_ACTIVE
        if not 0 <= request.timeout_s < math.inf:
            return f"timeout_s must be 0 or more seconds, got {request.timeout_s}"
        if self._estimating >= request.MOST_WAITING:
            return f"busy: {self._estimating} requests wait already"
        if job is None:
            return f"no image {'has' if request.detections else 'with detections has'} come yet"
        return ""

    async def _in_worker(self, task: Callable[[Processor], Any], timeout_s: float = 0.0) -> tuple[bool, Any]:
        """Run something between two images, in some time or (0) whenever.

        Returns:
            Whether it worked, and its result or what went wrong.
        """
        worker, processor = self._node.worker, self._node.processor
        if worker is None or processor is None:
            return False, NOT_CONFIGURED
        outcome: Future = Future(executor=self._node.executor)
        running = worker.call(lambda: task(processor))

        def tell(done: Any) -> None:
            outcome.set_result(done)
            self._wake.trigger()  # the executor sleeps, and does not hear of futures of other threads by itself

        running.add_done_callback(tell)
        timer = self._alarm(timeout_s, lambda: outcome.done() or outcome.set_result(None)) if timeout_s else None
        done = await outcome
        if timer:
            self._node.destroy_timer(timer)
        if done is None:
            running.cancel()
            return False, f"no answer within {timeout_s:g} s: the node works on an image, or on other requests"
        try:
            return True, done.result()
        except CancelledError:
            return False, "the node was cleaned up meanwhile"
        except Exception as error:  # whatever it was, the one who asked hears of it
            self._node.get_logger().error(str(error))
            return False, str(error)

    def _alarm(self, seconds: float, ring: Callable[[], Any]) -> Any:
        """A timer that simulated time does not stop."""
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        return self._node.create_timer(seconds, ring, callback_group=self._group, clock=clock)
