"""JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch. Pure: inputs stay as they are."""

import copy
from typing import Any, Final

from kubesim.errors import ApiError, bad_request, status

MERGE_KEYS: Final = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "conditions": "type",
    "ownerReferences": "uid",
    "addresses": "type",
    "secrets": "name",
}
"""patchMergeKey of the lists that have one; all others are replaced. A Service's ports merge by `port`."""


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def strategic(target: Any, patch: Any) -> Any:
    """A strategic merge patch with $patch: delete and replace, $deleteFromPrimitiveList and merge keys."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {k: copy.deepcopy(v) for k, v in patch.items() if k != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if name.startswith("$setElementOrder/") or name == "$retainKeys":
            continue
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [item for item in result.get(field) or [] if item not in value]
        elif value is None:
            result.pop(name, None)
        elif isinstance(value, list):
            result[name] = _strategic_list(name, result.get(name) or [], value)
        else:
            result[name] = strategic(result.get(name), value)
    return result


def _strategic_list(name: str, target: list[Any], patch: list[Any]) -> list[Any]:
    if name == "finalizers":
        return [*target, *(item for item in patch if item not in target)]
    key = MERGE_KEYS.get(name)
    if key is None or any(not isinstance(item, dict) for item in patch):
        return copy.deepcopy(patch)
    if any(item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if "$patch" not in item]
    if name == "ports" and any("containerPort" not in item and "port" in item for item in [*target, *patch]):
        key = "port"
    result = list(target)
    for item in patch:
        if key not in item:
            return copy.deepcopy(patch)
        place = next((n for n, old in enumerate(result) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if place is not None:
                del result[place]
        elif place is None:
            result.append(copy.deepcopy(item))
        else:
            result[place] = strategic(result[place], item)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902; a `test` that fails is the recorded 422."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    document = copy.deepcopy(target)
    for operation in operations:
        try:
            document = _operate(document, operation)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise _unprocessable() from error
    return document


def _operate(document: Any, operation: dict[str, Any]) -> Any:
    path, name = _pointer(operation["path"]), operation["op"]
    if name in {"move", "copy"}:
        source = _pointer(operation["from"])
        value = copy.deepcopy(_get(document, source))
        if name == "move":
            document = _remove(document, source)
        return _add(document, path, value)
    if name == "add":
        return _add(document, path, copy.deepcopy(operation["value"]))
    if name == "remove":
        return _remove(document, path)
    if name == "replace":
        _get(document, path)
        return _put(document, path, copy.deepcopy(operation["value"]))
    if name == "test":
        if _get(document, path) != operation["value"]:
            raise _unprocessable()
        return document
    raise bad_request(f"Unexpected kind: {name}")


def _pointer(text: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _put(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        parent[int(path[-1])] = value
    else:
        parent[path[-1]] = value
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else int(path[-1]), value)
    else:
        parent[path[-1]] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:
    parent = _get(document, path[:-1])
    del parent[int(path[-1]) if isinstance(parent, list) else path[-1]]
    return document


def _unprocessable() -> ApiError:
    return status(422, "Invalid", "the server rejected our request due to an error in our request", {})
