"""pose_node with its topics, and on demand a detector and RViz.

ros2 launch uop3d_ros pose.launch.py model:=mug.safetensors image:=/camera/image_raw sizes:=mug=0.12
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushRosNamespace, SetRemap

from launch import LaunchContext, LaunchDescription

SHARE = Path(get_package_share_directory("uop3d_ros"))
ARGUMENTS = {
    "model": ("", "model file, or several with commas between them; empty: as in params_file"),
    "sizes": ("", "diagonals in metres, as in mug=0.12,car=4.5; empty: as in params_file"),
    "labels": ("", "what the detector calls them, as in cup=mug; empty: as in params_file"),
    "target_frame": ("", "frame that poses are given in; empty: as in params_file"),
    "image": ("image", "topic of the images"),
    "camera_info": ("camera_info", "topic of the calibration"),
    "detections": ("detections", "topic of the boxes"),
    "depth": ("depth", "topic of the aligned depth image, if params_file asks for one"),
    "points": ("points", "topic of the point cloud, if params_file asks for one"),
    "params_file": (str(SHARE / "config" / "pose.yaml"), "parameters"),
    "namespace": ("", "of the nodes"),
    "name": ("pose_node", "of the node"),
    "frame_prefix": ("", "of the names of objects: another one per camera"),
    "autostart": ("true", "configure and activate the node"),
    "respawn": ("false", "start the node again when it dies"),
    "use_sim_time": ("false", "take the time from /clock"),
    "log_level": ("info", "debug, info, warn or error"),
    "python": ("", "Python that runs the nodes; empty: that of the active virtual environment"),
    "detector": ("", "start a detector: torchvision, or an ONNX file; empty: there is one already"),
    "use_rviz": ("false", "start RViz"),
    "rviz_frame": ("camera_optical_frame", "fixed frame of RViz"),
}
LISTS = {"model": "models", "sizes": "sizes", "labels": "labels"}
TOPICS = ("image", "camera_info", "detections", "depth", "points")


def parameters(context: LaunchContext) -> dict[str, object]:
    """Those that launch arguments give; they go before the file's."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    given: dict[str, object] = {
        "autostart": values["autostart"].lower() in ("true", "1"),
        "use_sim_time": values["use_sim_time"].lower() in ("true", "1"),
    }
    for argument, parameter in LISTS.items():
        if values[argument]:
            given[parameter] = [part.strip() for part in values[argument].split(",")]
    given.update({name: values[name] for name in ("target_frame", "frame_prefix") if values[name]})
    return given


def nodes(context: LaunchContext) -> list[object]:
    """pose_node, and the detector if one is asked for."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    common = {
        "package": "uop3d_ros",
        "output": "screen",
        "emulate_tty": True,
        "prefix": [value["python"]],
        "ros_arguments": ["--log-level", value["log_level"]],
    }
    given = parameters(context)
    pose = Node(
        executable="pose_node",
        name=value["name"],
        parameters=[value["params_file"], given],
        respawn=value["respawn"].lower() in ("true", "1"),
        respawn_delay=2.0,
        **common,
    )
    if not value["detector"]:
        return [pose]
    detector = Node(
        executable="detector_node",
        name="detector_node",
        parameters=[{"model": value["detector"], "use_sim_time": given["use_sim_time"]}],
        **common,
    )
    return [pose, detector]


def generate_launch_description() -> LaunchDescription:
    """Everything in one namespace."""
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "config" / "pose.rviz"), "-f", LaunchConfiguration("rviz_frame")],
        condition=IfCondition(LaunchConfiguration("use_rviz")),
    )
    remaps = [SetRemap(topic, LaunchConfiguration(topic)) for topic in TOPICS]
    group = GroupAction(
        [PushRosNamespace(LaunchConfiguration("namespace")), *remaps, OpaqueFunction(function=nodes), rviz]
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, group])
