"""ROS messages without ROS: built from and read into the dataclasses of `types`, whoever gives the message classes."""
