"""Faults to plant in a copy of a real checkpoint, each with the gate that has to turn red for it.

A gate that never failed proves nothing. `catalogue.py` lists all faults and all harmless changes; `gates selftest` and
tests/test_catalogue.py plant them one by one and see what the gates say.
"""
