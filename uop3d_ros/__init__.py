"""ROS 2 side of uop3d: messages, conversions and nodes around `uop3d_core`."""

import pkgutil

# The build generates uop3d_ros.msg in a folder of its own; this joins that folder and this one into one package.
__path__ = pkgutil.extend_path(__path__, __name__)
