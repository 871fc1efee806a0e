"""A release as an RO-Crate 1.1 (https://w3id.org/ro/crate/1.1): one JSON-LD file that says what each file is."""

from pathlib import PurePosixPath
from urllib.parse import quote

from pjap_bench.releases import contents

NAME = "ro-crate-metadata.json"
MEDIA_TYPES = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".npz": "application/zip",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".safetensors": "application/octet-stream",
    ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml",
}
DESCRIBED = {
    "release.json": "What the release is, and the sha256 of every file in it",
    "configuration.json": "The complete configuration",
    "claims.yaml": "The claims that were judged",
    "verdict.json": "The verdict on every claim, with its numbers",
    "statistics.csv": "Statistics over seeds with their intervals",
    "scores.csv": "One row per run, quantity and normalisation",
    "curves.csv": "Mean curves over seeds with their bands",
    "profiles.csv": "Performance profiles with their bands",
    "marl_eval.json": "All evaluations in the format of marl-eval",
    "sweep.csv": "The table of the sweep: arms, their differences and every seed, by variant",
    "report.html": "The report: verdicts, figures, data, settings, provenance",
    "notebook.html": "The notebook on the games, as rendered",
}


def describe(manifest: dict) -> dict:
    """The JSON-LD of a release.

    Args:
        manifest: what release.json will say; its "files" are named here with their hashes, but for this file's own.
    """
    licence = f"https://spdx.org/licenses/{manifest['license']}"
    listed = {"release.json": None} | {name: entry for name, entry in manifest["files"].items() if name != NAME}
    authors = [
        {"@id": f"#author-{number}", "@type": "Organization", "name": name} for number, name in enumerate(manifest["authors"], 1)
    ]
    images = [{"@id": f"#image-{number}", "@type": "Thing", "name": name} for number, name in enumerate(manifest["images"], 1)]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{manifest['title']}: {manifest['name']}",
        "description": f"Results at the scale {manifest['scale']}: {manifest['regime']}",
        "datePublished": manifest["date"],
        "license": {"@id": licence},
        "author": [{"@id": author["@id"]} for author in authors],
        "hasPart": [{"@id": quote(name)} for name in listed],
        "mentions": {"@id": "#made"},
    }
    made = {
        "@id": "#made",
        "@type": "CreateAction",
        "name": contents.command_of(manifest["scale"], manifest["configuration"].get("sweep", {}).get("name")),
        "instrument": [{"@id": "#pjap_bench"}, *({"@id": image["@id"]} for image in images)],
        "result": {"@id": "./"},
    }
    tool = {
        "@id": "#pjap_bench",
        "@type": "SoftwareSourceCode",
        "name": "pjap_bench",
        "version": manifest["pjap_bench"],
        "identifier": [f"code:{manifest['code']}", f"git:{manifest['git']['commit']}"],
        "license": {"@id": licence},
    }
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": [
            {
                "@id": NAME,
                "@type": "CreativeWork",
                "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
                "about": {"@id": "./"},
            },
            root,
            made,
            tool,
            {"@id": licence, "@type": "CreativeWork", "name": manifest["license"]},
            *authors,
            *images,
            *(_file(name, entry) for name, entry in listed.items()),
        ],
    }


def _file(name: str, entry: dict | None) -> dict:
    described = {
        "@id": quote(name),
        "@type": "File",
        "name": DESCRIBED.get(name, name),
        "encodingFormat": MEDIA_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream"),
    }
    # The schema.org term is `sha256`; its sizes are text.
    return described | ({"contentSize": str(entry["bytes"]), "sha256": entry["sha256"]} if entry else {})
