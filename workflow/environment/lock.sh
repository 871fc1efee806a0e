#!/usr/bin/env bash
# Makes the locks from the *.in files: `make lock`, with uv on PATH or named by UV=. Set-up does not need it.
# The locks name neither an index nor a machine's path: pip's own configuration says where packages come from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

UV=${UV:-uv}
if ! command -v "$UV" >/dev/null; then
    echo "lock: uv is not on PATH; install it (pip install uv) or name it: make lock UV=/path/to/uv" >&2
    exit 2
fi

compile() {
    echo "lock: $2 from $1" >&2
    "$UV" pip compile --quiet --upgrade --generate-hashes \
        --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        --output-file "$2" "${@:3}" "$1"
}

compile build.in build.txt
compile base.in base.txt --constraint build.txt --no-emit-package setuptools

# The CUDA lock carries only what the other two lack.
mapfile -t locked < <(sed -nE 's/^([a-z0-9][a-z0-9._-]*)==.*/\1/p' build.txt base.txt)
compile torch-cuda.in torch-cuda.txt --constraint build.txt --constraint base.txt "${locked[@]/#/--no-emit-package=}"

# The images take a part of the same packages, at the same versions.
for image in analysis train; do
    compile "../../containers/$image.in" "../../containers/$image.txt" --constraint base.txt --constraint build.txt \
        --no-emit-package setuptools
done

# The documentation site's virtual environment is its own; what both have is at the same version.
compile docs.in docs.txt --constraint base.txt --constraint build.txt
