"""What an error code of CUPTI, the CUDA driver or NVML means for a run, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

ADMIN_REMEDY = (
    "let everybody read them with the module option NVreg_RestrictProfilingToAdminUsers=0 "
    "(https://developer.nvidia.com/ERR_NVGPUCTRPERM), or run as root"
)
_DOCTOR = "run 'ftprof doctor', and report it if that finds nothing"
_NOTHING = "nothing to do: the program ended or reset its GPU"
_NEW_CUPTI = "install a CUPTI that knows it: pip install -U 'ftprof[cupti]'"
_ALONE = "end the other profiler (Nsight, ncu, nsys, torch.profiler with CUPTI ranges) while ftprof counts"


@dataclass(frozen=True)
class Explanation:
    """Why a call failed, with the code's name, and what to do; ``remedy`` may be empty."""

    reason: str
    remedy: str

    @property
    def meaning(self) -> str:
        """The reason without the code's name: what happened, in plain words; empty where nothing is known."""
        name, colon, meaning = self.reason.partition(": ")
        return meaning if colon and name.isupper() else self.reason


_CUPTI: dict[int, tuple[str, str, str]] = {
    1: ("INVALID_PARAMETER", "CUPTI refused what it was asked: a metric that this chip lacks, or a fault", _DOCTOR),
    2: ("INVALID_DEVICE", "the GPU is no longer there, or not one that CUPTI can count on", _DOCTOR),
    3: ("INVALID_CONTEXT", "the CUDA context is gone", _NOTHING),
    7: ("INVALID_OPERATION", "the counters were not in a state for this call", _DOCTOR),
    8: ("OUT_OF_MEMORY", "no memory is left for the counters", "leave a little memory of the GPU and the host free"),
    9: ("HARDWARE", "the counters reported a fault of the hardware", "look for Xid messages in the kernel's log"),
    10: ("PARAMETER_SIZE_NOT_SUFFICIENT", "a buffer for counts was too small", _DOCTOR),
    11: ("API_NOT_IMPLEMENTED", "this CUPTI does not have the call", "install CUPTI 13: pip install 'ftprof[cupti]'"),
    12: ("MAX_LIMIT_REACHED", "more was asked than the counters hold", _DOCTOR),
    13: ("NOT_READY", "the counters were not ready", ""),
    14: (
        "NOT_COMPATIBLE",
        "this CUPTI and the driver do not fit each other",
        "update the driver, or install its CUPTI",
    ),
    15: (
        "NOT_INITIALIZED",
        "CUPTI did not reach the driver or its own libraries",
        "take a CUDA toolkit's stub libraries out of LD_LIBRARY_PATH; libcupti and libnvperf must be of one version",
    ),
    17: ("INVALID_METRIC_NAME", "this chip does not have the metric", _NEW_CUPTI),
    19: ("INVALID_HANDLE", "a handle of CUPTI's was no longer good", _DOCTOR),
    23: ("DISABLED", "profiling is switched off in this process", "another tool or the program itself did that"),
    26: (
        "HARDWARE_BUSY",
        "another profiler holds the counters, such as DCGM",
        "dcgmi profile --pause (and --resume afterwards), or end the other profiler",
    ),
    27: ("NOT_SUPPORTED", "CUPTI does not support this here", _DOCTOR),
    33: (
        "VIRTUALIZED_DEVICE_NOT_SUPPORTED",
        "it is a virtual GPU that cannot be profiled",
        "use a GPU passed through as a whole",
    ),
    35: (
        "INSUFFICIENT_PRIVILEGES",
        "only administrators may read the counters here",
        f"{ADMIN_REMEDY}; a container needs --cap-add=SYS_ADMIN, or with driver 565 and later PERFMON",
    ),
    36: ("OLD_PROFILER_API_INITIALIZED", "the program uses CUPTI's old profiling interface", _ALONE),
    38: ("LEGACY_PROFILER_NOT_SUPPORTED", "the GPU is too new for what was asked", _NEW_CUPTI),
    39: ("MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED", "another tool has CUPTI's only subscription", "drop --subscribe"),
    40: (
        "VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES",
        "it is a virtual GPU, which needs its host's leave to be profiled",
        "have the host's administrator set enable_profiling=1 for this vGPU",
    ),
    41: (
        "CONFIDENTIAL_COMPUTING_NOT_SUPPORTED",
        "confidential computing is on, under which there are no counters",
        "count on a machine without it, or in its development mode (devtools)",
    ),
    42: ("CMP_DEVICE_NOT_SUPPORTED", "a CMP card has no counters", "use another method"),
    43: (
        "MIG_DEVICE_NOT_SUPPORTED",
        "the GPU is divided (MIG) in a way that cannot be counted",
        "give the run a GPU instance with one compute instance, or switch MIG off (nvidia-smi -mig 0)",
    ),
    44: ("SLI_DEVICE_NOT_SUPPORTED", "GPUs coupled by SLI have no counters", "switch SLI off"),
    45: ("WSL_DEVICE_NOT_SUPPORTED", "WSL does not give the counters of this GPU", "update the Windows driver"),
    46: ("INVALID_CHIP_NAME", "this CUPTI does not know the chip", _NEW_CUPTI),
    999: (
        "UNKNOWN",
        "CUPTI gave no reason",
        _DOCTOR,
    ),
}
_DRIVER: dict[int, tuple[str, str, str]] = {
    1: ("INVALID_VALUE", "the driver refused what it was asked", _DOCTOR),
    2: ("OUT_OF_MEMORY", "no memory of the GPU is left", "leave a little of it free"),
    3: ("NOT_INITIALIZED", "the driver is not initialised", _NOTHING),
    4: ("DEINITIALIZED", "the driver is shutting down", _NOTHING),
    34: ("STUB_LIBRARY", "a stub of the driver was loaded", "take the toolkit's stubs out of LD_LIBRARY_PATH"),
    36: ("CALL_REQUIRES_NEWER_DRIVER", "the driver is too old for this call", "update the driver"),
    46: ("DEVICE_UNAVAILABLE", "the GPU is taken by another process", "nvidia-smi -c 0 lets processes share it"),
    100: ("NO_DEVICE", "the driver sees no GPU", "check CUDA_VISIBLE_DEVICES, and that the container has the GPUs"),
    101: ("INVALID_DEVICE", "there is no such GPU", "check CUDA_VISIBLE_DEVICES"),
    201: ("INVALID_CONTEXT", "the CUDA context is gone", _NOTHING),
    214: ("ECC_UNCORRECTABLE", "the GPU's memory has an error", "look for Xid messages in the kernel's log"),
    400: ("INVALID_HANDLE", "a handle of the driver's was no longer good", _DOCTOR),
    700: ("ILLEGAL_ADDRESS", "a kernel of the program failed, and its context with it", "mend the program"),
    708: ("PRIMARY_CONTEXT_ACTIVE", "the primary context is in use", ""),
    709: ("CONTEXT_IS_DESTROYED", "the CUDA context was destroyed", _NOTHING),
    719: ("LAUNCH_FAILED", "a kernel of the program failed, and its context with it", "mend the program"),
    800: ("NOT_PERMITTED", "the driver does not permit it", _DOCTOR),
    801: ("NOT_SUPPORTED", "this GPU or driver does not support it", ""),
    802: ("SYSTEM_NOT_READY", "the NVLink switches are not up", "start nvidia-fabricmanager"),
    803: ("SYSTEM_DRIVER_MISMATCH", "libcuda and the loaded driver are of different versions", "reboot, or reload it"),
    804: ("COMPAT_NOT_SUPPORTED_ON_DEVICE", "this GPU does not take the compatibility libcuda", "update the driver"),
    805: ("MPS_CONNECTION_FAILED", "the MPS server cannot be reached", "start nvidia-cuda-mps-control, or unset MPS"),
    900: ("STREAM_CAPTURE_UNSUPPORTED", "a stream was being captured into a graph", ""),
    901: ("STREAM_CAPTURE_INVALIDATED", "the capture of a graph was spoiled", _DOCTOR),
    999: ("UNKNOWN", "the driver gave no reason", "look for Xid messages in the kernel's log"),
}
_NVML: dict[int, tuple[str, str, str]] = {
    1: ("UNINITIALIZED", "NVML was not opened", _DOCTOR),
    3: ("NOT_SUPPORTED", "this GPU does not say it", ""),
    4: ("NO_PERMISSION", "this user may not ask it", "run as root, or ask the administrator"),
    9: ("DRIVER_NOT_LOADED", "the NVIDIA driver is not loaded", "modprobe nvidia, or reboot after an update"),
    12: ("LIBRARY_NOT_FOUND", "there is no NVIDIA driver here", "install it; a container needs --gpus all"),
    13: ("FUNCTION_NOT_FOUND", "this driver does not have the call", "update the driver"),
    15: ("GPU_IS_LOST", "a GPU fell off the bus", "look for Xid messages in the kernel's log; reboot"),
    16: ("RESET_REQUIRED", "a GPU needs a reset", "nvidia-smi --gpu-reset, once nothing uses it"),
    17: ("OPERATING_SYSTEM", "the operating system blocked it", "check the container's device rules (cgroups)"),
    18: ("LIB_RM_VERSION_MISMATCH", "the driver was updated and not reloaded", "reboot, or reload the module"),
    999: ("UNKNOWN", "NVML gave no reason", "look for Xid messages in the kernel's log"),
}


_STEPS = {  # of ours, which have no code
    "find CUPTI": "no CUPTI was found",
    "load ": "the CUPTI that was found cannot be used",
}


def known_codes() -> list[tuple[str, int, str, str, str]]:
    """Every code that ftprof explains: whose it is, the code, its name, what it means, what to do."""
    tables = (("CUPTI", _CUPTI), ("CUDA driver", _DRIVER), ("NVML", _NVML))
    return [(whose, code, *table[code]) for whose, table in tables for code in sorted(table)]


def explain(call: str, code: int) -> Explanation:
    """Why ``call`` failed with ``code``. Whose code it is follows from the call's name: cupti..., cu..., nvml..."""
    if call.startswith("nvml"):
        table, prefix = _NVML, "NVML_ERROR_"
    elif call.startswith("cu") and not call.startswith("cupti"):
        table, prefix = _DRIVER, "CUDA_ERROR_"
    else:
        table, prefix = _CUPTI, "CUPTI_ERROR_"
    if code == 0:
        return Explanation(next((reason for step, reason in _STEPS.items() if call.startswith(step)), ""), "")
    if code not in table:
        return Explanation(
            f"{prefix.rstrip('_').lower().replace('_', ' ')} {code}, which ftprof does not know", _DOCTOR
        )
    name, reason, remedy = table[code]
    return Explanation(f"{prefix}{name}: {reason}", remedy)
