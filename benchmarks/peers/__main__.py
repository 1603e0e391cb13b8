"""`python -m benchmarks.peers`: measure this project beside other servers that you could write.

Run it on a machine that does nothing else. It installs the peers under build/, checks that all of
them answer alike, and writes benchmarks/results/peers.json and peers.svg.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.peers import compare
from benchmarks.peers.catalogue import PEERS

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main() -> None:
    """Measure what the command line names, every peer by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    folders = [peer.folder for peer in PEERS]
    parser.add_argument("--only", nargs="+", default=folders, choices=folders, help="these peers")
    parser.add_argument("--turns", type=int, default=10, help="alternations (default 10)")
    parser.add_argument("--seconds", type=int, default=2, help="of one burst (default 2)")
    parser.add_argument(
        "--publish", action="store_true", help="write table and picture into README.md and docs/"
    )
    arguments = parser.parse_args()
    peers = [peer for peer in PEERS if peer.folder in arguments.only]
    compare.run(RESULTS, arguments.turns, arguments.seconds, peers, arguments.publish)


if __name__ == "__main__":
    main()
