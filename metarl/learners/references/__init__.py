"""What meta-learners are compared with; they adapt by the gradient steps of `gradient`."""
