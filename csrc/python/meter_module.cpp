// The meter of ftprof.count() and the self-test's windows for Python. The GIL is released around
// every call that may wait.
#include "python/meter_module.h"

#include <pybind11/stl.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "counters/chosen_windows.h"
#include "counters/metric_catalogue.h"
#include "cupti/driver.h"
#include "cupti/error.h"
#include "journal/clock.h"
#include "journal/json_line.h"
#include "python/context_meter.h"
#include "python/cuda_contexts.h"
#include "python/loaded_cupti.h"
#include "python/without_gil.h"

namespace ftprof {
namespace {

namespace py = pybind11;
using counters::CountedContext;
using std::chrono::microseconds;

using NoGil = py::call_guard<WithoutGil>;

microseconds Microseconds(double seconds) {
  return microseconds(static_cast<std::int64_t>(seconds * 1e6));
}

template <typename Counts>
py::list Decimals(const Counts& counts) {
  py::list texts;
  for (const auto count : counts) texts.append(journal::Decimal(count));
  return texts;
}

// The dictionaries have the form of a journal's lines, and are read by the same code.

py::list GroupParts(const counters::Stratum& stratum) {
  py::list groups;
  for (const auto& [group, sums] : stratum.groups) {
    py::dict part;
    part["group"] = group;
    part["windows"] = sums.windows;
    if (sums.continued != 0) {
      part["continued"] = sums.continued;
      part["slot_squares"] = Decimals(sums.slot_squares);
      part["slot_products"] = Decimals(sums.slot_products);
    }
    part["time_us"] = sums.time_us;
    part["sums"] = Decimals(sums.sums);
    part["squares"] = Decimals(sums.squares);
    part["products"] = Decimals(sums.products);
    groups.append(part);
  }
  return groups;
}

py::list StratumParts(const Findings& findings) {
  py::list strata;
  for (const auto& [number, stratum] : findings.strata) {
    py::dict part;
    part["stratum"] = number;
    part["begin_us"] = stratum.begin_us;
    part["end_us"] = stratum.end_us;
    part["groups"] = GroupParts(stratum);
    strata.append(part);
  }
  return strata;
}

py::list GapParts(const Findings& findings) {
  py::list gaps;
  for (const counters::Gap& gap : findings.gaps) {
    py::dict part;
    part["begin_us"] = gap.begin_us;
    part["end_us"] = gap.end_us;
    part["reason"] = gap.error.name();
    part["call"] = gap.error.call();
    part["code"] = gap.error.code();
    part["remedy"] = gap.error.remedy();
    gaps.append(part);
  }
  return gaps;
}

py::list MetricParts(const counters::Group& group) {
  py::list metrics;
  for (const std::string& name : group.metrics) {
    const counters::Metric* metric = counters::FindMetric(name);
    py::dict part;
    part["name"] = name;
    part["precision"] = metric->precision;
    part["kind"] = KindName(metric->kind);
    part["weight"] = metric->weight;
    metrics.append(part);
  }
  return metrics;
}

py::dict PlannedPart(const cupti::DeviceInfo& info, const counters::Plan& plan) {
  py::dict device;
  device["device"] = "cuda:" + std::to_string(info.ordinal);
  device["name"] = info.name;
  device["uuid"] = info.uuid;
  device["capability"] = info.capability;
  device["chip"] = plan.chip;
  device["multiprocessors"] = info.multiprocessors;
  device["clock_khz"] = info.clock_khz;
  py::list groups;
  for (const counters::Group& group : plan.groups) {
    py::dict part;
    part["role"] = RoleName(group.role);
    part["metrics"] = MetricParts(group);
    groups.append(part);
  }
  py::list unsupported;
  for (const auto& metric : plan.unsupported) unsupported.append(metric.metric);
  py::dict part;
  part["device"] = device;
  part["groups"] = groups;
  part["unsupported"] = unsupported;
  return part;
}

py::dict ContextPart(const CountedContext& context) {
  py::dict part = PlannedPart(context.device, context.plan);
  part["begin_us"] = context.begin_us;
  return part;
}

std::unique_ptr<ContextMeter> MakeMeter(const FoundContext& context, std::uint64_t seed,
                                        std::optional<std::pair<std::int64_t, std::int64_t>> slots,
                                        bool cuda_core) {
  counters::MeterSettings settings;
  settings.seed = seed;
  settings.schedule.cuda_core_windows = cuda_core ? 1 : 0;
  if (slots) settings.UseSlots(slots->first, slots->second);
  return std::make_unique<ContextMeter>(LoadedCupti::Get().library(), context, settings);
}

// With the driver that its windows are opened through.
class Windows {
 public:
  explicit Windows(const FoundContext& context)
      : windows_(std::in_place, LoadedCupti::Get().library(), driver_, context.handle,
                 driver_.Describe(context.device), &ProcessGate()) {}

  counters::ChosenWindows& get() {
    if (!windows_) throw cupti::CuptiError("open a window", 0, "they were closed", {});
    return *windows_;
  }
  void Close() { windows_.reset(); }

 private:
  cupti::Driver driver_ = cupti::Driver::FromMapped();
  std::optional<counters::ChosenWindows> windows_;
};

void DefineWindows(py::module_& module) {
  // Not yet closed, its destructor ends a session.
  py::class_<Windows>(module, "ChosenWindows", py::release_gil_before_calling_cpp_dtor())
      .def(py::init<const FoundContext&>(), py::arg("context"), NoGil())
      .def_property_readonly(
          "plan", [](Windows& w) { return PlannedPart(w.get().device(), w.get().plan()); })
      .def(
          "begin", [](Windows& w, std::size_t group) { w.get().Begin(group); }, py::arg("group"),
          NoGil())
      .def(
          "end", [](Windows& w) { return w.get().End(); }, NoGil())
      .def("close", &Windows::Close, NoGil());
}

void DefineContexts(py::module_& module) {
  py::class_<FoundContext>(module, "CudaContext")
      .def_property_readonly(
          "handle",
          [](const FoundContext& c) { return reinterpret_cast<std::uintptr_t>(c.handle); })
      .def_readonly("device", &FoundContext::device)
      .def_readonly("primary", &FoundContext::primary);
  module.def("cuda_contexts", &FindContexts, NoGil());
  module.def("driver_version", &DriverVersion, NoGil());
  py::class_<Settling>(module, "Settling")
      .def(py::init<std::vector<FoundContext>>(), py::arg("contexts"), NoGil())
      .def(
          "done", [](Settling& s, double patience_s) { return s.Done(Microseconds(patience_s)); },
          py::arg("patience_s"), NoGil());
}

}  // namespace

void DefineMeter(py::module_& module) {
  DefineContexts(module);
  DefineWindows(module);
  py::class_<Findings>(module, "Findings")
      .def_property_readonly("context", [](const Findings& f) { return ContextPart(f.context); })
      .def_property_readonly("strata", &StratumParts)
      .def_property_readonly("gaps", &GapParts);
  const auto patience = py::arg("patience_s");
  py::class_<ContextMeter>(module, "ContextMeter")
      .def(py::init(&MakeMeter), py::arg("context"), py::arg("seed"),
           py::arg("slots_us") = std::nullopt, py::arg("cuda_core") = false, NoGil())
      .def(
          "await_window", [](ContextMeter& m, double s) { return m.AwaitWindow(Microseconds(s)); },
          patience, NoGil())
      .def("ask_cut", &ContextMeter::AskCut, NoGil())
      .def(
          "await_cut",
          [](ContextMeter& m, Ticket t, double s) { return m.AwaitCut(t, Microseconds(s)); },
          py::arg("ticket"), patience, NoGil())
      .def("take", &ContextMeter::Take, NoGil())
      .def("stop", &ContextMeter::Stop, NoGil())
      .def(
          "ended", [](ContextMeter& m, double s) { return m.Ended(Microseconds(s)); }, patience,
          NoGil())
      .def_property_readonly("lost", py::cpp_function(&ContextMeter::IsLost, NoGil()));
  module.def("set_clock_zero", &journal::SetClockZero, py::arg("zero_us"));
  module.def("capturing", [] { return ProcessGate().capturing(); });
  module.def("captures_are_announced", [] { ProcessGate().CapturesAreAnnounced(); }, NoGil());
  module.def("capture_begins", [] { ProcessGate().CaptureBegins(); }, NoGil());
  module.def("capture_ends", [] { ProcessGate().CaptureEnds(); }, NoGil());
}

}  // namespace ftprof
