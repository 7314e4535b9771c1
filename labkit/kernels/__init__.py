"""Kernels and commands that start in milliseconds: forked from a process that has all imports done.

`zygote` is that process, `client` the thin ``labkit`` command in front of it, `provisioner` gives its kernels to
papermill, nbval and JupyterLab, `lane` runs a notebook's cells in a fork of the runner itself.  Without any of
it (``LABKIT_ZYGOTE=0``) everything works the same, only slower.
"""
