"""The promotion gates of stage 4. A run that lacks one of them is not a whole run."""

GATES = ("P0.0", "P0.1", "P0.2", "P0.3", "P0.4", "P0.5", "P0.6", "P1.1", "P1.2", "P1.3", "P1.4", "P1.5")
