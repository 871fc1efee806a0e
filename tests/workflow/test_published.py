"""A published dataset as a user gets it: from a URL, or fetched by hand, to our file and to others' formats."""

import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest

from pjap_bench.datasets import cards, fetch, hdf5
from tests.datasets.test_vault import SHA256, VAULTS, statistics
from tests.datasets.vaults import content
from tests.workflow.test_workflow import SMOKE, copy_tree, planned, snakemake, with_images

FILE = "results/smoke/datasets/tiny.h5"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_request(self, code, size=None):
        self.server.answers.append((self.path, int(code)))

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=VAULTS)) as running:
        running.answers = []
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def write_card(tree, name, urls):
    card = cards.load("og_marl_poor") | {"id": name, "urls": urls, "actions": "clip", "sha256": SHA256["tiny.zip"]}
    card["size"] = (VAULTS / "tiny.zip").stat().st_size
    card["published"] |= {key: float(value) for key, value in statistics("Poor").items()}
    (tree / "datasets" / f"{name}.yaml").write_text(json.dumps(card), encoding="utf-8")
    return tree / "results" / "downloads" / fetch.file_name(card)


def test_from_the_url_to_our_file_and_out_again(tmp_path, server):
    tree, urls = copy_tree(tmp_path / "copy"), [f"{server.url}/gone/tiny.zip", f"{server.url}/tiny.zip"]
    archive = write_card(tree, "tiny", urls)
    done = snakemake(tree, FILE, *SMOKE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.answers == [("/gone/tiny.zip", 404), ("/tiny.zip", 200)]
    line = f"{archive.name}: 100% of 0.1 MB"
    assert line in done.stdout + done.stderr and line in archive.with_name(f"{archive.name}.log").read_text()
    assert np.array_equal(hdf5.read(tree / FILE).observed()[0], content.experience("Poor")["observations"])

    # Neither a mirror put first nor another card of the same file fetches it anew.
    write_card(tree, "tiny", urls[::-1])
    write_card(tree, "a_namesake", urls)
    assert planned(tree, "--cores", "1", FILE, "--config", "scale=smoke") == {"convert_vault": 1}

    command = [
        sys.executable,
        "-m",
        "pjap_bench",
        "export-dataset",
        "--format",
        "d4rl",
        "--dataset",
        FILE,
        "--output",
        "flat.hdf5",
    ]
    subprocess.run(command, cwd=tree, check=True)
    with h5py.File(tree / "flat.hdf5") as flat:
        assert np.array_equal(flat["actions"], np.clip(content.experience("Poor")["actions"], -1, 1))


def test_an_archive_fetched_by_hand_is_compared_with_its_card(tmp_path):
    tree = copy_tree(tmp_path / "copy")
    archive = write_card(tree, "tiny", ["http://127.0.0.1:9/tiny.zip"])
    archive.parent.mkdir(parents=True)
    shutil.copy(VAULTS / "odd.zip", archive)
    done = snakemake(tree, FILE, *SMOKE)
    assert done.returncode != 0
    assert f"{archive.name}: {archive.stat().st_size} bytes long, but the card says" in done.stdout + done.stderr


def test_every_card_has_its_rules(tmp_path):
    tree = copy_tree(tmp_path / "copy")
    all_cards = {name: cards.load(name) for name in cards.names()}
    targets = [*(f"results/smoke/datasets/{name}.h5" for name in all_cards), "behaviour_policies"]
    plan = planned(tree, "--cores", "1", *targets, "--config", "scale=smoke")
    sources = [card["source"] for card in all_cards.values()]
    assert plan == {
        "fetch_archive": 1,  # OG-MARL's three share one
        "convert_vault": sources.count("og_marl_vault"),
        "collect_dataset": sources.count("generated"),
        "mix_dataset": sources.count("mixture"),
        "train_behaviour": sum(len(card.get("policies", [])) for card in all_cards.values()),
        "behaviour_policies": 1,
    }


def test_an_image_sees_the_folder_of_a_mirror_on_disk(tmp_path):
    tree, mirror = copy_tree(tmp_path / "copy"), tmp_path / "disk" / "tiny.zip"
    mirror.parent.mkdir()
    shutil.copy(VAULTS / "tiny.zip", mirror)
    write_card(tree, "tiny", [mirror.as_uri()])
    with_images(tree, tmp_path, answer='echo "$*"; exit 1')
    done = snakemake(tree, FILE, "--no-hooks", "--config", "scale=smoke", "containers=on", path=tmp_path)
    said = done.stdout + done.stderr
    assert f"--bind {mirror.parent} " in said and "--network none" not in said
