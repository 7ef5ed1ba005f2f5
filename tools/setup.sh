#!/bin/sh
# Makes the virtual environment in the folder given as the first argument, with the locked packages and this project.
set -eu
venv=$1
case $venv in /*) root=$venv ;; *) root=$(pwd)/$venv ;; esac

usable() {  # a Python of the right version that can make environments (a shim may exist and not run)
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' >/dev/null 2>&1
}

find_python() {
    for name in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 python}; do
        if usable "$name"; then
            echo "$name"
            return
        fi
    done
    if [ "$(uname -s)" = Darwin ]; then
        echo "setup: install Python 3.11 to 3.14 first, for example: brew install python@3.13" >&2
    else
        echo "setup: install Python 3.11 to 3.14 with its venv module first, for example: apt install python3 python3-venv" >&2
    fi
    exit 1
}

if ! usable "$root/bin/python"; then
    python=$(find_python)
    echo "setup: making $venv with $("$python" --version)"
    "$python" -m venv --clear "$root"
fi

# A download that fails in the middle shows here, not later as a missing module: the stamp is written last.
echo "setup: installing the packages of requirements/dev.txt"
"$root/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
"$root/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
touch "$root/.ready"
echo "setup: done"
