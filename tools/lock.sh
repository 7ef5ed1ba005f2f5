#!/bin/sh
# Resolves the locks in requirements/ again: hashes, but neither addresses nor paths. Give --upgrade to take newer versions.
set -eu
if ! command -v uv >/dev/null 2>&1; then
    echo "lock: install uv first, for example: pip install uv" >&2
    exit 1
fi

compile() {  # the output file, then what goes into it
    out=$1
    shift
    uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
        --no-annotate --no-header --no-emit-index-url --no-emit-find-links "$@" --output-file "$out"
    echo "lock: $out"
}

# The [cpu] extra asks for something on Linux only, so one file serves Linux and macOS.
compile requirements/dev.txt --extra cpu --group dev "$@"
compile requirements/cpu.txt --extra cpu --constraint requirements/dev.txt "$@"
compile requirements/cuda.txt --extra cuda --constraint requirements/dev.txt "$@"
