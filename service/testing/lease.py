"""What a worker has to know of its run."""

from dataclasses import asdict, dataclass
from typing import Any

from service.testing.servers import Servers


@dataclass(frozen=True, slots=True)
class Template:
    """A sealed database to copy, and how copying it is fastest on this server."""

    name: str
    strategy: str | None
    build_ms: float | None

    def describe(self) -> str:
        """One phrase for the report header."""
        origin = "existing" if self.build_ms is None else f"built in {self.build_ms:.0f} ms"
        return f"{self.name} ({origin}), copied by {self.strategy or 'the only strategy of this version'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The servers and the template, for one run."""

    run: str
    servers: Servers
    template: Template

    def describe(self) -> list[str]:
        """Lines for the report header."""
        return [f"database template: {self.template.describe()}", *self.servers.describe_files()]

    def pack(self) -> dict[str, Any]:
        """Plain values, for a worker in another process."""
        return asdict(self)

    @classmethod
    def unpack(cls, values: dict[str, Any]) -> "Lease":
        """The inverse of `pack`."""
        return cls(run=values["run"], servers=Servers(**values["servers"]), template=Template(**values["template"]))
