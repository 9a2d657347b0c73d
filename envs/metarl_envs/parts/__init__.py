"""What tasks consist of: goals, and variations of the robot."""
