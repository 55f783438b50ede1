// Stand-in for tests, never shipped: libcuda's entry points for modules, launches, graphs, events
// and memory.
#include <algorithm>

#include "testing/driver_lifecycle.h"
#include "testing/streams.h"

using namespace ftprof::standin;

namespace {

CUresult LoadModule(const char* function, CUmodule* module, const void* image) {
  return CurrentCall(function, [=](DriverState* state, Lock*, CUcontext context) {
    if (module == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (const CUresult result = ForbidUnsafe(state)) return result;
    auto loaded = std::make_unique<CUmod_st>();
    loaded->context = context;
    loaded->context_id = context->id;
    *module = loaded.get();
    state->modules.emplace(*module, std::move(loaded));
    return CUDA_SUCCESS;
  });
}

bool IsFunction(const DriverState& state, CUfunction function) {
  return std::any_of(state.modules.begin(), state.modules.end(), [&](const auto& entry) {
    const auto& functions = entry.second->functions;
    return std::any_of(functions.begin(), functions.end(),
                       [&](const auto& named) { return &named.second == function; });
  });
}

CUresult Launch(const char* name, CUfunction function, CUstream stream) {
  return CurrentCall(name, [=](DriverState* state, Lock* lock, CUcontext context) {
    if (!IsFunction(*state, function)) return CUDA_ERROR_INVALID_HANDLE;
    if (const CUresult usable = Usable(*state, *function)) return usable;
    StreamTarget target;
    if (const CUresult result = FindTarget(*state, stream, &target)) return result;
    if (function->context != context || target.context != context) return CUDA_ERROR_INVALID_HANDLE;
    return LaunchOn(state, lock, target, {function->kernel, false});
  });
}

CUresult Instantiate(const char* function, CUgraphExec* executable, CUgraph graph) {
  return CurrentCall(function, [=](DriverState* state, Lock*, CUcontext) {
    if (executable == nullptr || state->graphs.count(graph) == 0) return CUDA_ERROR_INVALID_VALUE;
    auto created = std::make_unique<CUgraphExec_st>(CUgraphExec_st{*graph});
    *executable = created.get();
    state->executables.emplace(*executable, std::move(created));
    return CUDA_SUCCESS;
  });
}

// body(state, lock, event) for a usable event.
template <typename Body>
CUresult EventCall(const char* function, CUevent event, Body body) {
  return LockedCall(function, [&](DriverState* state, Lock* lock) {
    if (state->events.count(event) == 0) return CUDA_ERROR_INVALID_HANDLE;
    if (const CUresult usable = Usable(*state, *event)) return usable;
    return body(state, lock);
  });
}

}  // namespace

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return LoadModule(__func__, module, image);
}

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int, CUjit_option*,
                            void**) {
  return LoadModule(__func__, module, image);
}

CUresult cuModuleUnload(CUmodule module) {
  return LockedCall(__func__, [=](DriverState* state, Lock*) {
    return state->modules.erase(module) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  return LockedCall(__func__, [=](DriverState* state, Lock*) {
    if (function == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (state->modules.count(module) == 0) return CUDA_ERROR_INVALID_HANDLE;
    if (const CUresult usable = Usable(*state, *module)) return usable;
    const int kernel =
        state->devices[static_cast<std::size_t>(module->context->device)].kernels.KernelIndex(name);
    if (kernel < 0) return CUDA_ERROR_NOT_FOUND;
    CUfunc_st& found = module->functions[name];
    found.context = module->context;
    found.context_id = module->context_id;
    found.kernel = static_cast<std::size_t>(kernel);
    *function = &found;
    return CUDA_SUCCESS;
  });
}

CUresult cuLaunchKernel(CUfunction function, unsigned int, unsigned int, unsigned int, unsigned int,
                        unsigned int, unsigned int, unsigned int, CUstream stream, void**, void**) {
  return Launch(__func__, function, stream);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void**, void**) {
  return Launch(__func__, function, config == nullptr ? nullptr : config->hStream);
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph graph, unsigned long long) {
  return Instantiate(__func__, executable, graph);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec* executable, CUgraph graph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS*) {
  return Instantiate(__func__, executable, graph);
}

CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  return LockedCall(__func__, [=](DriverState* state, Lock* lock) {
    if (state->executables.count(executable) == 0) return CUDA_ERROR_INVALID_HANDLE;
    StreamTarget target;
    if (const CUresult result = FindTarget(*state, stream, &target)) return result;
    // A copy: waiting for the queue gives up the lock.
    const std::vector<std::size_t> kernels = executable->graph.kernels;
    for (const std::size_t kernel : kernels) {
      if (const CUresult result = LaunchOn(state, lock, target, {kernel, true})) return result;
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphDestroy(CUgraph graph) {
  return LockedCall(__func__, [=](DriverState* state, Lock*) {
    return state->graphs.erase(graph) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuGraphExecDestroy(CUgraphExec executable) {
  return LockedCall(__func__, [=](DriverState* state, Lock*) {
    return state->executables.erase(executable) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuEventCreate(CUevent* event, unsigned int) {
  return CurrentCall(__func__, [=](DriverState* state, Lock*, CUcontext context) {
    if (event == nullptr) return CUDA_ERROR_INVALID_VALUE;
    auto created = std::make_unique<CUevent_st>();
    created->context = context;
    created->context_id = context->id;
    *event = created.get();
    state->events.emplace(*event, std::move(created));
    return CUDA_SUCCESS;
  });
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  return EventCall(__func__, event, [=](DriverState* state, Lock*) {
    StreamTarget target;
    if (const CUresult result = FindTarget(*state, stream, &target)) return result;
    if (target.stream == nullptr || !target.stream->capture) {
      event->at_ns = std::max(target.FreeAt(), state->clock.now_ns());
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuEventQuery(CUevent event) {
  return EventCall(__func__, event, [=](DriverState* state, Lock*) {
    if (const CUresult result = ForbidUnsafe(state)) return result;
    return state->clock.now_ns() < event->at_ns ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
  });
}

CUresult cuEventSynchronize(CUevent event) {
  return EventCall(__func__, event, [=](DriverState* state, Lock* lock) {
    if (const CUresult result = ForbidUnsafe(state)) return result;
    return WaitUntil(state, lock, event->context, event->at_ns);
  });
}

CUresult cuEventDestroy_v2(CUevent event) {
  return LockedCall(__func__, [=](DriverState* state, Lock*) {
    return state->events.erase(event) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  return CurrentCall(__func__, [=](DriverState* state, Lock*, CUcontext) {
    if (address == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (const CUresult result = ForbidUnsafe(state)) return result;
    *address = state->next_address;
    state->next_address += (bytes + 511) / 512 * 512;
    state->memory.emplace(*address, bytes);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  return CurrentCall(__func__, [=](DriverState* state, Lock* lock, CUcontext context) {
    if (address == 0) return CUDA_SUCCESS;
    if (const CUresult result = ForbidUnsafe(state)) return result;
    if (state->memory.erase(address) == 0) return CUDA_ERROR_INVALID_VALUE;
    return WaitUntil(state, lock, context, context->timeline->FreeAt());
  });
}

CUresult cuMemGetInfo_v2(size_t* free_bytes, size_t* total_bytes) {
  return CurrentCall(__func__, [=](DriverState* state, Lock*, CUcontext context) {
    const Device& device = state->devices[static_cast<std::size_t>(context->device)];
    *total_bytes = device.script->memory_mib << 20;
    *free_bytes = *total_bytes;
    for (const auto& [address, bytes] : state->memory) *free_bytes -= bytes;
    return CUDA_SUCCESS;
  });
}
