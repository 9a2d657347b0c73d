"""Tasks as data: batches, distributions, splits."""
