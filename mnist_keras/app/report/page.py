"""The report's page: one HTML file that loads nothing from the network."""

import math

import jinja2

from mnist_keras.app.report.curves import HEIGHT, WIDTH


def render(facts):
    """Render the page as HTML text.

    Args:
        facts: the result of `run_facts`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mnist_keras.app.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.jinja")
    return template.render(**facts, percent=_percent, chart_width=WIDTH, chart_height=HEIGHT)


def _percent(share):
    """A share of examples in percent, or a dash if there were none."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}"
