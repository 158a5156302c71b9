"""Adds up the numbers of one client: it has this process to itself."""

import os
import sys

total = 0
print("hello,", os.environ.get("TCPREMOTEIP", "you"))
while True:
    # A prompt leaves at once only if it is told to.
    print("> ", end="", flush=True)
    line = sys.stdin.buffer.readline()
    text = line.rstrip(b"\r\n")
    if not line or text == b"quit":
        break
    if text.isdigit() and len(text) < 10:
        total += int(text)
    else:
        print("that is no number")
print(total, "in all")
