#include "inject/contexts.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "journal/clock.h"

namespace ftprof::inject {
namespace {

using Ticket = std::pair<counters::Interrupt*, counters::Interrupt::Ticket>;

// How long a thread that destroys a context waits for the context's last window.
constexpr std::chrono::milliseconds kPatience{500};

}  // namespace

void Contexts::Add(Shared context) {
  const std::lock_guard<std::mutex> lock(mutex_);
  contexts_.push_back(std::move(context));
}

// Without the lock: to let go of a context may destroy it, and call back into AboutToGo.
void Contexts::End(const Shared& context) {
  context->End();
  const std::lock_guard<std::mutex> lock(mutex_);
  contexts_.erase(std::remove(contexts_.begin(), contexts_.end(), context), contexts_.end());
}

std::vector<Contexts::Shared> Contexts::All() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return contexts_;
}

Contexts::Shared Contexts::Find(CUcontext handle) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = std::find_if(contexts_.begin(), contexts_.end(),
                                  [handle](const Shared& one) { return one->handle() == handle; });
  return found == contexts_.end() ? nullptr : *found;
}

bool Contexts::Cut(std::chrono::milliseconds patience) const {
  const auto until = std::chrono::steady_clock::now() + patience;
  const std::vector<Shared> contexts = All();
  std::vector<Ticket> asked;
  for (const Shared& context : contexts) {
    counters::Interrupt* interrupt = context->interrupt();
    if (interrupt == nullptr) continue;
    if (const auto ticket = interrupt->AskCut()) asked.emplace_back(interrupt, *ticket);
  }
  return std::all_of(asked.begin(), asked.end(), [until](const Ticket& ticket) {
    return ticket.first->AwaitCut(ticket.second, until);
  });
}

bool Contexts::AwaitWindows(std::chrono::milliseconds patience) const {
  const auto until = std::chrono::steady_clock::now() + patience;
  const std::vector<Shared> contexts = All();
  return std::all_of(contexts.begin(), contexts.end(), [until](const Shared& context) {
    counters::Interrupt* interrupt = context->interrupt();
    const auto left = until - std::chrono::steady_clock::now();
    return interrupt == nullptr ||
           interrupt->AwaitWindow(std::chrono::duration_cast<std::chrono::microseconds>(left));
  });
}

void Contexts::Created(CUcontext handle) {
  const std::lock_guard<std::mutex> lock(mutex_);
  events_.push_back({true, handle, journal::NowUs()});
}

void Contexts::AboutToGo(CUcontext handle) {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    events_.push_back({false, handle, journal::NowUs()});
    started_.wait_for(lock, kPatience, [&] { return starting_ != handle; });
  }
  const Shared context = Find(handle);
  if (context == nullptr || context->is_primary()) return;
  context->Stop();
  // The driver may hold a lock that the meter needs: then its last window is given up.
  if (!context->WaitOver(kPatience)) context->Abandon();
}

std::vector<Contexts::Event> Contexts::TakeEvents() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(events_, {});
}

bool Contexts::HasEvents() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !events_.empty();
}

Contexts::Starting::Starting(Contexts* contexts, CUcontext handle) : contexts_(contexts) {
  const std::lock_guard<std::mutex> lock(contexts_->mutex_);
  const std::vector<Event>& events = contexts_->events_;
  may_start_ = std::none_of(events.begin(), events.end(), [handle](const Event& event) {
    return !event.created && event.handle == handle;
  });
  if (may_start_) contexts_->starting_ = handle;
}

Contexts::Starting::~Starting() {
  const std::lock_guard<std::mutex> lock(contexts_->mutex_);
  contexts_->starting_ = nullptr;
  contexts_->started_.notify_all();
}

}  // namespace ftprof::inject
