"""Answers each line in capitals."""

import sys

for line in sys.stdin:
    # Without flush, nothing leaves this process before there is much of it.
    print(line.rstrip("\n").upper(), flush=True)
