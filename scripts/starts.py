"""
Starts the proxy again and again in every mode, while eight clients knock at its port from before it is open.

A start holds when the proxy goes on running, serves every client through an account, writes no error, and ends when it
is told to; and when nothing reached a provider under a client's own key. Every other one names the host to listen on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.end_to_end.knocking import MODES, leaked, providers, start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--together", type=int, default=2, help="starts at the same time")
    parser.add_argument("--mode", action="append", choices=MODES, help="this mode alone; may be repeated")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="patchbay-starts-") as name, providers(Path(name)) as (plain, secured, ca):
        for mode in options.mode or MODES:
            begun = time.monotonic()
            folder = Path(name) / mode.replace(" ", "-")

            def one(number: int, mode: str = mode, folder: Path = folder) -> list[str]:
                return start(folder / str(number), mode, plain, secured, ca, named_host=number % 2 == 0)

            with ThreadPoolExecutor(options.together) as aside:
                found = list(aside.map(one, range(options.times)))
            well = found.count([])
            failed += options.times - well
            print(f"{mode:22} {well:3} of {options.times} starts  {time.monotonic() - begun:5.1f} s", flush=True)
            for wrong in [each for each in found if each][:2]:
                print("  " + "\n".join(wrong)[:3000].replace("\n", "\n  "))
        lost = leaked((plain, secured))
    print(f"requests that went up under a client's own key: {len(lost)}")
    return 1 if failed or lost else 0


if __name__ == "__main__":
    sys.exit(main())
