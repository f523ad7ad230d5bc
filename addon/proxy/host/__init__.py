"""Faster ways for what mitmproxy does for every request, each with the same result; `steps` puts them on."""
