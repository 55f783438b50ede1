"""``ftprof selftest``: proves the counters of a GPU with work whose operations are known beforehand."""
