"""Secret values leave in no form; YAML is what a person wants to read."""

import base64
import json

import pytest
import yaml

from app.resources.manifests import LAST_APPLIED, as_yaml, masked

VALUE = "hunter2-in-the-clear"
ENCODED = base64.b64encode(VALUE.encode()).decode()


def secret(**extra):
    applied = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"password": ENCODED}, **extra}
    annotations = {LAST_APPLIED: json.dumps(applied), "team": "shop"}
    return {**applied, "metadata": {"name": "s", "annotations": annotations}}


@pytest.mark.case("S53")
@pytest.mark.parametrize("extra", [{}, {"stringData": {"password": VALUE}}, {"stringData": VALUE}, {"data": [ENCODED]}])
def test_secret_values_are_masked_everywhere(extra) -> None:
    text = as_yaml(masked(secret(**extra)))

    assert VALUE not in text
    assert ENCODED not in text
    assert "team: shop" in text


@pytest.mark.case("S53")
@pytest.mark.parametrize("applied", [f"not json {VALUE}", f'"{VALUE}"', f'["{VALUE}"]', "[" * 2000])
def test_a_copy_that_cannot_be_read_is_masked_whole(applied) -> None:
    manifest = secret()
    manifest["metadata"]["annotations"][LAST_APPLIED] = applied

    assert VALUE not in as_yaml(masked(manifest))


@pytest.mark.case("S53")
def test_a_copy_inside_the_copy_is_not_kept() -> None:
    manifest = secret()
    inner = json.dumps({"data": {"password": ENCODED}})
    copy = {"kind": "Secret", "data": {}, "metadata": {"annotations": {LAST_APPLIED: inner}}}
    manifest["metadata"]["annotations"][LAST_APPLIED] = json.dumps(copy)

    assert ENCODED not in as_yaml(masked(manifest))


def test_other_kinds_are_not_masked() -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": VALUE}}

    assert masked(manifest) is manifest


def test_the_size_of_a_value_is_told() -> None:
    assert f"({len(VALUE)} bytes)" in masked(secret())["data"]["password"]


def test_managed_fields_are_folded_unless_asked_for() -> None:
    manifest = {"kind": "Pod", "metadata": {"name": "p", "managedFields": [{"manager": "kubectl"}]}}

    assert "managedFields" not in as_yaml(manifest)
    assert "managedFields" in as_yaml(manifest, managed_fields=True)


def test_yaml_reads_back_as_the_object() -> None:
    same = {"a": 1}
    manifest = {"metadata": {"name": "no", "labels": same, "annotations": same}, "text": "a\nb\n", "tail": "x \ny"}

    text = as_yaml(manifest)

    assert yaml.safe_load(text) == manifest
    assert "&id" not in text
