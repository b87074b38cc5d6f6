"""From images to a trained network: data, recipe, steps, loop and checkpoints."""
