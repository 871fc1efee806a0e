"""How to cite a release, and the files by which others find the software."""

import pytest

import pjap_bench
from pjap_bench import __main__ as command_line
from pjap_bench import config, files
from pjap_bench.releases import citation
from tests.releases.conftest import change


def test_a_citation_says_exactly_what(pinned, capsys):
    assert command_line.main(["cite", "--release", str(pinned)]) == 0
    text, bibtex, *others = capsys.readouterr().out.rstrip("\n").split("\n\n")
    about = files.read_json(pinned / "release.json")
    for part in (text, bibtex):
        for said in ("first", about["date"], "smoke", pjap_bench.__version__, about["code"], "uncontained"):
            assert said in part
        assert files.sha256(pinned / "release.json") in part
        assert (about["git"]["commit"] or "no git commit") in part
    data = [f"dataset {name}" for name in ("good", "good_medium", "medium")]
    assert others[0] == "and the paper:" and others[-4:] == ["and the data:", *data]
    assert bibtex.startswith("@misc{pjap_bench_first,") and bibtex.count("{") == bibtex.count("}")


@pytest.mark.parametrize(
    ("git", "said"),
    [
        ({"commit": "a" * 40, "clean": True}, f"{'a' * 40}, code"),
        ({"commit": "a" * 40, "clean": False}, f"{'a' * 40} with changes that are not committed, code"),
        ({"commit": None, "clean": None}, "no git commit, code"),
    ],
)
def test_the_commit_is_cited_as_it_was(git, said, release):
    change(release / "release.json", git=git, images=[f"analysis@sha256:{'1' * 64}", f"train@sha256:{'2' * 64}"])
    text = citation.cite(release)
    assert said in text and f"analysis@sha256:{'1' * 64}, train@sha256:{'2' * 64}" in text


def test_a_damaged_release_is_not_cited(release, capsys):
    (release / "verdict.json").write_text("{}")
    assert command_line.main(["cite", "--release", str(release)]) == 2
    assert "verdict.json: was changed" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["codemeta.json", ".zenodo.json"])
def test_versions_authors_and_licence_agree(name):
    cited = files.read_yaml(config.ROOT / "CITATION.cff")
    found = files.read_json(config.ROOT / name)
    assert found["version"] == pjap_bench.__version__ == cited["version"]
    authors = found["author"] if name == "codemeta.json" else found["creators"]
    assert [author["name"] for author in authors] == [author["name"] for author in cited["authors"]]
    assert found["license"].removeprefix("https://spdx.org/licenses/") == cited["license"]
