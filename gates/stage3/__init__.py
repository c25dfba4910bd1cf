"""The gates of stage 3. A run that lacks one of them is not a whole run."""

GATES = ("S3.0", "S3.1", "S3.2", "S3.3", "S3.4", "S3.5", "S3.6", "S3.7")
