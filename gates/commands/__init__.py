"""The commands of the console script `gates`, one file each."""
