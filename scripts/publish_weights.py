"""Copy trained weights into the package: the last epoch of seed 0, at its highest tier, of each row
of Table 1 and of the EVANets whose reading the report compares. Those of a large row are rounded to
bfloat16, and say so.

    python scripts/publish_weights.py --out results

Only those whose record says the same as the record inside them, and which give the recorded number
of right answers again, to the image on the device that it was recorded on, are taken. They take the
place of older ones.
"""

import argparse
import sys
from pathlib import Path

import torch

from evalib.experiments import TABLE_1, Experiment, experiment
from evalib.results import records, weights
from evalib.results.records import find_runs, load_records
from evalib.training import checkpoint

ROWS = (*TABLE_1, experiment("evanet20-small-letter"), experiment("evanet20-small-residual"))
TIERS = ("quick", "paper")
LIMIT = 12_000_000
"""Bytes that one file may have in the repository."""


def publish(
    row: Experiment, out: Path, tiers: tuple[str, ...] = TIERS, into: Path = weights.PRETRAINED
) -> Path:
    """The weights of a row in ``into``, where they may be already; ``ValueError`` says why they are
    not taken.
    """
    found = find_runs(load_records(out), row.name, tiers)
    if found.empty or found["seed"].iloc[0] != 0:
        raise ValueError(
            f"{row.name}: seed 0 has no record of the {' or '.join(tiers)} tier in {out}: train it"
            " first"
        )
    path = found["path"].iloc[0]
    source = path.with_suffix("") / found["weights"].iloc[0]
    target = into / source.name.replace("weights-", f"{row.name}-")
    if target.exists():
        return target
    if not source.exists():
        raise ValueError(f"{row.name}: {source} is not there: {weights.tell_where(path)}")
    tensors, _ = weights.read_weights(source)
    large = "-large" in row.name
    if (size := source.stat().st_size // (2 if large else 1)) > LIMIT:
        raise ValueError(f"{row.name}: {source} has {size:,} bytes, more than {LIMIT:,}")
    if kinds := {
        str(t.dtype) for t in tensors.values() if t.is_floating_point() and t.dtype != torch.float32
    }:
        raise ValueError(f"{row.name}: {source} holds {', '.join(kinds)}: only float32 is taken")
    if fault := weights.verify(path, device="cpu")["fault"]:
        raise ValueError(f"{row.name}: {fault}")
    older = set(into.glob(f"{row.name}-{'[0-9a-f]' * 16}.safetensors"))
    if large:
        target = rounded(row, source, into)
    else:
        checkpoint.write_atomically(target, source.read_bytes())
    for old in older - {target}:
        old.unlink()
    return target


def rounded(row: Experiment, source: Path, into: Path) -> Path:
    """The weights in ``source`` in bfloat16, in ``into``; ``ValueError`` if they do not give the
    recorded count again.
    """
    tensors, record = checkpoint.read_tensors(source)
    half = {name: t.bfloat16() if t.is_floating_point() else t for name, t in tensors.items()}
    record |= {"stored": "bfloat16"}
    target = checkpoint.write_tensors(into, row.name, half, record)
    if fault := weights.compare_counts(record, weights.count_right(target, "cpu")):
        target.unlink()
        raise ValueError(f"{row.name}, in bfloat16: {fault}")
    return target


def main() -> int:
    """Publish what can be; one line a row, on stderr for each that was refused."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=records.results(),
        help="where records are kept (default: results/)",
    )
    out, refused = parser.parse_args().out, False
    for row in ROWS:
        try:
            print(publish(row, out))
        except (ValueError, OSError) as error:
            refused = True
            print(error, file=sys.stderr)
    return int(refused)


if __name__ == "__main__":
    sys.exit(main())
