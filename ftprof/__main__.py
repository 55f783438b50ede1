"""``python -m ftprof`` is the same as ``ftprof``."""

from ftprof.cli import main

main()
