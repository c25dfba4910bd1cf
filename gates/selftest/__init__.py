"""`gates selftest`: faults planted in copies of the user's own checkpoint, and what the configured gates make of them."""
