"""Compiles the report's templates when it is imported: once for all runs that are forked afterwards."""

from reports.environment import html_environment

for _name in html_environment().list_templates(filter_func=lambda name: name.endswith((".html.j2", ".css.j2"))):
    html_environment().get_template(_name)
