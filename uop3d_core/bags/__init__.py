"""Recordings of robots, rosbag2 files and folders, read, replayed through a model and written without ROS."""
