"""Settings with a new name, or without a use: the old name is still read, with a warning."""

from __future__ import annotations

from collections.abc import Mapping

# section → old name → new name; an empty new name: the setting is no longer used
RENAMED: Mapping[str, Mapping[str, str]] = {
    "": {"other": "other_traffic", "grace": "grace_period"},
    "sessions": {"cache_ttl": "prompt_cache_ttl"},
    "failover": {
        "seconds": "timeout",
        "hold": "hold_until_content",
        "hold_seconds": "hold_timeout",
        "patience": "sticky_wait",
        "owner": "encrypted_reasoning",
    },
    "crosstalk": {"every": "on_incident_interval"},
    "queue": {"seconds": "timeout", "patience": "preferred_wait"},
    "limits": {"head": "header_size", "headers": "header_count", "remembered": "known_ids"},
    "providers": {"silent": "disabled_detectors"},
    "stamp": {"namespace": "patchbay_headers", "body_at": "body_paths"},
    "accounts": {"quota": "quota_group"},
    "models": {"names": "upstream_names"},
}
