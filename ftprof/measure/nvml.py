"""What NVML says of this machine's GPUs. The one file that talks to pynvml, which is imported at the first use."""

from __future__ import annotations

import contextlib
import importlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ftprof.record.peaks import chip_peaks

VIRTUALISATION = {0: "none", 1: "passthrough", 2: "vgpu", 3: "host-vgpu", 4: "host-vsga"}
# Percentages of time by NVML's numbers; newer drivers name the FP64 tensor cores twice.
GPM_METRICS = {"any-tensor": 5, "dfma": 6, "hmma": 7, "dmma": 8, "imma": 9, "fp64": 11, "fp32": 12, "fp16": 13}


class NvmlError(Exception):
    """A failed NVML call: its name, NVML's code and text. Code 12: this machine has no NVML, so no driver."""

    NO_DRIVER = 9
    TIMEOUT = 10
    NO_LIBRARY = 12
    NO_FUNCTION = 13

    def __init__(self, call: str, code: int, text: str) -> None:
        super().__init__(f"{call}: error {code} {text}")
        self.call = call
        self.code = code
        self.text = text


@dataclass(frozen=True)
class MigInstance:
    """A MIG device: one compute instance of a GPU instance, with its own share of the SMs."""

    uuid: str
    gpu_instance: int
    compute_instance: int
    multiprocessors: int | None


@dataclass(frozen=True)
class GpuInfo:
    """A GPU as NVML sees it; ``None`` is what NVML did not say.

    ``minor`` is the number of its device file, ``max_sm_clock_khz`` the highest SM clock, ``mig`` whether it is
    divided, ``gpm`` whether its activity can be sampled.
    """

    index: int
    minor: int | None
    uuid: str
    name: str
    capability: str | None
    multiprocessors: int | None
    max_sm_clock_khz: int | None
    mig: bool | None
    virtualisation: str | None
    gpm: bool | None
    instances: tuple[MigInstance, ...] = ()


@dataclass(frozen=True)
class ComputeProcess:
    """A process with a CUDA context on a GPU; ``gpu_instance`` is ``None`` where the GPU is not divided."""

    pid: int
    gpu_instance: int | None


class Nvml:
    """An open NVML. Every method raises ``NvmlError`` where NVML itself fails."""

    def __init__(self) -> None:
        """Open NVML. Raises ``NvmlError``."""
        self._pynvml: ModuleType = importlib.import_module("pynvml")
        self._call("nvmlInit")
        self._gpus: list[Gpu] = []

    def close(self) -> None:
        """Close NVML; what it gave out is no longer usable."""
        for gpu in self._gpus:
            gpu.close()
        with contextlib.suppress(NvmlError):
            self._call("nvmlShutdown")

    def driver_version(self) -> str:
        """Such as "580.95.05"."""
        return str(self._call("nvmlSystemGetDriverVersion"))

    def cuda_version(self) -> str:
        """The newest CUDA that the driver supports, such as "13.0"."""
        number = int(self._call("nvmlSystemGetCudaDriverVersion"))
        return f"{number // 1000}.{number % 1000 // 10}"

    def confidential(self) -> bool | None:
        """Whether confidential computing is on and its development mode, which allows profiling, is not."""
        state = self._ask("nvmlSystemGetConfComputeState")
        return None if state is None else bool(state.ccFeature and not state.devToolsMode)

    def gpus(self) -> list[Gpu]:
        """All GPUs that this process may see."""
        if not self._gpus:
            count = int(self._call("nvmlDeviceGetCount"))
            self._gpus = [Gpu(self, self._call("nvmlDeviceGetHandleByIndex", i), i) for i in range(count)]
        return self._gpus

    def _call(self, name: str, *arguments: Any) -> Any:
        try:
            return getattr(self._pynvml, name)(*arguments)
        except self._pynvml.NVMLError as error:
            raise NvmlError(name, int(error.value), str(error)) from error
        except (AttributeError, self._pynvml.NVMLLibraryMismatchError) as error:
            raise NvmlError(name, NvmlError.NO_FUNCTION, "this driver, or this pynvml, does not have it") from error

    def _ask(self, name: str, *arguments: Any) -> Any:
        """What one call says, or ``None`` where it fails: not supported here, or unknown to this driver."""
        try:
            return self._call(name, *arguments)
        except NvmlError:
            return None


class Gpu:
    """One GPU. ``info`` is read once."""

    def __init__(self, nvml: Nvml, handle: Any, index: int) -> None:
        self._nvml = nvml
        self._handle = handle
        self._samples: list[GpmSample] = []
        self.info = self._read(index)

    def close(self) -> None:
        """Free its samples."""
        for sample in self._samples:
            sample.free()
        self._samples.clear()

    def compute_processes(self) -> list[ComputeProcess]:
        """The processes with a CUDA context on it, those under MPS too; ids as the driver sees them."""
        call = self._nvml._call
        listed = [*call("nvmlDeviceGetComputeRunningProcesses", self._handle)]
        listed += self._nvml._ask("nvmlDeviceGetMPSComputeRunningProcesses", self._handle) or []
        return [ComputeProcess(int(p.pid), _instance(getattr(p, "gpuInstanceId", None))) for p in listed]

    def sm_clock_khz(self) -> int:
        """The SM clock at this moment."""
        return 1000 * int(self._nvml._call("nvmlDeviceGetClockInfo", self._handle, self._nvml._pynvml.NVML_CLOCK_SM))

    def energy_mj(self) -> int | None:
        """The energy that the whole GPU has taken since its driver was loaded, in mJ; ``None`` before Volta."""
        energy = self._nvml._ask("nvmlDeviceGetTotalEnergyConsumption", self._handle)
        return None if energy is None else int(energy)

    def gpm_sample(self, gpu_instance: int | None) -> GpmSample:
        """A buffer for the activity of the GPU, or of one of its GPU instances."""
        buffer = self._nvml._call("nvmlGpmSampleAlloc")
        self._samples.append(GpmSample(self._nvml, self._handle, gpu_instance, buffer))
        return self._samples[-1]

    def _read(self, index: int) -> GpuInfo:
        ask, handle = self._nvml._ask, self._handle
        version = ask("nvmlDeviceGetCudaComputeCapability", handle)
        capability = None if version is None else f"{version[0]}.{version[1]}"
        clock = ask("nvmlDeviceGetMaxClockInfo", handle, self._nvml._pynvml.NVML_CLOCK_SM)
        mig = ask("nvmlDeviceGetMigMode", handle)
        mode = ask("nvmlDeviceGetVirtualizationMode", handle)
        gpm = ask("nvmlGpmQueryDeviceSupport", handle)
        return GpuInfo(
            index=index,
            minor=ask("nvmlDeviceGetMinorNumber", handle),
            uuid=str(self._nvml._call("nvmlDeviceGetUUID", handle)),
            name=str(ask("nvmlDeviceGetName", handle) or "a GPU without a name"),
            capability=capability,
            multiprocessors=_multiprocessors(capability, ask("nvmlDeviceGetNumGpuCores", handle)),
            max_sm_clock_khz=1000 * int(clock) if clock else None,
            mig=None if mig is None else bool(mig[0]),
            virtualisation=None if mode is None else VIRTUALISATION.get(mode, f"mode {mode}"),
            gpm=None if gpm is None else bool(gpm.isSupportedDevice),
            instances=tuple(self._instances()) if mig is not None and mig[0] else (),
        )

    def _instances(self) -> Iterator[MigInstance]:
        ask = self._nvml._ask
        for number in range(int(ask("nvmlDeviceGetMaxMigDeviceCount", self._handle) or 0)):
            handle = ask("nvmlDeviceGetMigDeviceHandleByIndex", self._handle, number)
            if handle is None:
                continue  # a place that no instance takes
            attributes = ask("nvmlDeviceGetAttributes", handle)
            yield MigInstance(
                uuid=str(ask("nvmlDeviceGetUUID", handle) or ""),
                gpu_instance=int(self._nvml._call("nvmlDeviceGetGpuInstanceId", handle)),
                compute_instance=int(self._nvml._call("nvmlDeviceGetComputeInstanceId", handle)),
                multiprocessors=int(attributes.multiprocessorCount) if attributes else None,
            )


class GpmSample:
    """A buffer that takes the state of a GPU's activity counters."""

    def __init__(self, nvml: Nvml, handle: Any, gpu_instance: int | None, buffer: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self._gpu_instance = gpu_instance
        self._buffer = buffer

    def take(self) -> None:
        """Read the counters as they are now. Raises ``NvmlError``."""
        if self._gpu_instance is None:
            self._nvml._call("nvmlGpmSampleGet", self._handle, self._buffer)
        else:
            self._nvml._call("nvmlGpmMigSampleGet", self._handle, self._gpu_instance, self._buffer)

    def utilisation_since(self, earlier: GpmSample) -> dict[str, float]:
        """The share of the time between two samples, 0 to 1, in which each kind of unit worked.

        A metric that this driver or GPU does not have is left out. Raises ``NvmlError``.
        """
        pynvml = self._nvml._pynvml
        request = pynvml.c_nvmlGpmMetricsGet_t()
        request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(GPM_METRICS)
        request.sample1, request.sample2 = earlier._buffer, self._buffer
        for position, number in enumerate(GPM_METRICS.values()):
            request.metrics[position].metricId = number
        self._nvml._call("nvmlGpmMetricsGet", request)
        answers = dict(zip(GPM_METRICS, request.metrics, strict=False))
        return {
            name: min(max(answer.value / 100, 0.0), 1.0)
            for name, answer in answers.items()
            if answer.nvmlReturn == 0 and answer.value == answer.value  # no NaN
        }

    def free(self) -> None:
        """Give the buffer back."""
        with contextlib.suppress(NvmlError):
            self._nvml._call("nvmlGpmSampleFree", self._buffer)


OpenNvml = Callable[[], Nvml]


def beside(work: Callable[[], object]) -> threading.Thread:
    """A started thread for calls that may hang. Signals that this process waits for are not taken by it."""
    thread = threading.Thread(target=work, daemon=True, name="ftprof-nvml")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread


def _instance(number: Any) -> int | None:
    """NVML's GPU instance id, which is all ones where the GPU is not divided; pynvml makes ``None`` of that."""
    return None if number is None or int(number) == 0xFFFFFFFF else int(number)


def _multiprocessors(capability: str | None, cores: int | None) -> int | None:
    """SMs from NVML's number of cores; NVML does not say the SMs of a GPU that is not divided."""
    chip = chip_peaks(capability)
    if chip is None or not cores or cores % chip.cores:
        return None
    return cores // chip.cores
