"""Mutation testing of the judges, `make mutants`: do the tests notice when a judge judges otherwise?

cosmic-ray makes the mutants and keeps the sessions; what is here chooses modules, operators and tests, runs them on two
copies of the tree, and writes docs/mutants.md.
"""
