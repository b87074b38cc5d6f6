"""Many runs: which are to do, on which GPUs, and the notebook that makes each."""
