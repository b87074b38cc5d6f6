"""From images to a trained network: data, steps, loop and checkpoints."""

from evalib.extras import need

need("train", "filelock", "PIL", "pydantic", "torchvision", "tqdm")
