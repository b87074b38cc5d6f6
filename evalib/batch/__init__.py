"""The command line; and many runs: which are to do, on which GPUs, the notebook that makes each."""
