"""Policies that leave: files for other programs. Needs `pip install metarl-robotics[onnx]`."""
