#!/usr/bin/env bash
# Build .venv-peers: the environment in which SAELens, dictionary_learning, sparsify and SAEDashboard run. Does nothing if it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
env="${PEERS_ENV:-.venv-peers}"
stamp="$env/requirements-peers.txt"
if cmp -s benchmarks/requirements-peers.txt "$stamp"; then exit 0; fi
echo "building $env (about three minutes, once)"
"${PYTHON:-python3}" -m venv "$env"
"$env/bin/pip" install -q torch==2.13.0
"$env/bin/pip" install -q -r benchmarks/requirements-peers.txt
"$env/bin/pip" install -q --no-deps dictionary-learning==0.1.0 eai-sparsify==1.3.3 devinterp==2.0.1 sae-dashboard==0.8.0
cp benchmarks/requirements-peers.txt "$stamp"
