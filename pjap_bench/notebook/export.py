"""The notebook as it is rendered, as one static page that any browser shows from a file, without a network or scripts.

marimo's own HTML export fetches its front end from a network when it is opened, and so may show nothing.
"""

from pathlib import Path

import jinja2

from pjap_bench.files import write_text
from pjap_bench.notebook import study
from pjap_bench.notebook.games import app


def export(target: Path, games: dict, stamp: dict) -> None:
    """Runs the notebook once for each entry of its menu of figures and writes what it shows.

    Args:
        target: the HTML file.
        games: the configuration's section `games`.
        stamp: provenance, shown at the end of the page; equal arguments give equal bytes.

    Raises:
        BenchError: settings that cannot be simulated, or a file that cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    states = {name: _rendered(games, preset) for name, preset in study.as_in_figures(games).items()}
    page = environment.get_template("export.html.jinja").render(states=states, stamp=stamp)
    write_text(target, page)


def _rendered(games: dict, preset: study.Settings) -> dict:
    """What the notebook shows when its controls are set as in `preset`."""
    _, defined = app.run(defs={"games": games, "preset": preset})
    settings, elements = defined["settings"], defined["elements"]
    groups = study.groups(settings.game, settings.source, settings.sampler)
    controls = {title: {study.LABELS[name]: _said(elements[name]) for name in names} for title, names in groups.items()}
    return {"introduction": defined["introduction"].text, "controls": controls, "page": defined["page"]}


def _said(element) -> str:
    """A control's value as its reader sees it."""
    value = getattr(element, "selected_key", element.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}".replace("-", "−") if isinstance(value, float) else str(value)
