"""The files in deploy/ and compose's service: valid by the schemas of those who read them.

Nothing here needs a cluster, a cloud or a container runtime.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ruamel.yaml import YAML

from sweeper.cli.inputs import unknown_variables

ROOT = Path(__file__).parents[2]
KUBERNETES, RAY, DOCKER = ROOT / "deploy/kubernetes", ROOT / "deploy/ray", ROOT / "docker"
FILES = (KUBERNETES / "sweeper.yaml", RAY / "cluster.yaml", DOCKER / "compose.service.yaml")


def documents(text: str) -> list[Any]:
    return list(YAML(typ="safe").load_all(text))


OBJECTS = documents((KUBERNETES / "sweeper.yaml").read_text("utf-8"))


def kind(name: str) -> list[Any]:
    return [one for one in OBJECTS if one["kind"] == name]


def secrets() -> list[Any]:
    """What the script prints."""
    done = subprocess.run([KUBERNETES / "secrets"], capture_output=True, text=True, check=True)
    return documents(done.stdout)


def test_kubernetes_own_kinds_fit_its_schemas() -> None:
    """Strictly: an unknown key is an error."""
    validate = pytest.importorskip("kubernetes_validate").validate
    own = [one for one in OBJECTS if "ray.io" not in one["apiVersion"]]
    assert len(own) == 8
    for one in [*own, *secrets()]:
        validate(json.loads(json.dumps(one)), "1.33", strict=True)


def strict(schema: Any) -> Any:
    """A schema in which an object with named properties has no others."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if "properties" in found and "additionalProperties" not in found:
        found["additionalProperties"] = bool(found.get("x-kubernetes-preserve-unknown-fields"))
    return found


def test_the_ray_cluster_fits_the_operators_schema() -> None:
    """KubeRay's own; the pods inside are checked as Kubernetes'."""
    folder = os.environ.get("SWEEPER_DATA")
    path = Path(folder or "", "kuberay", "ray.io_rayclusters.yaml.gz")
    if not folder or not path.is_file():
        pytest.skip("needs KubeRay's schemas in $SWEEPER_DATA/kuberay")
    [found] = kind("RayCluster")
    definition = yaml.load(gzip.decompress(path.read_bytes()), yaml.CSafeLoader)
    version = found["apiVersion"].partition("/")[2]
    [schema] = [
        one["schema"]["openAPIV3Schema"]
        for one in definition["spec"]["versions"]
        if one["name"] == version
    ]
    spec = strict(schema["properties"]["spec"])
    jsonschema.validate(json.loads(json.dumps(found["spec"])), spec)
    broken = {**found["spec"], "headGroupSpecs": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, spec)


def test_the_pods_of_the_ray_cluster_are_pods() -> None:
    """By Kubernetes' schema."""
    validate = pytest.importorskip("kubernetes_validate").validate
    [found] = kind("RayCluster")
    groups = [found["spec"]["headGroupSpec"], *found["spec"]["workerGroupSpecs"]]
    for group in groups:
        pod = {"apiVersion": "v1", "kind": "Pod", **group["template"]}
        pod["metadata"] = {"name": "x", **pod["metadata"]}
        validate(json.loads(json.dumps(pod)), "1.33", strict=True)


def containers() -> dict[str, Any]:
    [found] = kind("RayCluster")
    pods = [found["spec"]["headGroupSpec"], *found["spec"]["workerGroupSpecs"]]
    return {one["name"]: one for pod in pods for one in pod["template"]["spec"]["containers"]}


def test_only_the_services_container_has_the_database() -> None:
    """Any task could print the environment of its own container."""
    for name, one in containers().items():
        assert ("sweeper-database" in json.dumps(one)) == (name == "service"), name
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["resources"]["limits"]["memory"]
    users = {name: one["securityContext"]["runAsUser"] for name, one in containers().items()}
    assert users["service"] != users["ray-head"]
    policies = {one["metadata"]["name"]: one["spec"] for one in kind("NetworkPolicy")}
    [rule] = policies["sweeper-postgres"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "sweeper", "role": "head"}}}]


def test_names_that_files_refer_to_are_there() -> None:
    """Claims, secrets, services, and the ports of the ingress."""
    text = json.dumps(OBJECTS)
    claims = {one["metadata"]["name"] for one in kind("PersistentVolumeClaim")}
    assert set(re.findall(r'"claimName": "([\w-]+)"', text)) == claims
    made = {one["metadata"]["name"]: one["stringData"] for one in secrets()}
    for name, key in re.findall(r'"secretKeyRef": \{"name": "([\w-]+)", "key": "(\w+)"\}', text):
        assert made[name][key]
    [shown] = [one for one in kind("Service") if one["metadata"]["name"] == "sweeper"]
    ports = {one["name"] for one in shown["spec"]["ports"]}
    [entry] = kind("Ingress")
    asked = [
        path["backend"]["service"]
        for rule in entry["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]
    assert [one["name"] for one in asked] == ["sweeper", "sweeper"]
    assert {one["port"]["name"] for one in asked} == ports


def test_ray_up_accepts_its_file() -> None:
    """By the schema that Ray checks it with."""
    origin = importlib.util.find_spec("ray")
    assert origin is not None
    assert origin.origin is not None
    path = Path(origin.origin).parent / "autoscaler" / "ray-schema.json"
    schema = json.loads(path.read_text("utf-8"))
    [found] = documents((RAY / "cluster.yaml").read_text("utf-8"))
    jsonschema.validate(found, schema)
    assert found["head_node_type"] in found["available_node_types"]


def started(command: str) -> list[str]:
    """The words of `sweeper serve` in a command."""
    words = command.split()
    return words[[one.rpartition("/")[2] for one in words].index("sweeper") + 2 :]


def test_every_file_starts_the_service_with_options_that_it_has() -> None:
    """Each option is one of `sweeper serve`, and each variable one that Sweeper reads."""
    import typer

    from sweeper.cli.app import app

    group: Any = typer.main.get_command(app)
    params = [*group.params, *group.commands["serve"].params]
    known = {name for one in params for name in one.opts}
    [cluster] = documents((RAY / "cluster.yaml").read_text("utf-8"))
    [head] = [one for one in cluster["head_start_ray_commands"] if "sweeper serve" in one]
    [compose] = documents((DOCKER / "compose.service.yaml").read_text("utf-8"))
    text = re.sub(r"\$\{[^}]*\}", "x", compose["services"]["driver"]["command"])
    service = " ".join(containers()["service"]["args"])
    for command in (head, text, service):
        options = {one.partition("=")[0] for one in started(command) if one.startswith("--")}
        assert options <= known, options - known
        assert {"--workers", "--folder"} <= options
    names = set(re.findall(r"SWEEPER_[A-Z_]+", "".join(one.read_text("utf-8") for one in FILES)))
    assert names
    assert unknown_variables(dict.fromkeys(names, "x")) == []


def test_composes_service_takes_the_place_of_a_driver() -> None:
    """The same container with both secrets; only the proxy is published."""
    [found] = documents((DOCKER / "compose.service.yaml").read_text("utf-8"))
    services = found["services"]
    base = YAML(typ="safe").load(DOCKER / "compose.yaml")["services"]
    assert set(services) - set(base) == {"proxy"}
    assert "secrets" not in services["driver"]  # those of the base
    assert [name for name, one in services.items() if "ports" in one] == ["proxy"]
    assert services["proxy"]["networks"] == ["front"]
    assert "{$SERVICE_NAME}" in (DOCKER / "Caddyfile").read_text("utf-8")
