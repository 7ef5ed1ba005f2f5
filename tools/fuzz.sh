#!/bin/sh
# Sends made-up requests of every kind to every route of a scripted server, for FUZZ_S seconds (120 if unset): nothing
# may be a server error, hang, be logged, or be answered in another form than the description says. The first argument is the environment of this project; schemathesis gets
# one of its own in the second.
set -eu
python=$1/bin/python
case $2 in /*) fuzz=$2 ;; *) fuzz=$PWD/$2 ;; esac  # it runs in a folder of its own
scratch=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT

if ! test -x "$fuzz/bin/schemathesis"; then
    echo "fuzz: installing schemathesis in $fuzz"
    "$python" -m venv "$fuzz"
    "$fuzz/bin/python" -m pip install --quiet --disable-pip-version-check "schemathesis>=4.32,<5"
fi

echo '[{"text": "Fine."}]' >"$scratch/script.json"
box=$("$python" -c "import sys; print(sys.executable)")
cat >"$scratch/mcp.json" <<END
{"mcpServers": {"box": {"command": "$box", "args": ["$PWD/tests/fakes/mcp_rogue.py", "fine"], "approval": "auto"}}}
END
PYTHONPATH=src:. "$python" -m tests.fakes.serve "$scratch/script.json" --port 0 --mcp-config "$scratch/mcp.json" \
    >"$scratch/out" 2>"$scratch/log" &
server=$!
url=
tries=0
until url=$(sed -n 's/.*\(http:[^ ]*\).*/\1/p' "$scratch/out" | head -n 1) && test -n "$url"; do
    tries=$((tries + 1))
    if test "$tries" -gt 600 || ! kill -0 "$server" 2>/dev/null; then
        cat "$scratch/log" >&2
        echo "fuzz: the server did not start" >&2
        exit 1
    fi
    sleep 0.1
done

cd "$scratch"
"$fuzz/bin/schemathesis" run "$url/openapi.json" --checks not_a_server_error,response_schema_conformance --phases examples,coverage,fuzzing \
    --max-time "${FUZZ_S:-120}" --request-timeout 60 --suppress-health-check all --warnings off
cd "$OLDPWD"

"$python" -c "import sys, urllib.request as r; r.urlopen(sys.argv[1] + '/health', timeout=60)" "$url"
if test -s "$scratch/log"; then
    cat "$scratch/log" >&2
    echo "fuzz: the server logged errors" >&2
    exit 1
fi
echo "fuzz: done"
