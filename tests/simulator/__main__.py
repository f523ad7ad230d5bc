"""Run the simulated provider: `python -m tests.simulator --port 0 --key sk-a=a --echo both`; prints its address."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

from .faults import FAULTS
from .simulator import Simulator


def main() -> None:
    """Serve until interrupted."""
    asyncio.run(_serve(_parser().parse_args()))


async def _serve(arguments: argparse.Namespace) -> None:
    keys = dict(pair.partition("=")[::2] for pair in arguments.key)
    tls = (arguments.cert, arguments.cert_key or arguments.cert) if arguments.cert else None
    simulator = Simulator(
        {key: account or key for key, account in keys.items()},
        host=arguments.host,
        port=arguments.port,
        tls=tls,
        http2=not arguments.no_http2,
        echo=arguments.echo,
        require_key=not arguments.any_key,
        models=tuple(arguments.model) or ("sim-large", "sim-small"),
        rejects=tuple(arguments.reject),
        words=arguments.words,
        seed=arguments.seed,
    )
    for text in arguments.fault:
        simulator.fault(**json.loads(text))
    async with simulator:
        ended = asyncio.Event()
        for ending in (signal.SIGINT, signal.SIGTERM):  # a shell lets what it runs behind ignore the first
            asyncio.get_running_loop().add_signal_handler(ending, ended.set)
        print(json.dumps({"url": simulator.url, "port": simulator.port}), flush=True)
        await ended.wait()
        if arguments.truth:
            lines = (json.dumps(record.as_json(body=False)) for record in simulator.truth)
            Path(arguments.truth).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--key", action="append", default=[], metavar="KEY=ACCOUNT", help="a credential that is known")
    parser.add_argument("--any-key", action="store_true", help="take any key, or none")
    parser.add_argument("--echo", default="none", help="header, body, both, none, own, vllm, or several joined by +")
    parser.add_argument("--model", action="append", default=[], help="a model for the list of models")
    parser.add_argument(
        "--reject", action="append", default=[], metavar="MEMBER", help="a body member that is an error"
    )
    parser.add_argument("--words", type=int, default=12, help="words in an answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truth", metavar="FILE", help="at the end, write what was true into it: a line per request")
    parser.add_argument("--cert", help="PEM file with the certificate; switches TLS on")
    parser.add_argument("--cert-key", help="PEM file with the key, if it is another")
    parser.add_argument("--no-http2", action="store_true", help="offer only HTTP/1.1 in the TLS handshake")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="JSON",
        help=f'{{"fault": NAME, "settings": {{}}, "account": "a", "times": 1}}; names: {", ".join(sorted(FAULTS))}',
    )
    return parser


if __name__ == "__main__":
    main()
