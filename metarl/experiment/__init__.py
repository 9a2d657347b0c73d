"""What determines a run: configs, checkpoints, and learners made from them."""
