"""Whether the objects of a chart fit together: what selects, mounts or targets something finds it."""

import math
import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

Document = dict[str, Any]
#: Secrets, claims and config maps that the files of values name, and that are not the chart's.
FOREIGN = {"hugging-face", "router", "registry", "weights", "our-rubrics", "prompts"}


def faults(documents: list[Document]) -> Iterator[str]:
    """What does not fit."""
    by_name = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    if len(by_name) != len(documents):
        counted = Counter((document["kind"], document["metadata"]["name"]) for document in documents)
        yield f"twice: {[name for name, count in counted.items() if count > 1]}"
    workloads = [document for document in documents if document["kind"] in ("Deployment", "StatefulSet")]
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        yield from (f"{name}: {fault}" for fault in selection(document, workloads))
    for workload in workloads:
        name = f"{workload['kind']}/{workload['metadata']['name']}"
        yield from (f"{name}: {fault}" for fault in pod(workload, by_name))
    yield from scaling(documents, by_name)
    yield from hardening(by_name)
    yield from servers(by_name)
    policies = [selector(document) for document in documents if document["kind"] == "NetworkPolicy"]
    for workload in workloads if policies else []:
        if sum(wanted.items() <= labels(workload).items() for wanted in policies if wanted is not None) != 1:
            yield f"{workload['metadata']['name']} has not one network policy"


def labels(workload: Document) -> dict[str, str]:
    return workload["spec"]["template"]["metadata"]["labels"]


def ports(workload: Document) -> set[str | int]:
    listed = [port for each in workload["spec"]["template"]["spec"]["containers"] for port in each.get("ports", [])]
    return {port["name"] for port in listed} | {port["containerPort"] for port in listed}


def selector(document: Document) -> dict[str, str] | None:
    spec = document.get("spec", {})
    if document["kind"] == "Service":
        return spec["selector"]
    if document["kind"] == "NetworkPolicy":
        return spec["podSelector"]["matchLabels"]
    if document["kind"] in ("PodDisruptionBudget", "PodMonitor", "Deployment", "StatefulSet"):
        return spec["selector"]["matchLabels"]
    return None


def selection(document: Document, workloads: list[Document]) -> Iterator[str]:
    """An object that selects pods selects those of one workload, by ports that they have."""
    wanted = selector(document)
    if wanted is None:
        return
    found = [each for each in workloads if wanted.items() <= labels(each).items()]
    if len(found) != 1:
        yield f"selects the pods of {len(found)} workloads"
        return
    if document["kind"] in ("Deployment", "StatefulSet") and found[0] is not document:
        yield "does not select its own pods"
    used = []
    if document["kind"] == "Service":
        used = [port["targetPort"] for port in document["spec"]["ports"]]
    elif document["kind"] == "PodMonitor":
        used = [endpoint["port"] for endpoint in document["spec"]["podMetricsEndpoints"]]
    elif document["kind"] == "NetworkPolicy":
        used = [port["port"] for rule in document["spec"]["ingress"] for port in rule["ports"]]
    yield from (f"port {port} is not one of {ports(found[0])}" for port in used if port not in ports(found[0]))


def pod(workload: Document, by_name: dict[tuple[str, str], Document]) -> Iterator[str]:
    """What a pod refers to is there."""
    spec = workload["spec"]["template"]["spec"]

    def there(kind: str, name: str) -> bool:
        return (kind, name) in by_name or name in FOREIGN

    volumes = {volume["name"] for volume in spec["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
    mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
    if volumes != mounted:
        yield f"volumes {volumes}, mounted {mounted}"
    for volume in spec["volumes"]:
        if "configMap" in volume and not there("ConfigMap", volume["configMap"]["name"]):
            yield f"no config map for {volume}"
    if spec["serviceAccountName"] != "judges" and not there("ServiceAccount", spec["serviceAccountName"]):
        yield "no service account"
    if workload["kind"] == "StatefulSet" and not there("Service", workload["spec"]["serviceName"]):
        yield "no service of its own"
    if spec["enableServiceLinks"] or spec["automountServiceAccountToken"]:
        yield "gets variables of services, or a token"
    for container in spec["containers"]:
        names = [variable["name"] for variable in container["env"]]
        if len(set(names)) != len(names):
            yield f"a variable twice: {names}"
        for variable in container["env"]:
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference is None:
                continue
            secret = by_name.get(("Secret", reference["name"]))
            if secret is None and reference["name"] not in FOREIGN:
                yield f"no secret {reference['name']}"
            if secret and reference["key"] not in secret["stringData"]:
                yield f"the secret has no {reference['key']}"
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container and container[probe]["httpGet"]["port"] not in ports(workload):
                yield f"{probe}: no such port"


def scaling(documents: list[Document], by_name: dict[tuple[str, str], Document]) -> Iterator[str]:
    """What is scaled is there, and has no number of replicas that would undo it."""
    for document in documents:
        if document["kind"] not in ("HorizontalPodAutoscaler", "ScaledObject"):
            continue
        target = document["spec"]["scaleTargetRef"]
        workload = by_name.get((target.get("kind", "Deployment"), target["name"]))
        if workload is None:
            yield f"nothing to scale: {target}"
        elif "replicas" in workload["spec"]:
            yield f"{target['name']} has replicas, and is scaled"


def gavel(by_name: dict[tuple[str, str], Document]) -> Document:
    (found,) = [document for (kind, _), document in by_name.items() if kind == "Deployment"]
    return found


def config(by_name: dict[tuple[str, str], Document]) -> dict[str, Any]:
    (text,) = [
        document["data"]["gavel.toml"]
        for (kind, _), document in by_name.items()
        if kind == "ConfigMap" and "gavel.toml" in document["data"]
    ]
    return tomllib.loads(text)


def hardening(by_name: dict[tuple[str, str], Document]) -> Iterator[str]:
    """Gavel has no rights, and the time to finish what it does."""
    spec = gavel(by_name)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    security = container["securityContext"]
    if not spec["securityContext"]["runAsNonRoot"] or security["capabilities"]["drop"] != ["ALL"]:
        yield "Gavel has more rights than it needs"
    if not security["readOnlyRootFilesystem"] or security["allowPrivilegeEscalation"]:
        yield "Gavel may write to its image, or get more rights"
    shutdown = math.ceil(config(by_name).get("limits", {}).get("shutdown_ms", 30000) / 1000)
    drain = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    if spec["terminationGracePeriodSeconds"] != shutdown + drain + 5:
        yield f"the grace period is {spec['terminationGracePeriodSeconds']} s: {drain} to drain, {shutdown} to finish"


def servers(by_name: dict[tuple[str, str], Document]) -> Iterator[str]:
    """Gavel's servers have names that exist, and its network policy lets it reach them."""
    settings = config(by_name)
    tables = [settings.get("remote", {}), *(model.get("remote", {}) for model in settings.get("models", []))]
    urls = [urlsplit(url) for table in tables for url in table.get("urls", [])]
    if settings["engine"] == "remote" and not urls:
        yield "no servers"
    for url in urls:
        host = url.hostname or ""
        if host.endswith(".judging"):
            *of_pod, service, _ = host.split(".")
            if ("Service", service) not in by_name:
                yield f"no service {service}"
            for name in of_pod:
                stateful, number = name.rsplit("-", 1)
                owner = by_name.get(("StatefulSet", stateful))
                if owner is None or owner["spec"]["serviceName"] != service or int(number) >= owner["spec"]["replicas"]:
                    yield f"no pod {name}"
    names = {name for kind, name in by_name if kind == "NetworkPolicy"}
    policy = by_name.get(("NetworkPolicy", gavel(by_name)["metadata"]["name"]))
    if names and policy is None:
        yield f"no network policy of Gavel's own: {names}"
    if policy:
        allowed = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        for url in urls:
            port = url.port or {"http": 80, "https": 443}[url.scheme]
            if port not in allowed:
                yield f"the network policy does not let Gavel reach {url.geturl()}"
