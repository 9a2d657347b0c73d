"""A robot to watch while it lives: tasks to change, adaptation to ask for, disturbances."""
