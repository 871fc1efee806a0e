"""The releases of this repository. `.ci/run` redraws each of them too."""

import pytest

from pjap_bench import config
from pjap_bench.releases import citation, manifest

PINNED = config.ROOT / "pinned"
RELEASES = sorted(path.parent.name for path in PINNED.glob(f"*/{manifest.NAME}"))


def test_laptop_is_pinned():
    assert "laptop" in RELEASES
    assert sorted(path.name for path in PINNED.iterdir()) == RELEASES, "something else lies beside the releases"


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_is_as_it_was_pinned_and_can_be_cited(name):
    about = manifest.read(PINNED / name)
    assert about["name"] == name and about["git"]["clean"] and len(about["git"]["commit"]) == 40
    # The GPU was on a machine that runs no containers.
    assert about["images"] == ["uncontained"] if name.endswith("_gpu") else "uncontained" not in about["images"]
    assert about["git"]["commit"] in citation.cite(PINNED / name)
