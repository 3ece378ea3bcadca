"""Reads the protobuf bodies that kubectl sends: the kinds it creates, evictions and access reviews. Pure.

Field numbers are those of k8s.io/api's generated.proto; a field or kind that is not listed here is left out or refused.
"""

from collections.abc import Iterator
from typing import Any, Final

Object = dict[str, Any]
MEDIA: Final = "application/vnd.kubernetes.protobuf"
MAGIC: Final = b"k8s\x00"
_DECLARED: Final = """
ObjectMeta 1 name;2 generateName;3 namespace;5 uid;6 resourceVersion;11 labels map;12 annotations map;14 finalizers []
DeleteOptions 1 gracePeriodSeconds int;2 preconditions Preconditions;4 propagationPolicy;5 dryRun []
Preconditions 1 uid;2 resourceVersion
Eviction 1 metadata ObjectMeta;2 deleteOptions DeleteOptions
ResourceAttributes 1 namespace;2 verb;3 group;4 version;5 resource;6 subresource;7 name
NonResourceAttributes 1 path;2 verb
AccessSpec 1 resourceAttributes ResourceAttributes;2 nonResourceAttributes NonResourceAttributes
SelfSubjectAccessReview 1 metadata ObjectMeta;2 spec AccessSpec
RulesSpec 1 namespace
SelfSubjectRulesReview 1 metadata ObjectMeta;2 spec RulesSpec
SelfSubjectReview 1 metadata ObjectMeta
ConfigMap 1 metadata ObjectMeta;2 data map
Namespace 1 metadata ObjectMeta
ServiceAccount 1 metadata ObjectMeta
LabelSelector 1 matchLabels map
EnvVar 1 name;2 value
ContainerPort 1 name;2 hostPort int;3 containerPort int;4 protocol
Container 1 name;2 image;3 command [];4 args [];6 ports ContainerPort[];7 env EnvVar[];14 imagePullPolicy
PodSpec 2 containers Container[];3 restartPolicy;4 terminationGracePeriodSeconds int;20 initContainers Container[]
PodTemplate 1 metadata ObjectMeta;2 spec PodSpec
Pod 1 metadata ObjectMeta;2 spec PodSpec
DeploymentSpec 1 replicas int;2 selector LabelSelector;3 template PodTemplate
Deployment 1 metadata ObjectMeta;2 spec DeploymentSpec
JobSpec 1 parallelism int;2 completions int;3 activeDeadlineSeconds int;6 template PodTemplate;7 backoffLimit int
Job 1 metadata ObjectMeta;2 spec JobSpec
JobTemplate 1 metadata ObjectMeta;2 spec JobSpec
CronJobSpec 1 schedule;3 concurrencyPolicy;5 jobTemplate JobTemplate
CronJob 1 metadata ObjectMeta;2 spec CronJobSpec
"""


def _fields(text: str) -> dict[int, tuple[str, str]]:
    parts = [part.split() for part in text.split(";")]
    return {int(number): (name, kind[0] if kind else "") for number, name, *kind in parts}


_MESSAGES: Final = {
    name: _fields(rest) for name, _, rest in (line.partition(" ") for line in _DECLARED.strip().splitlines())
}


def decode(body: bytes) -> Object | None:
    """The object in a body; None where its kind is not known. Raises `ValueError` for what is no protobuf."""
    if not body.startswith(MAGIC):
        raise ValueError("no protobuf of Kubernetes")
    envelope = dict(_parts(body[len(MAGIC) :]))
    type_meta = {number: _text(value) for number, value in _parts(_bytes(envelope.get(1, b"")))}
    kind = type_meta.get(2, "")
    if kind not in _MESSAGES:
        return None
    found = _message(kind, _bytes(envelope.get(2, b"")))
    return {"apiVersion": type_meta.get(1, ""), "kind": kind, **found}


def _message(name: str, data: bytes) -> Object:
    found: Object = {}
    for number, value in _parts(data):
        if (declared := _MESSAGES[name].get(number)) is None:
            continue
        field, kind = declared
        if kind == "map":
            pair = {key: _text(part) for key, part in _parts(_bytes(value))}
            found.setdefault(field, {})[pair.get(1, "")] = pair.get(2, "")
        elif kind == "[]":
            found.setdefault(field, []).append(_text(value))
        elif kind == "int":
            found[field] = value
        elif kind.endswith("[]"):
            found.setdefault(field, []).append(_message(kind[:-2], _bytes(value)))
        elif kind:
            found[field] = _message(kind, _bytes(value))
        elif value:  # Go writes empty strings too
            found[field] = _text(value)
    return found


def _parts(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: number and value."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif tag & 7 == 2:
            size, at = _varint(data, at)
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            raise ValueError("an unexpected wire type")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("cut off")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
        shift += 7


def _bytes(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""


def _text(value: int | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
