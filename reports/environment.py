"""Jinja as every page and summary uses it: autoescape on, and every written value made harmless on its way."""

import functools
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports import findings
from reports import format as written


def environment(finalize: Callable[[Any], Any]) -> Environment:
    """An environment for the package's templates.

    Args:
        finalize: what every written value goes through (`format.for_html`, `format.for_markdown`): no way around it.
    """
    made = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    made.globals.update(written=written, found=findings)
    return made


@functools.cache
def html_environment() -> Environment:
    """For pages, with what draws; one for the process, which compiles each template once."""
    from reports import draw

    made = environment(written.for_html)
    made.globals.update(draw=draw)
    return made
