"""The notebook: controls on the left, what follows from them on the right. `make notebook` opens it in a browser."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Coordination failure in polynomial games")

with app.setup:
    import marimo as mo

    from pjap_bench import config
    from pjap_bench.errors import BenchError
    from pjap_bench.games.kernels import DISTANCES, KERNELS
    from pjap_bench.games.learning import REFRESH_RULES
    from pjap_bench.notebook import shown, study


@app.cell
def _():
    # The configuration's section `games`: the figures' settings stand there and nowhere else.
    games = config.load("paper")["games"]
    return (games,)


@app.cell
def _():
    # On a narrow screen marimo's buttons lie over the first line.
    introduction = mo.Html("""
    <style>@media (max-width: 48rem) { .first { padding-top: 2rem; } }</style>
    <div class="first" style="line-height: 1.5; max-width: 62rem">
    <h1 style="font-size: 1.4rem; line-height: 1.2; margin: 0 0 0.4rem">Coordination failure in polynomial games</h1>
    Two agents, actions x and y, one shared reward R(x, y). Offline, each agent best-responds to the <em>data's</em> actions
    of the other (BRUD, section 3 of the paper), and together they can miss every optimum. PJAP (section 4) samples the data
    near the current policy instead. The menu “As in” sets all controls as in a figure of the paper; then move them.
    </div>
    """)
    introduction
    return (introduction,)


@app.cell
def _(games):
    figures = study.as_in_figures(games)
    figure = mo.ui.dropdown(list(figures), value="Figure 5: PJAP", label="As\u00a0in", allow_select_none=False)
    return figure, figures


@app.cell
def _(figure, figures):
    preset = figures[figure.value]
    return (preset,)


@app.cell
def _(preset):
    def among(name, steps):
        """A slider over `steps`, and over the figure's own value where that is none of them."""
        value = getattr(preset, name)
        steps = sorted({*steps, value})
        return mo.ui.slider(steps=steps, value=value, label=study.LABELS[name], show_value=True)

    def choice(name, options):
        """A menu of `options`, {what it says: value}."""
        said = {value: key for key, value in options.items()}[getattr(preset, name)]
        return mo.ui.dropdown(options, value=said, label=study.LABELS[name], allow_select_none=False)

    hundredths = [place / 100 for place in range(-100, 101)]
    # Small batches take a millisecond a step, and a picture is to follow its slider within half a second.
    steps = [1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 400, 500] + [750, 1000, 1500, 2000] * (preset.batch is None)
    # These three decide which other controls are shown.
    game = choice(
        "game",
        {
            "Decoupled rewards": "decoupled",
            "Sign agreement": "sign_agreement",
            "Action agreement": "action_agreement",
            "Twin Peaks": "twin_peaks",
            "Own coefficients": study.OWN_GAME,
        },
    )
    source = choice("source", {"a dataset": "dataset", "a replay buffer": "buffer"})
    sampler = choice("sampler", {"uniform": "uniform", "PJAP": "pjap"})
    others = mo.ui.dictionary(
        {
            "coefficients": mo.ui.text_area(
                preset.coefficients, label=study.LABELS["coefficients"], rows=3, full_width=True, debounce=300, max_length=2000
            ),
            "view": among("view", [0.5, 1.0, 1.5, 2.0, 3.0]),
            "distribution": choice("distribution", {"Gaussian": "gaussian", "uniform": "uniform"}),
            "centre_x": among("centre_x", hundredths),
            "centre_y": among("centre_y", hundredths),
            "spread": among("spread", [place / 20 for place in range(41)]),
            "points": among("points", [1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 750, 1000]),
            "recentred": mo.ui.checkbox(preset.recentred, label=study.LABELS["recentred"]),
            "buffer_size": among("buffer_size", [10, 20, 50, 100, 200, 400, 600, 1000]),
            "exploration_sigma": among("exploration_sigma", [place / 50 for place in range(26)]),
            "seed": among("seed", range(50)),
            "start_x": among("start_x", hundredths),
            "start_y": among("start_y", hundredths),
            "learning_rate": among("learning_rate", [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]),
            "steps": among("steps", steps),
            "batch": choice("batch", {"all data": None} | {str(size): size for size in (1, 5, 10, 32, 64, 128)}),
            "alpha": among("alpha", [0, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100]),
            "epsilon": among("epsilon", [10.0**power for power in range(-8, 1)]),
            "exponent": among("exponent", [place / 10 for place in range(21)]),
            "initial_priority": among("initial_priority", [0.001, 0.01, 0.1, 0.5, 1]),
            "kernel": choice("kernel", {name: name for name in KERNELS}),
            "distance": choice("distance", {name: name for name in DISTANCES}),
            "refresh": choice("refresh", {name: name for name in REFRESH_RULES}),
            "rounds": among("rounds", range(1, 9)),
        }
    )
    # A plain dictionary: cells that take `others` run anew at each move of a slider, and the sidebar must not.
    elements = {"game": game, "source": source, "sampler": sampler, **others.elements}
    return elements, game, others, sampler, source


@app.cell
def _(elements, figure, game, sampler, source):
    # One flat stack: stacks in a stack would be stretched to the height of a tall window.
    shown_controls = [mo.Html("<div style='height: 0.8rem'></div>"), figure]
    for title, names in study.groups(game.value, source.value, sampler.value).items():
        heading = mo.Html(f"<div style='padding-top: 0.6rem'><strong>{title}</strong></div>")
        shown_controls += [heading, *[elements[name] for name in names]]
    mo.sidebar(mo.vstack(shown_controls, gap=0.3), width="21rem")
    return


@app.cell
def _(game, games, others, sampler, source):
    settings = study.Settings(game=game.value, source=source.value, sampler=sampler.value, **others.value)
    try:
        page = shown.page(study.study(settings, games))
    except BenchError as error:
        page = shown.error_page(error)
    mo.Html(page)
    return page, settings


if __name__ == "__main__":
    app.run()
