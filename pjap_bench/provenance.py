"""Where an output comes from: the stamp that every output carries, and the digest of the sources that made it."""

import ast
import hashlib
import importlib.metadata
import platform
import re
from functools import cache
from pathlib import Path

import pjap_bench
from pjap_bench import containers

PACKAGE = Path(pjap_bench.__file__).parent

# Packages whose version can change a number.
_PACKAGES = ("numpy", "torch", "mujoco", "gymnasium", "h5py", "pandas", "scipy", "matplotlib", "tensorstore", "snakemake")


def stamp(stage: str, label: dict, seeds: list[int] | None = None, datasets: dict[str, str] | None = None) -> dict:
    """The provenance of one output, as plain JSON.

    Args:
        stage: the module that makes the output, for instance "pjap_bench.training"; its sources are digested.
        label: {"scale": ..., "regime": ...} of the configuration; steps before the statistics leave the regime out.
        seeds: the seeds of the runs in the output.
        datasets: sha256 of every dataset that went in, by name.
    """
    return {
        "pjap_bench": pjap_bench.__version__,
        **label,
        "seeds": seeds or [],
        "code": source_digest(stage),
        "image": image(),
        "datasets": datasets or {},
        "python": platform.python_version(),
        "processor": processor(),
        "packages": _versions(),
    }


def image() -> str:
    """The pinned image that this process runs in, as NAME@sha256:DIGEST, or 'uncontained'."""
    return containers.here() or "uncontained"


@cache
def processor() -> str:
    """The processor's model: the last bits of a result are promised per image and processor family only."""
    try:
        models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        models = []
    return models[0] if models else platform.machine()


@cache
def source_digest(module: str) -> str:
    """12 hex digits over the sources of `module` and of every module of this package that it imports, however deep.

    The workflow gives each rule this digest as a parameter, so that a change reruns exactly the stages that use it.
    """
    digest = hashlib.sha256()
    for name in sorted(imports_of(module)):
        path = _path(name)
        digest.update(name.encode() + b"\0" + path.read_bytes())
        for template in sorted(path.parent.glob("*.jinja")):  # text that a module renders
            digest.update(template.read_bytes())
    return digest.hexdigest()[:12]


@cache
def imports_of(module: str) -> frozenset[str]:
    """`module` and all modules of this package that it reaches by imports, at the top of a file or inside functions."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        waiting.extend(direct_imports(name))
        if "." in name:  # importing a.b runs a/__init__.py
            waiting.append(name.rpartition(".")[0])
    return frozenset(reached)


def direct_imports(module: str) -> set[str]:
    """The modules of this package that `module` itself imports, read from its source without running it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(_path(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` imports the module; `from module import name` the module before "import".
            found |= {name if _is_ours(name) else node.module for name in inside}
    return {name for name in found if _is_ours(name)}


def _is_ours(module: str) -> bool:
    return module.split(".")[0] == PACKAGE.name and _path(module).exists()


def _path(module: str) -> Path:
    relative = Path(*module.split(".")[1:])
    package = PACKAGE / relative / "__init__.py"
    return package if package.exists() else (PACKAGE / relative).with_suffix(".py")


@cache
def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
