"""The gates' statistical power: how often a checkpoint of a known truth passes, computed and simulated."""
