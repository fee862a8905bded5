"""A case as something that another tool can run."""
