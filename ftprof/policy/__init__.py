"""Thresholds and rules as data, and the verdict on an interval."""
