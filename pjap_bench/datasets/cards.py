"""Dataset cards: one YAML file in datasets/ describes one dataset; a new card is a new dataset."""

import dataclasses
from pathlib import Path

from pjap_bench import config, files
from pjap_bench.environments import ENVIRONMENTS
from pjap_bench.errors import BenchError

FOLDER = config.CARDS


@dataclasses.dataclass(frozen=True)
class Part:
    """What a mixture takes of one dataset.

    Attributes:
        dataset: name of a card that is not a mixture.
        policies: only these behaviour policies' episodes; None for all.
        episodes: so many episodes, drawn without replacement by `seed` and kept in order; None for all.
        seed: of the draw.
    """

    dataset: str
    policies: tuple[str, ...] | None = None
    episodes: int | None = None
    seed: int = 0


def load(name: str, source: str | None = None) -> dict:
    """The checked card of a dataset.

    Args:
        source: what its source must be; None: any.

    Raises:
        BenchError: no such dataset, a card that does not fit workflow/schemas/card.schema.json, another source, an unknown
            environment, or a mixture of mixtures (so also of itself) or of other environments.
    """
    card = _read(name)
    if source not in (None, card["source"]):
        fit = ", ".join(other for other in names() if _read(other)["source"] == source) or "none yet"
        raise BenchError(f"'source: {card['source']}', not {source}", where=_path(name), do=f"use one of: {fit}")
    for part in parts(card):
        other = _read(part.dataset)
        if other["source"] == "mixture":
            what = "the mixture itself" if part.dataset == name else f"'{part.dataset}', a mixture"
            raise BenchError(f"key 'parts' names {what}", where=_path(name), do="name datasets that are not mixtures")
        if other["environment"] != card["environment"]:
            what = f"key 'parts': '{part.dataset}' is of the environment {other['environment']}, not {card['environment']}"
            raise BenchError(what, where=_path(name), do="mix datasets of one environment")
        if other["source"] in ("hdf5", "minari", "rule"):
            continue  # their files say which policies there are; `collection.mix` looks
        unknown = set(part.policies or ()) - {policy["name"] for policy in other.get("policies", [])}
        if unknown:
            what = f"key 'parts': '{part.dataset}' has no policy '{min(unknown)}'"
            raise BenchError(what, where=_path(name), do="use names that its card lists")
    return card


def parts(card: dict) -> list[Part]:
    """The parts of a mixture in order; none for other sources."""
    found = []
    for part in card.get("parts", []):
        options = {"dataset": part} if isinstance(part, str) else dict(part)
        if "policies" in options:
            options["policies"] = tuple(options["policies"])
        found.append(Part(**options))
    return found


def _path(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def _read(name: str) -> dict:
    """A card by itself, without a look at its parts."""
    path = _path(name)
    if name not in names():
        raise BenchError(f"unknown dataset '{name}'", where=FOLDER.name, do=f"use one of: {', '.join(names())}, or add a card")
    card = files.read_yaml(path)
    config.validate(card, "card", path)
    if card["id"] != name:
        raise BenchError(f"id '{card['id']}' differs from the file's name", where=path, do="make them equal")
    named = [policy["name"] for policy in card.get("policies", [])]
    if twice := next((policy for policy in named if named.count(policy) > 1), None):
        raise BenchError(f"key 'policies': two are named '{twice}'", where=path, do="give each a name of its own")
    if card["environment"] not in ENVIRONMENTS:
        known = ", ".join(ENVIRONMENTS)
        raise BenchError(f"unknown environment '{card['environment']}'", where=path, do=f"use one of: {known}, or add one")
    return card


def reference_returns(card: dict) -> dict[str, float]:
    """The zero and the one of normalised returns: uniformly random actions, and the dataset's mean.

    They belong to the card, not to a collected file, so that scores are comparable whatever the number of episodes: of
    generated data the mean over the behaviour policies, of others what the card states; of mixtures the mean over the
    policies where all are known, else over the parts.

    Raises:
        BenchError: a behaviour policy that is not finished.
    """
    _check_finished(card)
    if card["source"] == "mixture":
        of_parts = [[policy["mean_return"] for policy in _policies_of(part)] for part in parts(card)]
        if all(of_parts):
            means = [mean for of_part in of_parts for mean in of_part]
        else:
            stated = [reference_returns(load(part.dataset))["dataset_return"] for part in parts(card)]
            means = [sum(own) / len(own) if own else mean for own, mean in zip(of_parts, stated, strict=True)]
    elif card["source"] == "generated":
        means = [policy["mean_return"] for policy in card["policies"]]
    else:
        means = [card["dataset_return"]]
    return {"random_return": card["random_return"], "dataset_return": sum(means) / len(means)}


def _policies_of(part: Part) -> list[dict]:
    policies = load(part.dataset).get("policies", [])
    return [policy for policy in policies if part.policies is None or policy["name"] in part.policies]


def names() -> list[str]:
    """Every dataset that has a card, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def unfinished(card: dict) -> list[str]:
    """Behaviour policies, also of a mixture's parts, that are still to be trained: their entries have no sha256."""
    return [name for _, name in _unfinished(card)]


def policy_files(card: dict) -> list[Path]:
    """The behaviour policies' files of a generated dataset.

    Raises:
        BenchError: a behaviour policy that is not finished.
    """
    _check_finished(card)
    return [config.ROOT / policy["file"] for policy in card["policies"]]


def _check_finished(card: dict) -> None:
    for source, name in _unfinished(card):
        raise BenchError(
            f"the entry of behaviour policy '{name}' is not finished: it has no sha256",
            where=_path(source),
            do="train it, copy its file and complete its entry as the end of the training's log says (docs/datasets.md)",
        )


def _unfinished(card: dict) -> list[tuple[str, str]]:
    """The ids of the cards, this one or of its parts, and the policies in them without a sha256."""
    sources = [card, *(_read(part.dataset) for part in parts(card))]
    return [
        (source["id"], policy["name"]) for source in sources for policy in source.get("policies", []) if "sha256" not in policy
    ]
