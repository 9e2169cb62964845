"""The report's page: one HTML file that asks the network for nothing."""

import math

import jinja2

from mnist_keras.app.report.curves import HEIGHT, WIDTH


def render(facts):
    """The page, UTF-8 text.

    Args:
        facts: what `run_facts` gave.
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
    """A share of examples, or a dash where there were none."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}"
