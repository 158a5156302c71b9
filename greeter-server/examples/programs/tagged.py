"""A chat and a counter, for greeter_server::Tagged: each line of the talk says whose it is."""
import sys

clients = {}  # the session of each client


def tell(*fields):
    print(*fields, sep="\t", flush=True)


def answer(me, text):
    match text.split(" ", 1):
        case ["say", words]:
            for other in clients:
                if other != me:
                    tell("push", other, words)
        case ["count"]:
            clients[me] += 1
            tell("say", me, clients[me])
        case ["who"]:
            for other in clients:
                tell("say", me, f"number {other}")
        case ["bye"]:
            tell("say", me, "good bye")
            return tell("close", me)
        case _:
            return tell("refuse", me, "say …, count, who or bye")
    tell("done", me)


sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
for line in sys.stdin:
    match line.rstrip("\n").split("\t", 2):
        case ["hello", "1"]:
            tell("hello", 1)
        case ["open", me, _]:
            clients[me] = 0
            tell("push", me, "welcome")
        case ["line", me, text]:
            answer(me, text)
        case ["end", me, _]:
            del clients[me]
