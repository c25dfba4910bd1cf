"""Loads the gates' pytest plugin, where everything lives, and pytester, with which tests run it."""

pytest_plugins = ["gates.plugin", "pytester"]
