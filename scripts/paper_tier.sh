#!/usr/bin/env bash
# The whole paper tier, then what came of it as one archive: records with their curves, executed notebooks, logs and
# weights. Stopped at any time, the same command goes on where it was. Where Snakemake itself was killed, take its lock
# away first: python -m evalib reproduce --tier paper --manifest … -- --unlock
#   scripts/paper_tier.sh [manifest …]      default: every one of workflow/, Table 1 first
#   TIER=smoke SEEDS=0 PROFILE=slurm …      as for make reproduce; by default every seed at the paper tier
#   LIMIT=1500                              train for so many seconds at most, then pack what there is
#   PYTHON=python3                          one that has all of requirements.txt, in place of .venv: needs no network
set -uo pipefail
cd "$(dirname "$0")/.."
trap 'exit 130' INT
tier=${TIER:-paper} limit=${LIMIT:-0} failed=0
[ -n "${PYTHON:-}" ] || make .venv/ready || exit 1
python=${PYTHON:-.venv/bin/python}
[ $# -gt 0 ] || set -- workflow/manifest.csv $(find workflow -name '*.csv' ! -name manifest.csv | sort -r)
for manifest in "$@"; do
    left=$((limit == 0 ? 0 : limit > SECONDS ? limit - SECONDS : 1))  # 0: as long as it takes
    timeout --foreground $left \
        "$python" -m evalib reproduce --tier "$tier" --seeds "${SEEDS:-all}" --profile "${PROFILE:-local}" --manifest "$manifest" --no-book ||
        failed=1
done
"$python" -m evalib table --ablations || failed=1
"$python" -m evalib claims || failed=1
home=${EVALIB_HOME:-.} archive=${EVALIB_HOME:-.}/results/$tier.tar.gz
(cd "$home" && find "results/$tier" \( -name '*-seed*.json' -o -name train.ipynb -o -name train.log -o -name 'weights-*.safetensors' \) -print0) |
    tar -C "$home" --null --files-from=- -czf "$archive.part" && mv "$archive.part" "$archive" && echo "$archive" || failed=1
[ -n "${PYTHON:-}" ] || make book || failed=1
[ $failed = 0 ] || echo "not all is done: to go on, give the same command again" >&2
exit $failed
