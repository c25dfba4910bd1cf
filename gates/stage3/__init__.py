"""The gates of stage 3. A run that lacks one of them is not a whole run."""

GATES = ("S3.3", "S3.4")
