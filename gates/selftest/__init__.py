"""`gates selftest`: faults planted in copies of the user's own checkpoint, and what its gates make of them."""
