"""Datasets as plain text for a terminal of 110 columns: all cards as a table, one card in words, its statistics.

The table and the cards also as Markdown, for docs/datasets.md and the pages in docs/datasets/.
"""

import math
import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from pjap_bench import files
from pjap_bench.datasets import cards, description
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError

WIDTH = 110

_COLUMNS = {  # title and greatest width
    "id": 23,
    "source": 13,
    "environment": 21,
    "agents": 6,
    "steps": 9,
    "policies": 8,
    "licence": 10,
    "return": 6,
    "publ.": 6,
}
_NOTES = (
    "steps: at full size, fewer where episodes end early; - where only the data say. return: mean over the behaviour "
    "policies, or what the source states; publ.: the published one, of the dataset that it is or stands for."
)
#: a Markdown file holds the table between these
MARKERS = ("<!-- made from the cards by `python -m pjap_bench datasets --markdown FILE` -->", "<!-- end of the table -->")
_POLICY = ["policy", "return", "sd", "level", "seed", "updates", "sha256"]
_INDENT = 13
_BARS = "·▁▂▃▄▅▆▇█"
_NUMBER = re.compile(r"-|[-+]?[0-9.,]+")
_NAMED, _SHOWN = 8, 15  # policies that a matrix names above its columns, and that fit at all


def table() -> str:
    """Every card, one row each; long cells are wrapped, none is cut."""
    return "\n".join([*_columns(list(_COLUMNS), _rows(), list(_COLUMNS.values())), "", *textwrap.wrap(_NOTES, WIDTH)])


def markdown(folder: str) -> str:
    """The same table as Markdown; `folder` is the way to the pages of the cards."""
    rows = [[f"[{name}]({folder}/{name}.md)", *(cell.replace("|", "\\|") for cell in cells)] for name, *cells in _rows()]
    return "\n".join([*_table(list(_COLUMNS), rows), "", _NOTES])


def page(card: dict, folder: str) -> str:
    """One card as a page of Markdown; `folder` is the way from the page to the cards."""
    name = card["id"]
    lines = [f"# {name}", "", f"{card['title']}. {' '.join(card['description'].split())}", ""]
    lines += [f"- **{what}:** {f'<{text}>' if what == 'address' else ' '.join(text.split())}" for what, text in _facts(card)]
    if "policies" in card:
        lines += ["", *_table(_POLICY, [_policy(policy) for policy in card["policies"]])]
    make = f"`snakemake --cores 2 results/SCALE/datasets/{name}.h5 --config scale=SCALE` makes it"
    return "\n".join([*lines, "", f"{make}; {_card_of(name)}({folder}/{name}.yaml).", ""])


def _card_of(name: str) -> str:
    """What stands in every page of a card, and in no other text."""
    return f"its card is [datasets/{name}.yaml]"


def pages(path: Path) -> dict[Path, str]:
    """What the documentation says of the cards now: the Markdown file with the table between its markers, and beside it a
    folder of its name with the page of each card.

    Raises:
        BenchError: the file cannot be read, or a marker is missing.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BenchError(f"cannot be read ({error.strerror})", where=path, do="name a Markdown file") from error
    before, begin, rest = text.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not end:
        raise BenchError("no place for the table", where=path, do=f"put the lines {MARKERS[0]} and {MARKERS[1]} into it")
    folder = path.with_suffix("")
    found = {path: f"{before}{begin}\n\n{markdown(folder.name)}\n\n{end}{after}"}
    to_cards = os.path.relpath(cards.FOLDER, folder)
    return found | {folder / f"{name}.md": page(cards.load(name), to_cards) for name in cards.names()}


def renew(path: Path) -> None:
    """Writes `pages`; pages of cards that are gone go, other files in their folder stay."""
    found = pages(path)
    for page_path, text in found.items():
        files.write_text(page_path, text)
    for page_path in path.with_suffix("").glob("*.md"):
        if page_path not in found and _card_of(page_path.stem) in page_path.read_text(encoding="utf-8", errors="replace"):
            page_path.unlink()


def transitions(card: dict) -> int | None:
    """Steps at full size if no episode ends early; None where a card does not say."""
    if card["source"] == "generated":
        return card["episodes_per_policy"] * len(card["policies"]) * get_environment(card["environment"]).horizon
    found = [_of_part(part) for part in cards.parts(card)]
    return sum(found) if found and None not in found else None


def policies(card: dict) -> int | None:
    """How many behaviour policies are known."""
    if card["source"] == "mixture":
        found = [
            policies(cards.load(part.dataset)) if part.policies is None else len(part.policies) for part in cards.parts(card)
        ]
        return sum(found) if None not in found else None
    return len(card["policies"]) if "policies" in card else None


def words(card: dict) -> str:
    """One card in words."""
    lines = [f"{card['id']}: {card['title']}", "", *textwrap.wrap(card["description"], WIDTH), ""]
    for name, text in _facts(card):
        lines += _entry(name, text)
    if "policies" in card:
        lines += ["", *_columns(_POLICY, [_policy(policy) for policy in card["policies"]])]
    return "\n".join(lines)


def statistics(found: dict) -> str:
    """The statistics of a dataset's file (see `description.describe`) in words."""
    returns, length, action, coverage = (found[name] for name in ("return", "length", "action", "coverage"))
    lines = [
        *_entry("data", f"{found['transitions']:,} steps in {found['episodes']:,} episodes"),
        *_entry("lengths", f"{length['min']:g} to {length['max']:g}, mean {length['mean']:.1f}"),
        *_entry("ended", f"{100 * found['terminated']['share']:.1f} % of episodes by the task, the others by time"),
        *_entry("returns", _spread(returns)),
        *_entry("rewards", _spread(found["reward"])),
        *_entry("actions", f"{_spread(action)}; {100 * action['at_bounds']:.1f} % at the bounds"),
        *_entry(
            "coverage",
            f"Joint SACo {coverage['joint_saco']:.4f} on exact numbers, {coverage['joint_saco_grid']:.4f} on a grid "
            f"(cells of {coverage['state_cell_sds']:g} standard deviations for states, {coverage['action_cell']:g} for actions)",
        ),
    ]
    if found["published"]:
        compared = found["published"]
        for name, value in compared["difference"].items():
            if value is not None:
                verdict = f"{compared['word'][name]} {100 * compared['target'][name]:g} %"
                lines += _entry("published", f"{name} of returns differs by {100 * value:+.1f} %: {verdict}")
    names = [policy["name"] for policy in found["policies"]]
    rows = [
        [policy["name"], f"{policy['episodes']:,}", f"{policy['transitions']:,}", *_measured(policy["return"])]
        for policy in found["policies"]
    ]
    lines += ["", *_columns(["policy", "episodes", "steps", "return", "sd", "min", "max"], rows)]
    edges = returns["edges"]
    title = f"episodes by return, {edges[0]:,g} to {edges[-1]:,g}, {edges[1] - edges[0]:,g} a bar"
    rows = [[name, _bars(counts), f"{max(counts):,}"] for name, counts in zip(names, returns["counts"], strict=True)]
    lines += ["", *_columns(["policy", title, "highest bar"], rows)]
    if description.any_distance(found) and len(names) <= _SHOWN:
        caption = (
            "Distances between behaviour policies: mean |action of the policy (row) - action of the policy whose states they "
            "are (column)|; on the diagonal the noise floor, mean |policy - action in its data|."
        )
        rows = [
            [name, *("-" if value is None else f"{value:.3f}" for value in row)]
            for name, row in zip(names, description.distances(found), strict=True)
        ]
        above = names if len(names) <= _NAMED else [str(place) for place in range(len(names))]
        lines += ["", *textwrap.wrap(caption, WIDTH), *_columns(["", *above], rows)]
    return "\n".join(lines)


def _rows() -> list[list[str]]:
    """The cells of the table of all cards."""
    rows = []
    for name in cards.names():
        card = cards.load(name)
        steps, count = transitions(card), policies(card)
        rows.append(
            [
                name,
                card["source"],
                card["environment"],
                str(get_environment(card["environment"]).agents),
                f"{steps:,}" if steps else "-",
                str(count) if count else "-",
                card["licence"],
                "-" if cards.unfinished(card) else f"{cards.reference_returns(card)['dataset_return']:.0f}",
                f"{card['published']['mean']:.0f}" if "published" in card else "-",
            ]
        )
    return rows


def _facts(card: dict) -> list[tuple[str, str]]:
    """What a card says, but for its description and its behaviour policies: name and text."""
    environment, steps = get_environment(card["environment"]), transitions(card)
    found = [
        ("source", card["source"] + (f", {steps:,} steps at full size" if steps else "")),
        (
            "environment",
            f"{card['environment']}: {environment.agents} agents, {environment.observation_size} observations and "
            f"{environment.action_size} actions each, a state of {environment.state_size}, {environment.horizon} steps at most",
        ),
    ]
    for part in cards.parts(card):
        taken = f"policies {', '.join(part.policies)}" if part.policies else "all policies"
        found.append(("part", f"{part.dataset}: {taken}, {f'{part.episodes} episodes' if part.episodes else 'all episodes'}"))
    found += [("address", url) for url in card.get("urls", [])]
    if "noise" in card:
        found.append(("noise", f"{card['noise']} (standard deviation of the action noise), seed {card['seed']}"))
    if untrained := cards.unfinished(card):
        returned = f"not known before these policies are trained: {', '.join(untrained)}"
    else:
        returned = f"{cards.reference_returns(card)['dataset_return']:.1f} (the one of normalised returns)"
    found.append(("return", f"{returned}; random policy {card['random_return']:.1f}"))
    if "published" in card:
        published = card["published"]
        span = f"[{published['min']:g}, {published['max']:g}]"
        found.append(("published", f"{published['mean']:g} (sd {published['sd']:g}) {span}, {published['origin']}"))
    return [*found, ("licence", card["licence"]), ("cite", card["citation"])]


def _of_part(part: cards.Part) -> int | None:
    """Steps that a mixture takes of a dataset, at full size."""
    card = cards.load(part.dataset)
    if part.episodes is not None:
        return part.episodes * get_environment(card["environment"]).horizon
    steps = transitions(card)
    if steps is None or part.policies is None:
        return steps
    return steps // len(card["policies"]) * len(part.policies)


def _policy(policy: dict) -> list[str]:
    """The cells of a behaviour policy of a card."""
    aim = [f"{policy['level']:g}", str(policy["seed"])]
    if "sha256" not in policy:
        return [policy["name"], "-", "-", *aim, "-", "-"]
    returned = [f"{policy['mean_return']:.0f}", f"{policy['sd_return']:.0f}"]
    return [policy["name"], *returned, *aim, f"{policy['updates']:,}", policy["sha256"][:12]]


def _spread(found: dict) -> str:
    return f"mean {found['mean']:.4g} (sd {found['sd']:.4g}), {found['min']:.4g} to {found['max']:.4g}"


def _bars(counts: list[int]) -> str:
    """One character a count, as high as its share of the greatest; a dot for none."""
    most = max(max(counts), 1)
    return "".join(_BARS[math.ceil(count / most * (len(_BARS) - 1))] for count in counts)


def _measured(found: dict | None) -> list[str]:
    return [f"{found[name]:.1f}" for name in ("mean", "sd", "min", "max")] if found else ["-"] * 4


def _entry(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        f"{name + ':':<{_INDENT}}{text}", WIDTH, subsequent_indent=" " * _INDENT, break_long_words=False, break_on_hyphens=False
    )


def _numbers(rows: list[list[str]]) -> list[bool]:
    """Which columns hold numbers alone."""
    return [all(_NUMBER.fullmatch(cell) for cell in column) for column in zip(*rows, strict=True)]


def _table(titles: list[str], rows: list[list[str]]) -> list[str]:
    """A table of Markdown; numbers end their column."""
    rule = ["---:" if number else "---" for number in _numbers(rows)]
    return [f"| {' | '.join(row)} |" for row in [titles, rule, *rows]]


def _columns(titles: Sequence[str], rows: list[list[str]], widest: Sequence[int] | None = None) -> list[str]:
    """Rows below their titles, each column as wide as it needs but for `widest`; numbers end their column."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    widths = [min(pair) for pair in zip(widths, widest or widths, strict=True)]
    numbers = _numbers(rows)
    lines = []
    for row in [titles, *rows]:
        cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for line in range(max(map(len, cells))):
            texts = [cell[line] if line < len(cell) else "" for cell in cells]
            aligned = [
                text.rjust(width) if number else text.ljust(width)
                for text, width, number in zip(texts, widths, numbers or [False] * len(texts), strict=True)
            ]
            lines.append(" ".join(aligned).rstrip())
    return lines
