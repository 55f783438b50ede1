"""Exact counts on disk: journals, the record made of them, and its interval."""
