"""Networks that policies are made of, for all tasks at once."""
