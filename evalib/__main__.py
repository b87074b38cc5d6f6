"""``python -m evalib``: see evalib/batch/cli.py."""

import sys

from evalib.batch.cli import main

if __name__ == "__main__":
    sys.exit(main())
