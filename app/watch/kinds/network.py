"""Services, ingresses, endpoint slices. Pure."""

from typing import Final

import msgspec

from app.watch.projection import (
    HOLD_S,
    OK,
    PROGRESS,
    WARNING,
    Object,
    Projection,
    Slim,
    after,
    held,
    label_text,
    row,
    text_of,
)
from app.watch.schemas import Cell, Column, Row

_BALANCER_S: Final = 5 * HOLD_S  # cloud load balancers take minutes


class ServicePort(Slim):
    port: int = 0
    node_port: int = 0
    protocol: str = "TCP"


class Point(Slim):
    ip: str = ""
    hostname: str = ""


class Balancer(Slim):
    ingress: list[Point] | None = None


class BalancedStatus(Slim):
    load_balancer: Balancer = msgspec.field(default_factory=Balancer)


def _points(status: BalancedStatus) -> str:
    return ",".join([point.ip or point.hostname for point in status.load_balancer.ingress or ()])


class ServiceSpec(Slim):
    type: str = ""
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    external_ips: list[str] | None = msgspec.field(default=None, name="externalIPs")
    external_name: str = ""
    ports: list[ServicePort] | None = None
    selector: dict[str, str] | None = None


class Service(Object):
    spec: ServiceSpec
    status: BalancedStatus = msgspec.field(default_factory=BalancedStatus)


def _port(port: ServicePort) -> str:
    return f"{port.port}:{port.node_port}/{port.protocol}" if port.node_port else f"{port.port}/{port.protocol}"


def _external(service: Service) -> str:
    if service.spec.type == "ExternalName":
        return service.spec.external_name
    found = [_points(service.status)] if service.spec.type == "LoadBalancer" else []
    return ",".join([text for text in (*found, *(service.spec.external_ips or ())) if text])


def _waits(service: Service) -> bool:
    return service.spec.type == "LoadBalancer" and not service.status.load_balancer.ingress


def project_service(service: Service, now: float) -> Row:
    """The row of one service; a load balancer without an address is pending."""
    spec, level = service.spec, OK
    if _waits(service):
        level = WARNING if held(service.metadata.creation_timestamp, now, _BALANCER_S) else PROGRESS
    cells: tuple[Cell, ...] = (
        spec.type,
        spec.cluster_ip,
        _external(service),
        ",".join([_port(port) for port in spec.ports or ()]),
        "Pending" if level != OK else "Active",
        label_text(spec.selector or {}),
    )
    return row(service.metadata, level, cells)


def _service_expires(service: Service, now: float) -> float | None:
    return after(service.metadata.creation_timestamp, now, _BALANCER_S) if _waits(service) else None


SERVICES: Final = Projection(
    group="",
    versions=("v1",),
    resource="services",
    kind="Service",
    namespaced=True,
    type=Service,
    columns=(
        Column("type", "Type"),
        Column("cluster_ip", "Cluster IP"),
        Column("external", "External"),
        Column("ports", "Ports"),
        Column("status", "Status", "status"),
        Column("selector", "Selector", wide=True),
    ),
    project=project_service,
    status=4,
    expires=_service_expires,
)


class Rule(Slim):
    host: str = ""


class IngressSpec(Slim):
    ingress_class_name: str = ""
    rules: list[Rule] | None = None
    tls: list[Slim] | None = None


class Ingress(Object):
    spec: IngressSpec = msgspec.field(default_factory=IngressSpec)
    status: BalancedStatus = msgspec.field(default_factory=BalancedStatus)


def project_ingress(ingress: Ingress, _now: float) -> Row:
    """The row of one ingress; kubectl's "*" for no host."""
    hosts = [rule.host for rule in ingress.spec.rules or () if rule.host]
    cells: tuple[Cell, ...] = (
        ingress.spec.ingress_class_name,
        ",".join(hosts) or "*",
        _points(ingress.status),
        "80, 443" if ingress.spec.tls else "80",
    )
    return row(ingress.metadata, OK, cells)


INGRESSES: Final = Projection(
    group="networking.k8s.io",
    versions=("v1",),
    resource="ingresses",
    kind="Ingress",
    namespaced=True,
    type=Ingress,
    columns=(
        Column("class", "Class"),
        Column("hosts", "Hosts"),
        Column("address", "Address"),
        Column("ports", "Ports"),
    ),
    project=project_ingress,
)


class EndpointConditions(Slim):
    ready: bool | None = None


class Endpoint(Slim):
    addresses: list[str] | None = None
    conditions: EndpointConditions = msgspec.field(default_factory=EndpointConditions)


class EndpointPort(Slim):
    port: int | None = None


class EndpointSlice(Object):
    address_type: str = ""
    endpoints: list[Endpoint] | None = None
    ports: list[EndpointPort] | None = None


def project_endpointslice(piece: EndpointSlice, _now: float) -> Row:
    """The row of one endpoint slice; ready unset counts as ready (API documentation)."""
    endpoints = piece.endpoints or []
    ready = sum(1 for endpoint in endpoints if endpoint.conditions.ready is not False)
    cells: tuple[Cell, ...] = (
        piece.address_type,
        ",".join([text_of(port.port) or "*" for port in piece.ports or ()]),
        f"{ready}/{len(endpoints)}",
        ",".join([address for endpoint in endpoints[:10] for address in endpoint.addresses or ()]),
    )
    return row(piece.metadata, OK if ready == len(endpoints) else WARNING, cells)


ENDPOINTSLICES: Final = Projection(
    group="discovery.k8s.io",
    versions=("v1",),
    resource="endpointslices",
    kind="EndpointSlice",
    namespaced=True,
    type=EndpointSlice,
    columns=(
        Column("address_type", "Address type"),
        Column("ports", "Ports"),
        Column("ready", "Ready", "ratio", help="endpoints that are ready, of all"),
        Column("endpoints", "Endpoints", wide=True, help="the first ten"),
    ),
    project=project_endpointslice,
)
