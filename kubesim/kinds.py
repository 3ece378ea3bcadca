"""The resources that a simulated API server knows: names, scope, subresources, as recorded from a 1.36 server. Pure."""

import dataclasses
from typing import Final

VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclasses.dataclass(frozen=True)
class Kind:
    """One resource of one group and version. `key` is unique whatever the version."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    singular: str = ""
    verbs: tuple[str, ...] = VERBS
    columns: tuple[dict[str, object], ...] = ()  # additionalPrinterColumns of a custom resource

    @property
    def key(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"


def _kind(line: str) -> Kind:
    group, version, plural, kind, scope, shorts, categories, subresources = (p.strip() for p in line.split("|"))
    return Kind(
        group,
        version,
        plural,
        kind,
        scope == "N",
        tuple(shorts.split()),
        tuple(categories.split()),
        tuple(subresources.split()),
        kind.lower(),
    )


# group | version | plural | kind | scope | short names | categories | subresources
_TABLE: Final = """
|v1|configmaps|ConfigMap|N|cm||
|v1|endpoints|Endpoints|N|ep||
|v1|events|Event|N|ev||
|v1|limitranges|LimitRange|N|limits||
|v1|namespaces|Namespace|C|ns||finalize status
|v1|nodes|Node|C|no||proxy status
|v1|persistentvolumeclaims|PersistentVolumeClaim|N|pvc||status
|v1|persistentvolumes|PersistentVolume|C|pv||status
|v1|pods|Pod|N|po|all|attach binding ephemeralcontainers eviction exec log portforward proxy resize status
|v1|podtemplates|PodTemplate|N|||
|v1|replicationcontrollers|ReplicationController|N|rc|all|scale status
|v1|resourcequotas|ResourceQuota|N|quota||status
|v1|secrets|Secret|N|||
|v1|serviceaccounts|ServiceAccount|N|sa||token
|v1|services|Service|N|svc|all|proxy status
apiregistration.k8s.io|v1|apiservices|APIService|C||api-extensions|status
apps|v1|controllerrevisions|ControllerRevision|N|||
apps|v1|daemonsets|DaemonSet|N|ds|all|status
apps|v1|deployments|Deployment|N|deploy|all|scale status
apps|v1|replicasets|ReplicaSet|N|rs|all|scale status
apps|v1|statefulsets|StatefulSet|N|sts|all|scale status
autoscaling|v2|horizontalpodautoscalers|HorizontalPodAutoscaler|N|hpa|all|status
batch|v1|cronjobs|CronJob|N|cj|all|status
batch|v1|jobs|Job|N||all|status
certificates.k8s.io|v1|certificatesigningrequests|CertificateSigningRequest|C|csr||approval status
networking.k8s.io|v1|ingressclasses|IngressClass|C|||
networking.k8s.io|v1|ingresses|Ingress|N|ing||status
networking.k8s.io|v1|networkpolicies|NetworkPolicy|N|netpol||
policy|v1|poddisruptionbudgets|PodDisruptionBudget|N|pdb||status
rbac.authorization.k8s.io|v1|clusterrolebindings|ClusterRoleBinding|C|||
rbac.authorization.k8s.io|v1|clusterroles|ClusterRole|C|||
rbac.authorization.k8s.io|v1|rolebindings|RoleBinding|N|||
rbac.authorization.k8s.io|v1|roles|Role|N|||
storage.k8s.io|v1|csidrivers|CSIDriver|C|||
storage.k8s.io|v1|csinodes|CSINode|C|||
storage.k8s.io|v1|storageclasses|StorageClass|C|sc||
storage.k8s.io|v1|volumeattachments|VolumeAttachment|C|||status
admissionregistration.k8s.io|v1|mutatingwebhookconfigurations|MutatingWebhookConfiguration|C||api-extensions|
admissionregistration.k8s.io|v1|validatingwebhookconfigurations|ValidatingWebhookConfiguration|C||api-extensions|
apiextensions.k8s.io|v1|customresourcedefinitions|CustomResourceDefinition|C|crd crds|api-extensions|status
scheduling.k8s.io|v1|priorityclasses|PriorityClass|C|pc||
coordination.k8s.io|v1|leases|Lease|N|||
node.k8s.io|v1|runtimeclasses|RuntimeClass|C|||
discovery.k8s.io|v1|endpointslices|EndpointSlice|N|||
"""

BUILT_IN: Final = {kind.key: kind for kind in map(_kind, _TABLE.strip().splitlines())}
BUILT_IN["namespaces"] = dataclasses.replace(
    BUILT_IN["namespaces"], verbs=tuple(verb for verb in VERBS if verb != "deletecollection")
)
GROUPS: Final = frozenset(kind.group for kind in BUILT_IN.values())


def of_definition(definition: dict[str, object]) -> list[Kind]:
    """The kinds that a CustomResourceDefinition serves: one a served version, the storage version first."""
    spec: dict = definition["spec"]  # type: ignore[assignment,type-arg]
    names = spec["names"]
    found = []
    for version in sorted(spec["versions"], key=lambda v: not v.get("storage")):
        if not version.get("served"):
            continue
        subresources = tuple(sorted(version.get("subresources", {})))
        found.append(
            Kind(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                spec["scope"] == "Namespaced",
                tuple(names.get("shortNames", ())),
                tuple(names.get("categories", ())),
                subresources,
                names.get("singular") or names["kind"].lower(),
                columns=tuple(version.get("additionalPrinterColumns", ())),
            )
        )
    return found
