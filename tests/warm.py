"""Imported by the server that forks the processes of tests: they have done the imports, as forks of a zygote have."""

import os

os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # or the debugger warns of it

from labkit.kernels.zygote import preload

preload()
