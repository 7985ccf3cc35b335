"""Makes the schemas in this folder from the modules in MODULES, with Go and PyYAML, when a version below changes:

    python3 test/deploy/schemas/make.py && npx biome check --write test/deploy/schemas

They are committed, for a test machine has no Go. What is left out: descriptions, defaults, status, and rules in CEL, which only an API
server evaluates. What is added: an object takes no other keys than those it names, for a key that is misspelt is dropped in silence by
a cluster. Parts that occur more than once become definitions: a pod template is most of a RayService, twice.
"""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import yaml

MODULES = {
    "github.com/ray-project/kuberay/ray-operator@v1.6.2": ["config/crd/bases/ray.io_rayservices.yaml"],
    "sigs.k8s.io/karpenter@v1.15.0": ["pkg/apis/crds/karpenter.sh_nodepools.yaml"],
    "github.com/aws/karpenter-provider-aws@v1.15.1": ["pkg/apis/crds/karpenter.k8s.aws_ec2nodeclasses.yaml"],
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
    "github.com/weaveworks/eksctl@v0.215.0": ["pkg/apis/eksctl.io/v1alpha5/assets/schema.json"],
}
KEPT = {
    "$ref", "additionalProperties", "allOf", "anyOf", "enum", "items", "maximum", "maxItems", "maxLength", "maxProperties", "minimum",
    "minItems", "minLength", "minProperties", "not", "oneOf", "pattern", "properties", "required", "type",
}  # fmt: skip
PRESERVE = "x-kubernetes-preserve-unknown-fields"
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": STRINGS,
        "annotations": STRINGS,
        "finalizers": {"type": "array", "items": {"type": "string"}},
    },
}
SHORTEST_SHARED = 120


def module_folder(module: str) -> Path:
    # a module that wants a newer Go is unpacked all the same, and its folder is not told
    subprocess.run(["go", "mod", "download", module], check=False, stderr=subprocess.DEVNULL)
    cache = subprocess.run(["go", "env", "GOMODCACHE"], check=True, capture_output=True, text=True).stdout.strip()
    return Path(cache) / module


def trimmed(schema: object) -> object:
    if isinstance(schema, list):
        return [trimmed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key in KEPT}
    result = {key: value if key in ("enum", "required") else trimmed(value) for key, value in kept.items()}
    if "properties" in kept:
        # its keys are names, not keywords
        result["properties"] = {name: trimmed(value) for name, value in kept["properties"].items()}
        if "additionalProperties" not in kept and not schema.get(PRESERVE):
            result["additionalProperties"] = False
    return result


def shared(schema: dict) -> dict:
    """The same with what occurs twice as definitions."""

    def text(part: object) -> str:
        return json.dumps(part, sort_keys=True)

    def children(part: dict) -> dict[str, object]:
        """By key; of `properties` not the map itself, whose keys are names: one of them may be `type`."""
        return {key: value for key, value in part.items() if key != "properties"}

    def count(part: object) -> None:
        if isinstance(part, dict):
            if "type" in part and len(text(part)) > SHORTEST_SHARED:
                times[text(part)] += 1
            for value in [*children(part).values(), *part.get("properties", {}).values()]:
                count(value)
        elif isinstance(part, list):
            for value in part:
                count(value)

    def replaced(part: object, top: bool = False) -> object:
        if isinstance(part, dict):
            if not top and text(part) in names:
                return {"$ref": f"#/definitions/{names[text(part)]}"}
            properties = {name: replaced(value) for name, value in part.get("properties", {}).items()}
            rest = {key: replaced(value) for key, value in children(part).items()}
            return {**rest, **({"properties": properties} if "properties" in part else {})}
        return [replaced(value) for value in part] if isinstance(part, list) else part

    times: Counter[str] = Counter()
    count(schema)
    names = {part: f"part{number}" for number, part in enumerate(part for part, n in times.items() if n > 1)}
    result = replaced(schema, top=True)
    definitions = {name: replaced(json.loads(part), top=True) for part, name in names.items()}
    used: set[str] = set()
    pending = [result]
    while pending:
        for name in re.findall(r"#/definitions/(\w+)", json.dumps(pending.pop())):
            if name not in used:
                used.add(name)
                pending.append(definitions[name])
    return {"definitions": {name: part for name, part in definitions.items() if name in used}, **result}


def from_definition(path: Path) -> dict[str, dict]:
    """Schemas of a CustomResourceDefinition by file name."""
    definition = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
    made = {}
    for version in definition["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"].pop("status", None)
        result = trimmed(schema)
        result["properties"]["metadata"] = METADATA
        # an API server asks for these before it looks at the schema
        result["required"] = ["apiVersion", "kind", "metadata", "spec"]
        made[f"{definition['group']}_{version['name']}_{definition['names']['kind']}.json"] = shared(result)
    return made


def main() -> None:
    for module, files in MODULES.items():
        for file in files:
            path = module_folder(module) / file
            if path.suffix == ".json":
                schema = json.loads(path.read_text())
                definitions = {name: trimmed(part) for name, part in schema["definitions"].items()}
                made = {"eksctl.io_v1alpha5_ClusterConfig.json": {"definitions": definitions, "$ref": schema["$ref"]}}
            else:
                made = from_definition(path)
            for name, schema in made.items():
                if "alpha1" in name:
                    continue
                (Path(__file__).parent / name).write_text(f"{json.dumps(schema, indent=2)}\n")
                print(f"{name} from {module}/{file}")


main()
