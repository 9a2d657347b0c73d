"""Points in the plane: tasks without a physics engine."""
