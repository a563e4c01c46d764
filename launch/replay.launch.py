"""A recorded bag through pose_node, in the time of the recording.

ros2 launch uop3d_ros replay.launch.py bag:=recording/ model:=mug.safetensors image:=/camera/image_raw

All arguments of pose.launch.py can be given, too. Without ROS: uop3d replay.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription

SHARE = Path(get_package_share_directory("uop3d_ros"))


def player(context: LaunchContext) -> list[object]:
    """`ros2 bag play`, with the clock that the node goes by."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ("bag", "rate", "loop", "delay_s")}
    if not Path(value["bag"]).exists():
        raise RuntimeError(f"bag:={value['bag']}: there is no such file or folder")
    command = [
        "ros2",
        "bag",
        "play",
        value["bag"],
        "--clock",
        "100",
        "--rate",
        value["rate"],
        "--delay",
        value["delay_s"],
    ]
    return [ExecuteProcess(cmd=command + (["--loop"] if value["loop"] == "true" else []), output="screen")]


def generate_launch_description() -> LaunchDescription:
    """The player and pose.launch.py beside it."""
    pose = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "pose.launch.py")),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="file or folder of a rosbag2 recording"),
            DeclareLaunchArgument("rate", default_value="1.0", description="speed of the replay"),
            DeclareLaunchArgument("loop", default_value="false", description="begin again at the end"),
            DeclareLaunchArgument(
                "delay_s", default_value="5.0", description="pause before the first image and every repetition"
            ),
            OpaqueFunction(function=player),  # first: where there is no bag no node is started
            pose,
        ]
    )
