"""One page that can be sent to a colleague. Needs `pip install metarl-robotics[report]`."""
