"""Asks a server to run tests; started once a mutant, so that it imports next to nothing. Its exit code is pytest's."""

import socket
import sys


def main() -> int:
    """`client.py SOCKET SECONDS TEST…`: SECONDS is how long the tests may take."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.connect(sys.argv[1])
        asked.sendall("\0".join(sys.argv[2:]).encode() + b"\n")
        answer = asked.makefile().read()
    code, _, said = answer.partition("\n")
    print(f"pytest ended with {code}")
    print(said)
    return int(code or 99)


if __name__ == "__main__":
    sys.exit(main())
