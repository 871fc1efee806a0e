"""How to cite a release: a sentence and a BibTeX entry that name version, commit, code, images and the manifest's hash; the paper
and the data."""

import re
from pathlib import Path

from pjap_bench import files
from pjap_bench.releases import contents, manifest
from pjap_bench.report import PAPER


def cite(folder: Path) -> str:
    """The citation of a release, whose files are checked first.

    Raises:
        BenchError: no sound release (see `manifest.read`).
    """
    about = manifest.read(folder)
    digest = files.sha256(folder / manifest.NAME)
    authors, year = ", ".join(about["authors"]), about["date"][:4]
    commit = about["git"]["commit"] or "no git commit"
    if about["git"]["commit"] and not about["git"]["clean"]:
        commit += " with changes that are not committed"
    where = f"release {about['name']} of {about['date']}, scale {about['scale']}"
    swept = contents.sweep_in(about["configuration"], folder / manifest.NAME)
    if swept:
        where += f", sweep {swept['name']}"
    made = f"version {about['pjap_bench']}, {commit}, code {about['code']}, {', '.join(about['images'])}"
    key = re.sub(r"[^A-Za-z0-9]+", "_", f"pjap_bench_{about['name']}")
    bibtex = "\n".join(
        [
            f"@misc{{{key},",
            f"  title        = {{{{{about['title']}}}}},",
            f"  author       = {{{' and '.join(f'{{{name}}}' for name in about['authors'])}}},",
            f"  year         = {{{year}}},",
            f"  version      = {{{about['pjap_bench']}}},",
            f"  howpublished = {{{_escaped(where[0].upper() + where[1:])}}},",
            f"  note         = {{{_escaped(f'{made}; release.json sha256:{digest}')}}}",
            "}",
        ]
    )
    text = f"{authors} ({year}). {about['title']}. {where[0].upper()}{where[1:]}; {made}. release.json sha256:{digest}."
    data = {files.read_json(path)["citeAs"] for path in folder.glob("datasets/*.croissant.json")}
    return "\n\n".join([text, bibtex, "and the paper:", PAPER, "and the data:", *sorted(data)])


def _escaped(text: str) -> str:
    return re.sub(r"([_&%#$])", r"\\\1", text)
