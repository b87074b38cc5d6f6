"""What the kernels of the book's pages find set, as an extension of Sphinx: Jupyter Book loads it
from ``_config.yml``.
"""

import os
import tempfile
from pathlib import Path


def setup(app) -> dict:
    """A page that trains leaves no record in ``results/``, for it is no run of the manifest; and
    kernels log errors alone.
    """
    scratch = tempfile.TemporaryDirectory(prefix="evalib-book-")
    app.connect("build-finished", lambda *_: scratch.cleanup())
    profile = Path(scratch.name) / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")
    os.environ |= {"IPYTHONDIR": str(profile.parent), "EVALIB_OUT": f"{scratch.name}/results"}
    return {"parallel_read_safe": True}
