"""The Croissant description of a dataset (MLCommons, version 1.1): what search engines and loaders of datasets read.

Croissant defines how to extract columns of CSV, JSON paths and whole files, nothing from HDF5. Here every array of the file
is a field all the same: `column` names the array inside the file, a record is one row of it, `arrayShape` the shape of that
row, and `encodingFormat` says what the file is. Loaders without HDF5 get names, types, shapes and hash; none can read more.
Two required properties are left out where a card does not know them rather than invented: `url` and `datePublished`.
"""

from pjap_bench.datasets import cards, hdf5
from pjap_bench.environments import get as get_environment

VERSION = "http://mlcommons.org/croissant/1.1"
SPDX = ("Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0", "MIT")  # licences that are given by their address

_FILE = "data"
_ALIASES = (  # terms of Croissant's own vocabulary that stand without their prefix
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
    *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField"),
    *("path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
    "transform",
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
    **{alias: f"cr:{alias}" for alias in _ALIASES},
}


def croissant(description: dict) -> dict:
    """The Croissant description (JSON-LD as plain JSON) of a dataset.

    Args:
        description: see `pjap_bench.datasets.description.read`.
    """
    card, file = description["card"], description["file"]
    made_here = card["source"] in ("generated", "mixture")
    found = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": card["id"],
        "alternateName": card["title"],
        "version": description["stamp"]["pjap_bench"],
        "description": card["description"],
        "license": f"https://spdx.org/licenses/{card['licence']}" if card["licence"] in SPDX else card["licence"],
        "creator": {"@type": "sc:Organization", "name": "pjap_bench contributors" if made_here else card["citation"]},
        "citeAs": card["citation"],
        "keywords": ["offline multi-agent reinforcement learning", card["environment"]],
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": _FILE,
                "name": file["name"],
                "description": f"HDF5 of format '{hdf5.FORMAT}', layout '{description['layout']}'.",
                "contentUrl": file["name"],
                "contentSize": f"{file['size']} B",
                "encodingFormat": "application/x-hdf5",
                "sha256": file["sha256"],
            }
        ],
        "recordSet": _record_sets(description),
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"pjap_bench {description['stamp']['pjap_bench']}, source '{card['source']}'",
        },
    }
    origins = [f"{part.dataset}.h5" for part in cards.parts(card)] or card.get("urls", [])
    if origins:
        found["prov:wasDerivedFrom"] = [{"@id": origin} for origin in dict.fromkeys(origins)]
    if "urls" in card:
        found["url"] = card["urls"][0]
    return found


def _record_sets(description: dict) -> list[dict]:
    """Steps, episodes and policies, and the physics where the file holds it."""
    environment = get_environment(description["card"]["environment"])
    agents, sizes = environment.agents, (environment.observation_size, environment.action_size)
    step = [
        _field("steps", "actions", "cr:Float32", "The joint action.", (agents, sizes[1])),
        _field("steps", "rewards", "cr:Float32", "The reward, shared by the agents."),
    ]
    if description["layout"] == "observations":
        step.append(_field("steps", "observations", "cr:Float32", "What each agent saw before it acted.", (agents, sizes[0])))
        step.append(_field("steps", "states", "cr:Float32", "What a centralised critic sees.", (environment.state_size,)))
    episode = [
        _field("episodes", "lengths", "cr:Int64", "Steps of the episode."),
        _field("episodes", "terminated", "cr:UInt8", "1 where the task ended the episode, 0 where time did."),
        _field("episodes", "seed", "cr:Int64", "Of the episode; -1 where it is not known."),
        _field("episodes", "policy", "cr:Int32", "Its behaviour policy.") | {"references": {"field": {"@id": "policies/index"}}},
    ]
    found = [
        _records("steps", "One record a step, episode after episode.", step),
        _records("episodes", "One record an episode.", episode),
        _policies(description["statistics"]["policies"], description["behaviour"]),
    ]
    if description["layout"] == "physics":
        what = "Positions and velocities of the simulation."
        field = _field("physics", "physics", "cr:Float32", what, (environment.physics_size,))
        found.append(_records("physics", "One record a state: before each step, and after an episode's last.", [field]))
    return found


def _policies(measured: list[dict], stated: list[dict | None]) -> dict:
    """The behaviour policies, whose names the file holds as an attribute, as records inside the description."""
    kinds = {"index": "sc:Integer", "name": "sc:Text", "sha256": "sc:Text"}
    fields = [{"@type": "cr:Field", "@id": f"policies/{name}", "name": name, "dataType": kind} for name, kind in kinds.items()]
    data = [
        {"policies/index": index, "policies/name": policy["name"], "policies/sha256": known["sha256"] if known else ""}
        for index, (policy, known) in enumerate(zip(measured, stated, strict=True))
    ]
    records = _records("policies", "The behaviour policies; an unknown one has no sha256.", fields)
    return records | {"key": {"@id": "policies/index"}, "data": data}


def _records(name: str, description: str, fields: list[dict]) -> dict:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description, "field": fields}


def _field(records: str, array: str, kind: str, description: str, shape: tuple[int, ...] = ()) -> dict:
    """One array of the file; `shape` is that of a row, () for a number."""
    found = {
        "@type": "cr:Field",
        "@id": f"{records}/{array}",
        "name": array,
        "description": description,
        "dataType": kind,
        "source": {"fileObject": {"@id": _FILE}, "extract": {"column": array}},
    }
    return found | ({"isArray": True, "arrayShape": ",".join(map(str, shape))} if shape else {})
