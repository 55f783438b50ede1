"""What a launcher says of the start that an ``ftprof wrap`` was part of: which start, which part of it, of how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftprof.record.fields import parse_list, parse_object, parse_optional_whole, parse_text

UNITS = ("rank", "node", "host")


@dataclass(frozen=True)
class Launch:
    """One start of a command in ``parts`` parts, each under an ``ftprof wrap`` of its own; this is ``part`` (from 0).

    ``id`` tells it from other starts, where the launcher gives what does. ``unit`` is what a part is. ``hosts`` are the
    parts' names, where they are known beforehand. ``attempt`` counts a part's restarts. ``job`` is the name that the
    user gave the job; ``instance_type`` and ``model_package_group`` are labels of the same place (SageMaker's).
    ``shared``: the run directory was named, so that all parts may write there.
    """

    shared: bool
    launcher: str | None = None
    id: str | None = None
    part: int | None = None
    parts: int | None = None
    unit: str = "rank"
    hosts: tuple[str, ...] = ()
    attempt: int = 0
    job: str | None = None
    instance_type: str | None = None
    model_package_group: str | None = None

    @property
    def start(self) -> tuple[str | None, str | None, int | None]:
        """What all parts of one start have in common."""
        return self.launcher, self.id, self.parts

    def named(self, part: int) -> str:
        """A part for a person: its host's name, or its number."""
        if part < len(self.hosts):
            return f"{self.unit} {self.hosts[part]}"
        return f"{self.unit} {part}" + (f" of {self.parts}" if self.parts is not None else "")

    def to_json(self) -> dict[str, Any]:
        """As the schemas of journals and records have it."""
        return {
            "shared": self.shared,
            "launcher": self.launcher,
            "id": self.id,
            "part": self.part,
            "parts": self.parts,
            "unit": self.unit,
            "hosts": list(self.hosts),
            "attempt": self.attempt,
            "job": self.job,
            "instance_type": self.instance_type,
            "model_package_group": self.model_package_group,
        }

    @classmethod
    def from_json(cls, data: Any) -> Launch:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where the form is not the schema's."""
        launch = parse_object(data)
        if type(launch["shared"]) is not bool:
            raise TypeError("shared is neither true nor false")
        if launch["unit"] not in UNITS:
            raise ValueError(f"{launch['unit']!r:.40} is none of {', '.join(UNITS)}")
        return cls(
            shared=launch["shared"],
            launcher=_optional_text(launch["launcher"]),
            id=_optional_text(launch["id"]),
            part=parse_optional_whole(launch["part"]),
            parts=parse_optional_whole(launch["parts"]),
            unit=launch["unit"],
            hosts=tuple(parse_text(host) for host in parse_list(launch["hosts"])),
            attempt=parse_optional_whole(launch["attempt"]) or 0,
            job=_optional_text(launch["job"]),
            instance_type=_optional_text(launch["instance_type"]),
            model_package_group=_optional_text(launch["model_package_group"]),
        )


def _optional_text(value: Any) -> str | None:
    return None if value is None else parse_text(value)
