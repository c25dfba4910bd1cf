"""The acceptance criteria, one file a gate, and the pytest plugin that turns them into a verdict."""
