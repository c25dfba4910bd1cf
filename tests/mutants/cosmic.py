"""cosmic-ray's own command line, with our operators: `python -m tests.mutants.cosmic exec CONFIG SESSION`."""

from cosmic_ray.cli import main

from tests.mutants.operators import register

if __name__ == "__main__":
    register()
    main()
