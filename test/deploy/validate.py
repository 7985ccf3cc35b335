"""Reads a JSON list of Kubernetes objects and prints what is wrong with each, as a JSON list of texts, empty where all is well.

Kubernetes' own kinds are checked against its OpenAPI schema by kubernetes-validate, custom resources against schemas/. Pod templates in a
RayService are checked by both: the custom resource's copy of a pod is older than the API.
"""

import json
import re
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate

VERSION = "1.37"
SCHEMAS = Path(__file__).parent / "schemas"


def problems_of_custom(thing: dict, path: Path) -> list[str]:
    schema = json.loads(path.read_text())
    return [f"{error.json_path}: {error.message[:300]}" for error in jsonschema.Draft7Validator(schema).iter_errors(thing)]


def problems_of_kind(thing: dict) -> list[str]:
    try:
        kubernetes_validate.validate(thing, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message[:300]}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"no schema: {error.message}"]
    return []


def pod_templates(thing: dict) -> dict[str, dict]:
    cluster = thing.get("spec", {}).get("rayClusterConfig", {})
    groups = {"head": cluster.get("headGroupSpec", {}), **{str(g.get("groupName")): g for g in cluster.get("workerGroupSpecs", [])}}
    return {name: group["template"] for name, group in groups.items() if "template" in group}


def problems(thing: dict) -> list[str]:
    kind = f"{thing.get('apiVersion')}/{thing.get('kind')}"
    name = f"{kind} {thing.get('metadata', {}).get('name')}"
    path = SCHEMAS / f"{re.sub('/', '_', kind)}.json"
    found = problems_of_custom(thing, path) if path.exists() else problems_of_kind(thing)
    if thing.get("kind") == "RayService":
        for group, template in pod_templates(thing).items():
            wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": group}, "template": template}
            found += [f"{group}: {problem}" for problem in problems_of_kind(wrapped)]
    return [f"{name}: {problem}" for problem in found]


print(json.dumps([problem for thing in json.load(sys.stdin) for problem in problems(thing)]))
