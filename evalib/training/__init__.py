"""From images to a trained network: data, recipe, steps, loop and checkpoints."""

from evalib.extras import need

need("train", "filelock", "PIL", "pydantic", "scipy", "tqdm")
