"""The configuration: paper.yaml holds every default, a scale's overlay names what it changes, a schema checks the result."""

import json
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema

from pjap_bench import files
from pjap_bench.errors import BenchError
from pjap_bench.stacks import SAMPLER_SETTINGS, shared, uneven

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "workflow" / "config"
SCHEMAS = ROOT / "workflow" / "schemas"
CARDS = ROOT / "datasets"
SWEEPS = ROOT / "workflow" / "sweeps"

#: what algorithms and what samplers are made of, beside them
SHARED_FILES = frozenset(("update", "priorities"))

#: from the smallest to the largest; a claim names the smallest that can show it
SCALES = ("smoke", "quick", "laptop", "paper")

#: what only says where and how steps run
_HOW = ("results", "containers", "runtime", "jobs", "behaviour", "regime")


def load(scale: str, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """The complete, checked configuration of a scale; its `regime`, which results carry, names what the user changed.

    Args:
        scale: one of `SCALES`.
        overrides: what the user changes on top (Snakemake's --config and --configfile).

    Raises:
        BenchError: unknown scale; unknown key or impossible value, naming the key and the file.
    """
    if scale not in SCALES:
        raise BenchError(f"unknown scale '{scale}'", where="scale", do=f"use one of: {', '.join(SCALES)}")
    base = FOLDER / "paper.yaml"
    configuration = _mapping(base)
    # Each layer is checked as it comes on top, so that an error names the file that brought it.
    _check(configuration, base)
    if scale != "paper":
        overlay = FOLDER / f"{scale}.yaml"
        configuration = merge(configuration, _mapping(overlay))
        _check(configuration, overlay)
    if overrides:
        plain, configuration = configuration, merge(configuration, _typed(overrides))
        _check(configuration, "--config")
        changed = [key for key in differing(plain, configuration) if key.partition(".")[0] not in _HOW]
        if changed:
            named = ", ".join(changed[:6]) + (f" and {len(changed) - 6} more" if len(changed) > 6 else "")
            configuration["regime"] += f"; changed on the command line: {named}"
    return configuration


def differing(one: Any, other: Any, same: Callable[[Any, Any], bool] = operator.eq, at: str = "") -> Iterator[str]:
    """Where two values of plain data differ, as keys with dots; `same` compares what has no keys."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = {key: (one.get(key, ...), other.get(key, ...)) for key in sorted(one.keys() | other.keys())}
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = dict(enumerate(zip(one, other, strict=True)))
    else:
        if not same(one, other):
            yield at
        return
    for key, pair in pairs.items():
        yield from differing(*pair, same, f"{at}.{key}" if at else str(key))


def merge(base: Any, overlay: Any) -> Any:
    """`overlay` on top of `base`: mappings merge key by key, anything else is replaced."""
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        same = base == overlay and isinstance(base, bool) == isinstance(overlay, bool)
        return base if same else overlay  # 1 where 1.0 was would be other text, and train anew
    return base | {key: merge(base[key], value) if key in base else value for key, value in overlay.items()}


def _is_whole(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: Any, value: Any) -> bool:
    return _is_whole(_, value) or (isinstance(value, float) and math.isfinite(value))


_DRAFT = jsonschema.Draft202012Validator
#: JSON's own has no NaN, and its 1.0 is an integer, which in Python counts nothing
_Validator = jsonschema.validators.extend(
    _DRAFT, type_checker=_DRAFT.TYPE_CHECKER.redefine_many({"number": _is_number, "integer": _is_whole})
)


def validate(value: Any, schema: str, where: object) -> None:
    """Checks plain data against workflow/schemas/SCHEMA.schema.json.

    Raises:
        BenchError: the first violation, naming the key and `where`.
    """
    checker = _Validator(files.read_json(SCHEMAS / f"{schema}.schema.json"))
    errors = list(checker.iter_errors(value))
    if not errors:
        return
    # "fits none of the alternatives" says less than what is wrong with a key of its own
    of_keys = [each for each in errors if each.validator != "oneOf"]
    error, case = (jsonschema.exceptions.best_match(of_keys), "") if of_keys else _in_its_case(errors[0], where)
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        unknown = sorted(set(map(str, error.instance)) - set(error.schema.get("properties", {})))
        key = ".".join(filter(None, [key, unknown[0]])) if unknown else key
        known = ", ".join(sorted(error.schema.get("properties", {})))
        ways = "remove it"
        if where in FOLDER.glob("*.yaml") and error.schema == checker.schema["$defs"]["training_settings"]:
            ways += ", define it in workflow/schemas/config.schema.json ($defs/training_settings)"
        raise BenchError(f"unknown key '{key}'", where=where, do=f"{ways} or use one of: {known}")
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        what = f"key '{'.'.join(filter(None, [key, missing]))}' is missing"
        raise BenchError(f"{what}, which '{case}' needs" if case else what, where=where, do="add it")
    if error.validator == "oneOf" and all(set(each) == {"required"} for each in error.validator_value):
        choice = " and ".join(f"'{name}'" for each in error.validator_value for name in each["required"])
        raise BenchError(f"of the keys {choice} '{case}' needs one, and only one", where=where, do="add or remove one")
    raise BenchError(f"key '{key or '(top level)'}': {_short(error.message)}", where=where, do="correct the value")


def _in_its_case(error: jsonschema.ValidationError, where: object) -> tuple[jsonschema.ValidationError, str]:
    """Of alternatives told apart by a constant (a card's `source`), the violation of the one that is meant, and which it is.

    Raises:
        BenchError: a key that does not go with that alternative.
    """
    for number, alternative in enumerate(error.validator_value):
        rules = alternative.get("properties", {})
        for name, rule in rules.items():
            if isinstance(rule, dict) and "const" in rule and error.instance.get(name) == rule["const"]:
                case = f"{name}: {rule['const']}"
                for key in error.instance:
                    if rules.get(key) is False:
                        raise BenchError(f"key '{key}' does not go with '{case}'", where=where, do="remove it")
                inner = [each for each in error.context if each.schema_path[0] == number]
                return max(inner, key=jsonschema.exceptions.relevance), case
    return jsonschema.exceptions.best_match([error]), ""


def experiment_seeds(experiment: dict[str, Any]) -> list[int]:
    """The seeds of an experiment: 0, 1, ... as many as it asks for."""
    return list(range(experiment["seeds"]))


def training_settings(configuration: dict[str, Any], dataset: str, arm: str) -> dict[str, Any]:
    """What a run's result depends on: the preset, under the scale's training keys, under the arm's own."""
    chosen = configuration["arms"][arm]
    own = configuration["training"] | chosen.get("settings", {})
    return (
        configuration["presets"][own["preset"]]
        | own
        | {
            "algorithm": chosen["algorithm"],
            "sampler": chosen["sampler"],
            "updates": configuration["experiments"][dataset]["updates"],
        }
    )


def swept(configuration: dict[str, Any], name: str) -> dict[str, Any]:
    """The configuration of a sweep: every variant of its arms as an arm of its own, `ARM__VARIANT`, on its one dataset.

    The others change the first variant: its settings are theirs, too. One that changes only what an arm's sampler ignores is
    left out for that arm: its runs would be the first variant's.
    The key "sweep" holds the sweep, with its name, the order of its variants and the arm that stands for each.

    Raises:
        BenchError: no such sweep, a violation of its schema, an unknown arm, dataset or setting.
    """
    path = SWEEPS / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(each.stem for each in SWEEPS.glob("*.yaml"))) or "(none)"
        raise BenchError(f"unknown sweep '{name}'", where="sweep", do=f"use one of: {known}; or write {path.name} beside them")
    sweep = _mapping(path)
    validate(sweep, "sweep", path)
    if sweep["dataset"] not in configuration["experiments"]:
        known = ", ".join(configuration["experiments"])
        raise BenchError(f"no experiment on '{sweep['dataset']}'", where=path, do=f"use one of: {known}")
    experiment = configuration["experiments"][sweep["dataset"]]
    plain = load(configuration["scale"])["experiments"].get(sweep["dataset"], experiment)
    # The sweep's own before the scale's, the user's before both.
    experiment = {
        key: sweep.get(key, experiment[key]) if experiment[key] == plain[key] else experiment[key] for key in ("seeds", "updates")
    }
    arms: dict[str, Any] = {}
    first = next(iter(sweep["variants"]))
    common = sweep["variants"][first].get("settings", {})
    for variant, changed in sweep["variants"].items():
        changed["arms"], settings = {}, changed.get("settings", {})
        for arm in sweep["arms"]:
            if arm not in configuration["arms"]:
                raise BenchError(f"unknown arm '{arm}'", where=path, do=f"use one of: {', '.join(configuration['arms'])}")
            chosen = configuration["arms"][arm]
            ignored = chosen["sampler"] == "uniform" and SAMPLER_SETTINGS.issuperset(settings) and variant != first
            changed["arms"][arm] = f"{arm}__{first}" if ignored else f"{arm}__{variant}"
            if not ignored:
                own = chosen.get("settings", {}) | common | settings
                arms[f"{arm}__{variant}"] = chosen | {"label": f"{chosen['label']}, {changed['label']}", "settings": own}
    updates, seeds = experiment["updates"], experiment["seeds"]
    said = f"{updates} updates, {seeds} seed{'s' * (seeds != 1)}"
    result = configuration | {
        "arms": arms,
        "experiments": {sweep["dataset"]: experiment | {"arms": list(arms)}},
        "regime": f"sweep {name}: {said}; else {configuration['regime']}",
    }
    _check(result, path)
    return result | {"sweep": sweep | {"name": name, "order": list(sweep["variants"])}}  # files of JSON lose it


class Stack(NamedTuple):
    """Runs that train side by side: every seed of every arm."""

    arms: list[str]
    seeds: list[int]

    @property
    def name(self) -> str:
        """Of its folder, for instance maddpg_cql+maddpg_cql_pjap/seeds-0-4."""
        return f"{'+'.join(self.arms)}/seeds-{self.seeds[0]}-{self.seeds[-1]}"


def stacks(configuration: dict[str, Any], dataset: str) -> list[Stack]:
    """The stacks of an experiment: of at most `jobs.runs_per_stack` runs, with arms that differ in their samplers only."""
    experiment, size = configuration["experiments"][dataset], configuration["jobs"]["runs_per_stack"]
    groups: dict[str, list[str]] = {}
    for arm in experiment["arms"]:
        common = json.dumps(shared(training_settings(configuration, dataset, arm)), sort_keys=True)
        groups.setdefault(common, []).append(arm)
    seeds, found = experiment_seeds(experiment), []
    for group in groups.values():
        for arms in _parts(group, size):
            count = size // len(arms)
            found += [Stack(arms, seeds[start : start + count]) for start in range(0, len(seeds), count)]
    return found


def evaluated(configuration: dict[str, Any]) -> dict[str, Any]:
    """What statistics, verdict, Figure 6 and report are told: arms in use, experiments with seeds and stacks, statistics.

    Experiments are in the order that a file of these settings has: draws and pages follow it.
    """
    experiments, plain = configuration["experiments"], load(configuration["scale"])
    in_use = {arm for experiment in experiments.values() for arm in experiment["arms"]}
    return {
        "arms": {arm: chosen for arm, chosen in configuration["arms"].items() if arm in in_use},
        "experiments": {
            dataset: experiment
            | {
                "seeds": experiment_seeds(experiment),
                "stacks": [stack.name for stack in stacks(configuration, dataset)],
            }
            | ({"changed": changed} if (changed := _changed(configuration, plain, dataset)) else {})
            for dataset, experiment in sorted(experiments.items())
        },
        "statistics": configuration["statistics"],
    }


def _changed(configuration: dict[str, Any], plain: dict[str, Any], dataset: str) -> list[str]:
    """What keeps an experiment from showing what its scale can: less of something, or other settings of training."""
    if dataset not in plain["experiments"]:
        return []
    own, expected = ({**each["experiments"][dataset], **each["datasets"]} for each in (configuration, plain))
    found = {key for key in ("updates", "seeds", "episodes_at_most") if own[key] < expected[key]}
    for arm in set(own["arms"]) & set(expected["arms"]):
        found.update(differing(*(training_settings(each, dataset, arm) for each in (configuration, plain))))
    more = {"updates"} if own["updates"] > expected["updates"] else set()
    return sorted(found - {"precision"} - more)  # what a GPU rounds is not another regime, nor is training for longer


def recorded(configuration: dict[str, Any]) -> dict[str, Any]:
    """The configuration as it lies beside results: without what only says where and how steps run."""
    kept = {key: value for key, value in configuration.items() if key not in ("results", "containers", "runtime")}
    return kept | {"jobs": {"runs_per_stack": configuration["jobs"]["runs_per_stack"]}}


def _parts(arms: list[str], size: int) -> Iterable[list[str]]:
    """Parts of at most `size` arms whose joined names fit a folder's name."""
    part: list[str] = []
    for arm in arms:
        if part and (len(part) == size or len("+".join([*part, arm])) > 200):
            yield part
            part = []
        part.append(arm)
    yield part


def _check(configuration: dict, where: object) -> None:
    """The schema, and what it cannot see: names that must exist, numbers that must divide."""
    validate(configuration, "config", where)

    def known(key: str, what: str, name: str, names: Iterable[str]) -> None:
        if name not in names:
            raise BenchError(f"key '{key}': unknown {what} '{name}'", where=where, do=f"use one of: {', '.join(sorted(names))}")

    cards = {path.stem for path in CARDS.glob("*.yaml")}
    for dataset, experiment in configuration["experiments"].items():
        known(f"experiments.{dataset}", "dataset", dataset, cards)
        for arm in experiment["arms"]:
            known(f"experiments.{dataset}.arms", "arm", arm, configuration["arms"])
    for arm, chosen in configuration["arms"].items():
        # One file each, named as in its registry: known without importing torch.
        for kind in ("algorithm", "sampler"):
            files_of_kind = {path.stem for path in (ROOT / "pjap_bench" / f"{kind}s").glob("[a-z]*.py")} - SHARED_FILES
            known(f"arms.{arm}.{kind}", kind, chosen[kind], files_of_kind)
    changed = {f"arms.{arm}.settings": chosen.get("settings", {}) for arm, chosen in configuration["arms"].items()}
    for part, settings in ({"training": {}} | changed).items():
        own = configuration["training"] | settings
        known(f"{part}.preset", "preset", own["preset"], configuration["presets"])
        if wrong := uneven(own, configuration["jobs"]["checkpoint_every"]):
            raise BenchError(f"key '{part}': {wrong}", where=where, do="correct the value")


def _typed(value: Any) -> Any:
    """Numbers and booleans inside a nested --config value, which Snakemake hands over as text."""
    if isinstance(value, dict):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        if not math.isfinite(number):
            return value  # no number for the schema
        return int(number) if "e" in value.lower() and number == int(number) else number  # 5e5 updates
    return value


def _mapping(path: Path) -> dict:
    value = files.read_yaml(path)
    if not isinstance(value, dict):
        raise BenchError("not a mapping of keys to values", where=path, do="correct the file")
    return value


def _short(message: str, limit: int = 200) -> str:
    return message if len(message) <= limit else message[:limit] + " ..."
