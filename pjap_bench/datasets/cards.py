"""Dataset cards: one YAML file in datasets/ describes one dataset; a new card is a new dataset."""

from pathlib import Path

from pjap_bench import config, files
from pjap_bench.errors import BenchError

FOLDER = config.CARDS


def load(name: str) -> dict:
    """The checked card of a dataset.

    Raises:
        BenchError: no such dataset, or a card that does not fit workflow/schemas/card.schema.json.
    """
    card = _read(name)
    for part in card.get("parts", []):
        if _read(part)["source"] == "mixture":
            raise BenchError(f"key 'parts': '{part}' is a mixture itself", where=_path(name), do="name collected datasets")
    return card


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
    return card


def reference_returns(card: dict) -> dict[str, float]:
    """The zero and the one of normalised returns: uniformly random actions, and the mean over the behaviour policies.

    They belong to the card, not to a collected file, so that scores are comparable whatever the number of episodes.
    """
    if card["source"] == "mixture":
        policies = [policy for part in card["parts"] for policy in load(part)["policies"]]
    else:
        policies = card["policies"]
    mean = sum(policy["mean_return"] for policy in policies) / len(policies)
    return {"random_return": card["random_return"], "dataset_return": mean}


def names() -> list[str]:
    """Every dataset that has a card, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def policy_files(card: dict) -> list[Path]:
    """The behaviour policies' files of a generated dataset."""
    return [config.ROOT / policy["file"] for policy in card["policies"]]
