// Stand-in for tests, never shipped: how contexts come to life and end.
#include "testing/context_life.h"

#include "testing/driver_thread.h"

namespace ftprof::standin {
namespace {

Device& DeviceOf(DriverState* state, int device) {
  return state->devices[static_cast<std::size_t>(device)];
}

void Observe(Lock* lock, CUcontext context, bool created) {
  const ContextObserver observer = Observer();
  if (observer == nullptr) return;
  lock->unlock();
  InsideCallback() = true;
  observer(context, created);
  InsideCallback() = false;
  lock->lock();
}

void Note(DriverState* state, LedgerRecord::Kind kind, const CUctx_st& context) {
  const auto place = static_cast<std::uint32_t>(DeviceOf(state, context.device).place);
  (void)state->ledger.Add(
      {kind, place, context.id, 0, state->clock.now_ns(), 0, context.primary ? 1U : 0U});
}

void BringToLife(DriverState* state, Lock* lock, CUcontext context, unsigned flags) {
  context->alive = true;
  context->id = state->next_context_id++;
  context->flags = flags;
  context->patched = false;
  context->timeline.emplace(&DeviceOf(state, context->device).kernels);
  context->last_work = nullptr;
  Note(state, LedgerRecord::kContextCreated, *context);
  Observe(lock, context, true);
}

CUcontext NewObject(DriverState* state, int device, bool primary) {
  state->contexts.push_back(std::make_unique<CUctx_st>());
  const CUcontext context = state->contexts.back().get();
  context->device = device;
  context->primary = primary;
  return context;
}

}  // namespace

bool IsDevice(const DriverState& state, int device) {
  return device >= 0 && static_cast<std::size_t>(device) < state.devices.size();
}

CUcontext CreateContext(DriverState* state, Lock* lock, int device, unsigned flags) {
  const CUcontext context = NewObject(state, device, false);
  BringToLife(state, lock, context, flags);
  return context;
}

void EndContext(DriverState* state, Lock* lock, CUcontext context) {
  const std::uint64_t id = context->id;
  Observe(lock, context, false);
  if (!context->alive || context->id != id) return;
  context->alive = false;
  Note(state, LedgerRecord::kContextEnded, *context);
}

CUresult RetainPrimary(DriverState* state, Lock* lock, int device, CUcontext* context) {
  Device& owner = DeviceOf(state, device);
  if (state->clock.now_ns() >= owner.lost_at_ns) {
    return static_cast<CUresult>(owner.script->lost_code);
  }
  // As on a real driver the handle stays the same from one life to the next.
  if (owner.primary == nullptr) owner.primary = NewObject(state, device, true);
  *context = owner.primary;
  ++owner.retained;
  if (!owner.primary->alive) BringToLife(state, lock, owner.primary, owner.flags);
  return CUDA_SUCCESS;
}

CUresult ReleasePrimary(DriverState* state, Lock* lock, int device) {
  Device& owner = DeviceOf(state, device);
  if (owner.retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--owner.retained == 0 && owner.primary->alive) EndContext(state, lock, owner.primary);
  return CUDA_SUCCESS;
}

CUresult ResetPrimary(DriverState* state, Lock* lock, int device) {
  Device& owner = DeviceOf(state, device);
  // "Resetting the primary context does not release it" (CUDA driver API).
  if (owner.primary != nullptr && owner.primary->alive) EndContext(state, lock, owner.primary);
  return CUDA_SUCCESS;
}

bool PrimaryIsActive(const Device& device) {
  return device.primary != nullptr && device.primary->alive;
}

}  // namespace ftprof::standin
