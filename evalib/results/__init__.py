"""What trained networks leave behind, and what it says: records, weights, tables and claims."""

from evalib.extras import need

need("train", "filelock", "pandas", "PIL", "pydantic", "scipy", "tabulate", "tqdm")
