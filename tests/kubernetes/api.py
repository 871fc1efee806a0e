"""A stand-in of a Kubernetes cluster for tests/kubernetes/run.sh: what Snakemake's executor asks of the API, and nothing else.

    python tests/kubernetes/api.py CONFIG LOGS

Serves on a free port of the loopback and writes CONFIG, a kubeconfig. A job's pod is a podman container of the image, with the
command, environment, folder and volumes of its specification and no network; a claim `NAME:PATH` is the folder PATH of this
machine. The bodies of jobs and what pods print go into LOGS.
"""

import argparse
import json
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import yaml

JOBS = r"/apis/batch/v1/namespaces/[^/]+/jobs"
PODS = r"/api/v1/namespaces/[^/]+/pods"


class Pod:
    """The one pod of a job."""

    def __init__(self, job: dict[str, Any], logs: Path):
        self.name = job["metadata"]["name"]
        self.log = logs / f"{self.name}.log"
        (logs / f"{self.name}.json").write_text(json.dumps(job, indent=1))
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(command(self.name, job), stdout=log, stderr=subprocess.STDOUT)

    def described(self) -> dict[str, Any]:
        """As the API has it."""
        code = self._process.poll()
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
        container = {"name": "snakemake", "image": "", "imageID": "", "ready": code is None, "restartCount": 0, "state": state}
        return {"metadata": {"name": self.name}, "status": {"containerStatuses": [container]}}

    def status(self) -> dict[str, int]:
        """Of the job."""
        code = self._process.poll()
        return {} if code is None else {"failed" if code else "succeeded": 1}

    def delete(self) -> None:
        """Ends it if it runs."""
        if self._process.poll() is None:
            subprocess.run(["podman", "kill", self.name], capture_output=True, check=False)


def command(name: str, job: dict[str, Any]) -> list[str]:
    """podman's command line for a job's pod.

    Raises:
        ValueError: a pod that asks for what this stand-in has not.
    """
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    told = ["podman", "run", "--rm", "--name", name, "--network", "none", "--workdir", container["workingDir"]]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "emptyDir" in volume:
            told += ["--tmpfs", f"{mount['mountPath']}:rw,exec,mode=755"]
        elif volume["persistentVolumeClaim"]["claimName"] == mount["name"]:
            told += ["--volume", f"{mount['mountPath']}:{mount['mountPath']}"]
        else:
            raise ValueError(f"no volume {volume}")
    for key in container["resources"]["requests"]:
        if key not in ("cpu", "memory", "ephemeral-storage"):
            raise ValueError(f"no node has {key}")
    return [*told, container["image"], *container["command"], *container["args"]]


class Api(BaseHTTPRequestHandler):
    """Jobs, their pods, and secrets, which are taken and forgotten."""

    pods: ClassVar[dict[str, Pod]] = {}
    logs: ClassVar[Path]

    def do_POST(self) -> None:
        """Makes a job or a secret."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if re.fullmatch(JOBS, self.path):
            pod = Pod(body, self.logs)
            self.pods[pod.name] = pod
            self._answer(201, body)
        elif self.path.endswith("/secrets"):
            self._answer(201, body)
        else:
            self._unknown()

    def do_GET(self) -> None:
        """A job's status, its pod, what the pod printed."""
        path, _, query = self.path.partition("?")
        if (found := re.fullmatch(f"{JOBS}/([^/]+)/status", path)) and (pod := self.pods.get(found[1])):
            self._answer(200, {"metadata": {"name": pod.name}, "status": pod.status()})
        elif re.fullmatch(PODS, path) and (found := re.search(r"job-name(?:=|%3D)([\w-]+)", query)):
            pod = self.pods.get(found[1])
            self._answer(200, {"items": [pod.described()] if pod else []})
        elif (found := re.fullmatch(f"{PODS}/([^/]+)/log", path)) and (pod := self.pods.get(found[1])):
            self._answer(200, pod.log.read_text(errors="replace"))
        else:
            self._unknown()

    def do_DELETE(self) -> None:
        """Of a job, its pod or a secret."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pod = self.pods.get(self.path.partition("?")[0].rpartition("/")[2])
        if pod:
            pod.delete()
        self._answer(200, {"status": "Success"})

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _unknown(self) -> None:
        print(f"unknown: {self.command} {self.path}", file=sys.stderr)
        self._answer(404, {"status": "Failure", "code": 404})

    def _answer(self, code: int, body: dict[str, Any] | str) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("logs", type=Path)
    given = parser.parse_args()
    given.logs.mkdir(parents=True, exist_ok=True)
    Api.logs = given.logs
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    cluster = {"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    config = {
        "apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}], "current-context": "here",
    }  # fmt: skip
    given.config.write_text(yaml.safe_dump(config))
    server.serve_forever()


if __name__ == "__main__":
    main()
