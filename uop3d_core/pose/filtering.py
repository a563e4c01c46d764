"""A Kalman filter of one object's pose, velocity and scale over time.

In: seconds, motions of the camera, measured poses with covariances. Out: a new PoseState; states never change.
Frame: cam. Translations are in object units and angles in radians; a pose error (dt, w) means that the true pose is
[exp(w) R, t + dt], as in `PoseEstimate.covariance`. The state's error has twice as many entries, the second half being
that of the velocity. The error-state form on a rotation follows Sola, "Quaternion kinematics for the error-state Kalman
filter", 2017, chapter 7 (global angular errors), with white noise on the acceleration (Bar-Shalom, Li, Kirubarajan,
"Estimation with applications to tracking and navigation", 2001, section 6.2.2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.config import TrackSettings
from uop3d_core.geometry import Array, closest_rotation, rigid
from uop3d_core.pose.measurement import Measurement, nearest_equivalents
from uop3d_core.types import Symmetry

OUTLYING_SCALE = 9.0


@dataclass(frozen=True, eq=False)
class PoseState:
    """What is known of one object at one time.

    Attributes:
        cam_T_obj: (4, 4) rigid transform; translation in object units.
        velocity: (6,) of the object in the axes of cam: object units per second, and the rotation vector in radians
            per second. It is relative to the fixed frame where the camera's motion is given, else to the camera.
        covariance: (12, 12) of the errors (dt, w) and of those of the velocity.
        scale: metres per object unit; NaN where unknown.
        scale_std: standard deviation of the scale, relative to it; NaN where unknown.
    """

    cam_T_obj: Array
    velocity: Array
    covariance: Array
    scale: float
    scale_std: float


@dataclass(frozen=True, eq=False)
class Innovation:
    """By how much a measured pose differs from a state's.

    Attributes:
        cam_T_obj: (4, 4) of those poses that the measurement leaves open the one that is nearest to the state.
        error: (6,) (dt, w) from the state to it.
        covariance: (6, 6) of `error` if both are right.
        pose, position, rotation: squared Mahalanobis distances of all six entries, of dt and of w.
    """

    cam_T_obj: Array
    error: Array
    covariance: Array
    pose: float
    position: float
    rotation: float


def _exp(rotation_vector: Array) -> Array:
    return Rotation.from_rotvec(rotation_vector).as_matrix()


def start(measurement: Measurement, settings: TrackSettings, cam_T_obj: Array | None = None) -> PoseState:
    """The state after one measurement, at its most probable pose or at `cam_T_obj`; the velocity is unknown."""
    covariance = np.zeros((12, 12))
    covariance[:6, :6] = measurement.covariance
    covariance[6:9, 6:9] = np.eye(3) * settings.speed**2
    covariance[9:, 9:] = np.eye(3) * np.deg2rad(settings.turn_deg) ** 2
    pose = measurement.options[0] if cam_T_obj is None else cam_T_obj
    return PoseState(pose, np.zeros(6), covariance, measurement.scale, measurement.scale_std)


def predict(state: PoseState, seconds: float, settings: TrackSettings, camera_known: bool = False) -> PoseState:
    """The state some seconds later: velocities stay, and become less sure; even less if the camera may have moved."""
    turn = state.velocity[3:] * seconds
    F = np.eye(12)
    F[:3, 6:9] = seconds * np.eye(3)
    F[3:6, 3:6] = _exp(turn)
    F[3:6, 9:] = seconds * _exp(turn / 2)  # the left Jacobian of SO(3) to second order
    Q = np.kron([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]], _noise(state, settings, camera_known))
    pose = rigid(F[3:6, 3:6] @ state.cam_T_obj[:3, :3], state.cam_T_obj[:3, 3] + state.velocity[:3] * seconds)
    scale_std = float(np.hypot(state.scale_std, settings.scale_change * np.sqrt(seconds)))
    covariance = _symmetric(F @ state.covariance @ F.T + Q)
    return replace(state, cam_T_obj=pose, covariance=covariance, scale_std=scale_std)


def _noise(state: PoseState, settings: TrackSettings, camera_known: bool) -> Array:
    """Covariance (6, 6) of the change of the velocity in a second; an unknown turn w of the camera adds w x t to it."""
    known = np.isfinite(state.scale)
    speed_change = settings.speed_change_m / state.scale if known else settings.speed_change
    noise: Array = np.diag(np.repeat([speed_change, np.deg2rad(settings.turn_change_deg)], 3) ** 2)
    if not camera_known:
        x, y, z = state.cam_T_obj[:3, 3]
        lever = np.vstack([[[0, z, -y], [-z, 0, x], [y, -x, 0]], np.eye(3)])
        noise += np.deg2rad(settings.camera_change_deg) ** 2 * lever @ lever.T
    return noise


def seen_from(state: PoseState, now_T_before: Array) -> PoseState:
    """The state in another camera frame.

    Args:
        state: in the camera frame `before`.
        now_T_before: (4, 4) motion of the camera in metres. Where the scale is unknown nobody can tell how many object
            units these are; then only the camera's rotation counts.
    """
    turn = now_T_before[:3, :3]
    G = np.kron(np.eye(4), turn)
    covariance = G @ state.covariance @ G.T
    shift = np.zeros(3)
    if np.isfinite(state.scale):
        shift = now_T_before[:3, 3] / state.scale
        covariance[:3, :3] += np.outer(shift, shift) * state.scale_std**2
    pose = rigid(turn @ state.cam_T_obj[:3, :3], turn @ state.cam_T_obj[:3, 3] + shift)
    velocity = (turn @ state.velocity.reshape(2, 3).T).T.ravel()
    return replace(state, cam_T_obj=pose, velocity=velocity, covariance=_symmetric(covariance))


def at_rest(state: PoseState) -> PoseState:
    """The state without its velocity, which becomes a part of what is unsure."""
    covariance = state.covariance.copy()
    covariance[:6, 6:] = covariance[6:, :6] = 0
    covariance[6:, 6:] += np.outer(state.velocity, state.velocity)
    return replace(state, velocity=np.zeros(6), covariance=covariance)


def compare(state: PoseState, measurement: Measurement, symmetry: Symmetry) -> Innovation:
    """Find the pose nearest to a state among those that a measurement and the symmetry leave open."""
    R, t = state.cam_T_obj[:3, :3], state.cam_T_obj[:3, 3]
    options = nearest_equivalents(measurement.options, R, symmetry)
    turns = Rotation.from_matrix(options[:, :3, :3] @ R.T).as_rotvec()
    errors = np.concatenate([options[:, :3, 3] - t, turns], axis=1)
    S = state.covariance[:6, :6] + measurement.covariance
    distances = _squared(errors, S)
    k = int(distances.argmin())
    position, rotation = _squared(errors[k, :3], S[:3, :3]), _squared(errors[k, 3:], S[3:, 3:])
    return Innovation(options[k], errors[k], S, float(distances[k]), float(position), float(rotation))


def correct(
    state: PoseState, innovation: Innovation, measurement: Measurement, position_only: bool = False
) -> PoseState:
    """Take a measurement into account (Kalman update in Joseph form, errors moved into the pose, covariance turned).

    Args:
        state: at the time of the measurement.
        innovation: of the measurement against `state`.
        measurement: with covariance and scale.
        position_only: leave out the measured rotation.

    Returns:
        The corrected state. Where the scale becomes known the velocity is given up: until then it contained the
        camera's motion, which can be told from now on.
    """
    n = 3 if position_only else 6
    H = np.eye(n, 12)
    K = np.linalg.solve(innovation.covariance[:n, :n], H @ state.covariance).T
    rest = np.eye(12) - K @ H
    covariance = rest @ state.covariance @ rest.T + K @ measurement.covariance[:n, :n] @ K.T
    error = K @ innovation.error[:n]
    G = np.eye(12)
    G[3:6, 3:6] = _exp(error[3:6] / 2)
    R = closest_rotation(_exp(error[3:6]) @ state.cam_T_obj[:3, :3])
    scale, scale_std = _corrected_scale(state, measurement)
    pose, velocity = rigid(R, state.cam_T_obj[:3, 3] + error[:3]), state.velocity + error[6:]
    corrected = PoseState(pose, velocity, _symmetric(G @ covariance @ G.T), scale, scale_std)
    return at_rest(corrected) if np.isnan(state.scale) and np.isfinite(scale) else corrected


def _corrected_scale(state: PoseState, measurement: Measurement) -> tuple[float, float]:
    """Scalar Kalman update of the scale's logarithm; what differs by more than three deviations weighs less."""
    if np.isnan(measurement.scale):
        return state.scale, state.scale_std
    if np.isnan(state.scale):
        return measurement.scale, measurement.scale_std
    own, new = state.scale_std**2, measurement.scale_std**2
    error = float(np.log(measurement.scale / state.scale))
    new *= max(1.0, error**2 / (own + new) / OUTLYING_SCALE)
    gain = own / (own + new)
    return float(state.scale * np.exp(gain * error)), float(np.sqrt((1 - gain) * own))


def _squared(errors: Array, covariance: Array) -> Array:
    """Squared Mahalanobis lengths (...) of (..., n) errors."""
    return (errors * np.linalg.solve(covariance, errors.T).T).sum(-1)


def _symmetric(matrix: Array) -> Array:
    return (matrix + matrix.T) / 2
