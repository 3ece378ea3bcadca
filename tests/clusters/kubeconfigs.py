"""Kubeconfigs for tests: good ones with keys that were made for them, and bad ones from a seed."""

import base64
import json
import random
from typing import Any

import yaml

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def kubeconfig(
    *, server: str = "https://203.0.113.5:6443", name: str = "lab", user: Any = None, cluster: Any = None
) -> dict[str, Any]:
    """One context; `user` and `cluster` replace or add to the plain ones."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "ada", "user": {"token": "abc.def"} if user is None else user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "ada"}}],
    }


def text(config: dict[str, Any]) -> str:
    return yaml.safe_dump(config)


EXEC = {
    "apiVersion": "client.authentication.k8s.io/v1",
    "command": "/bin/sh",
    "args": ["-c", "touch /tmp/kubenexus-was-here"],
    "interactiveMode": "Never",
}
PROVIDER = {"name": "gcp", "config": {"cmd-path": "/bin/sh", "cmd-args": "-c id", "expiry-key": "{.e}"}}
HAZARDS: list[tuple[str, Any]] = [
    ("exec", EXEC),
    ("auth-provider", PROVIDER),
    ("cmd-path", "/bin/sh"),
    ("command", "/bin/sh"),
    ("tokenFile", "/etc/passwd"),
    ("token-file", "/etc/passwd"),
    ("certificate-authority", "/etc/passwd"),
    ("client-certificate", "/etc/passwd"),
    ("client-key", "/etc/passwd"),
    ("proxy-url", "http://127.0.0.1:3128"),
    ("as", "system:admin"),
    ("as-groups", ["system:masters"]),
]


def dangerous(rng: random.Random) -> str:
    """A kubeconfig with something to run or to read in some place, in some spelling."""
    config = kubeconfig(server=f"https://203.0.113.{rng.randrange(1, 255)}:6443")
    field, value = rng.choice(HAZARDS)
    place = rng.choice(
        [
            config,
            config["clusters"][0],
            config["clusters"][0]["cluster"],
            config["users"][0],
            config["users"][0]["user"],
            config["contexts"][0],
            config["contexts"][0]["context"],
        ]
    )
    if rng.random() < 0.3:
        config["users"][0]["user"].pop("token", None)
    place[field] = value
    match rng.randrange(6):
        case 0:
            return json.dumps(config)
        case 1:
            return yaml.safe_dump(config, default_flow_style=True)
        case 2:  # a tag that a full loader would call
            return (
                yaml.safe_dump(config)
                + "extensions: !!python/object/apply:os.system ['touch /tmp/kubenexus-was-here']\n"
            )
        case 3:  # the hazard by alias and merge
            return "x-y: &h {exec: {command: /bin/sh}}\n" + yaml.safe_dump(config) + "preferences: *h\n"
        case 4:
            return "\ufeff" + yaml.safe_dump(config, explicit_start=True)
        case _:
            return yaml.safe_dump(config, default_style=rng.choice(['"', "'", None]), indent=rng.choice([2, 4, 8]))
