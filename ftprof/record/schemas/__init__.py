"""JSON Schemas (draft 2020-12) of the files that ftprof writes and of what doctor and selftest answer."""

from __future__ import annotations

from pathlib import Path

JOURNAL = Path(__file__).with_name("journal-1.json")
RECORD = Path(__file__).with_name("record-1.json")
DOCTOR = Path(__file__).with_name("doctor-1.json")
SELFTEST = Path(__file__).with_name("selftest-1.json")
