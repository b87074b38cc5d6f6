#!/usr/bin/env bash
# Inside Colab's image, with the repository at /checkout: each notebook alone in an empty directory, to its end.
set -euo pipefail
address="$(sed -n 's|^  url: ||p' /checkout/_config.yml)"
git config --global url."file:///checkout".insteadOf "$address"
git config --global --add safe.directory '*'
versions() { python3 -c 'from importlib.metadata import version; print(*map(version, ("torch", "torchvision", "numpy")))'; }
before="$(versions)"
for page in /checkout/notebooks/*.ipynb; do
    python3 -m pip uninstall --quiet --yes evalib
    cd "$(mktemp -d)"
    cp "$page" .
    python3 -m jupyter nbconvert --to notebook --execute --output out.ipynb "$(basename "$page")"
done
after="$(versions)"
[ "$before" = "$after" ] || { echo "the set-up cells changed torch, torchvision or numpy: $before became $after" >&2; exit 1; }
