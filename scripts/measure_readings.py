"""Measure what the trained EVANets read, and keep it beside the records, in readings.json.

    python scripts/measure_readings.py --out results

Of each record at the quick and paper tiers whose weights are here, on the test images of its data.
What is measured already stays, unless --again is given. What no record has any more goes; with
--again also that of weights that are not here.
"""

import argparse
import sys
from pathlib import Path

from evalib import experiments
from evalib.results import reading, records, weights
from evalib.training import data, environment
from evalib.training.cifar import load_data
from evalib.training.settings import TIERS

SHOWN = ("quick", "paper")
ROWS = [row for row in experiments.ROWS.values() if not row.test_each_epoch]


def measure(out: Path, tiers: tuple[str, ...] = SHOWN, again: bool = False) -> list[str]:
    """Write the readings; a line for each record whose weights are not here to be read."""
    before, readings, absent = {} if again else reading.load_readings(out), {}, []
    runs = records.load_records(out)
    runs = runs[runs["standard"] & runs["tier"].isin(tiers) & (runs["weights"] != "")]
    for row in ROWS:
        made = runs[runs["experiment"] == row.name]
        if made.empty or reading.find_eva(experiments.build(row.name)) is None:
            continue
        for run in made.itertuples():
            if run.weights in before:
                readings[run.weights] = before[run.weights]
            elif found := weights.find_recorded(run.path):
                readings[run.weights] = read(found, load_data(TIERS[run.tier].data))
            else:
                absent.append(
                    f"{run.path}: its weights are not here: {weights.tell_where(run.path)}"
                )
    records.write({"readings": readings}, out / reading.READINGS)
    return absent


def read(path: Path, cifar: data.Dataset) -> dict:
    """One reading, in plain data."""
    right, vectors = reading.measure(
        weights.load_weights(path), cifar.test_images, cifar.test_labels
    )
    return {
        "images": len(cifar.test_labels),
        "right": right,
        "vectors": [vector._asdict() for vector in vectors],
        "commit": environment.commit(),
        "versions": environment.versions(),
    }


def main() -> int:
    """Measure; one line on stderr for each run whose weights are not there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=records.results(),
        help="where records are kept (default: results/)",
    )
    parser.add_argument(
        "--again", action="store_true", help="measure all anew; what cannot be goes"
    )
    arguments = parser.parse_args()
    try:
        absent = measure(arguments.out, again=arguments.again)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for line in absent:
        print(line, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
