#include "inject/metered_context.h"

#include <system_error>
#include <utility>

#include "cupti/error.h"
#include "journal/clock.h"

namespace ftprof::inject {

MeteredContext::MeteredContext(CUcontext handle, std::optional<cupti::PrimaryContext> primary,
                               ProcessJournal* journal)
    : handle_(handle), is_primary_(primary), primary_(std::move(primary)), journal_(journal) {}

void MeteredContext::Begin(const cupti::Library& library, const cupti::Driver& driver,
                           const cupti::DeviceInfo& device, counters::CaptureGate* gate,
                           const counters::MeterSettings& settings) {
  meter_.emplace(library, driver, handle_, device, gate, &journal_, settings);
  try {
    thread_ = counters::OwnThread("ftprof-meter", [this] { meter_->Run(); });
  } catch (const std::system_error& error) {
    meter_.reset();
    throw cupti::CuptiError("pthread_create", error.code().value(), "no thread can be had",
                            "let the program have more threads or memory (ulimit -u, -v)");
  }
}

void MeteredContext::BeginUncounted(const cupti::DeviceInfo& device, std::int64_t begin_us,
                                    const cupti::CuptiError& why) {
  counters::CountedContext unseen;
  unseen.device = device;
  unseen.begin_us = begin_us;
  journal_.OnContext(unseen);
  uncounted_ = counters::Gap{begin_us, begin_us, why};
  journal_.OnGap(*uncounted_);  // now already: the process may be killed
}

void MeteredContext::End() {
  thread_.Join();
  if (uncounted_) {
    uncounted_->end_us = journal::NowUs();
    journal_.OnGap(*uncounted_);
    journal_.OnEnd(uncounted_->end_us);
  }
  primary_.reset();
}

void MeteredContext::Stop() {
  if (meter_) meter_->interrupt().Stop();
}

void MeteredContext::Abandon() {
  if (meter_) meter_->interrupt().Abandon();
}

bool MeteredContext::WaitOver(std::chrono::microseconds patience) {
  return !meter_ || meter_->interrupt().WaitFinished(patience);
}

}  // namespace ftprof::inject
