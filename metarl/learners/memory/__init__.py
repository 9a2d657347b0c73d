"""Meta-learners that adapt in a memory."""
