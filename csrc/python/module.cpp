// The Python module ftprof._native. It translates; it decides nothing.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "counters/cupti_chip.h"
#include "counters/metric_catalogue.h"
#include "counters/plan.h"
#include "cupti/error.h"
#include "cupti/host_profiler.h"
#include "python/device_chips.h"
#include "python/loaded_cupti.h"
#include "python/meter_module.h"
#include "python/recorded_image.h"
#include "python/schedule_module.h"
#include "python/without_gil.h"

namespace py = pybind11;

namespace ftprof {
namespace {

LoadedCupti& Loaded() { return LoadedCupti::Get(); }

std::vector<std::string> Chips() { return Loaded().With(cupti::SupportedChips); }

counters::Plan PlanFor(const std::string& chip) {
  return Loaded().With([&](const cupti::Library& library) {
    return counters::MakePlan(counters::ChipFromCupti(library, chip));
  });
}

std::vector<std::string> BaseMetrics(const std::string& chip) {
  return Loaded().With([&](const cupti::Library& library) {
    return cupti::HostProfiler(library, chip).BaseMetrics();
  });
}

std::vector<std::string> SubMetrics(const std::string& chip, const std::string& metric) {
  return Loaded().With([&](const cupti::Library& library) {
    return cupti::HostProfiler(library, chip).SubMetrics(metric);
  });
}

std::optional<cupti::MetricProperties> Properties(const std::string& chip,
                                                  const std::string& metric) {
  return Loaded().With([&](const cupti::Library& library) {
    return cupti::HostProfiler(library, chip).Properties(metric);
  });
}

std::size_t Passes(const std::string& chip, const std::vector<std::string>& metrics) {
  return Loaded().With(
      [&](const cupti::Library& library) { return cupti::NumPasses(library, chip, metrics); });
}

py::object ErrorObject(py::handle type, const cupti::CuptiError& error) {
  py::object value = type(error.what());
  value.attr("call") = error.call();
  value.attr("code") = error.code();
  value.attr("name") = error.name();
  value.attr("remedy") = error.remedy();
  return value;
}

void RegisterError(py::module_& module) {
  static py::handle type =
      PyErr_NewException("ftprof._native.CuptiError", PyExc_RuntimeError, nullptr);
  module.attr("CuptiError") = type;
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const cupti::CuptiError& error) {
      PyErr_SetObject(type.ptr(), ErrorObject(type, error).ptr());
    }
  });
}

void DefineTypes(py::module_& module) {
  const py::object error_type = module.attr("CuptiError");
  py::class_<DeviceChip>(module, "DeviceChip")
      .def_readonly("uuid", &DeviceChip::uuid)
      .def_readonly("chip", &DeviceChip::chip)
      .def_property_readonly("failure", [error_type](const DeviceChip& device) -> py::object {
        if (!device.failure) return py::none();
        return ErrorObject(error_type, *device.failure);
      });
  py::class_<cupti::LibraryInfo>(module, "LibraryInfo")
      .def_readonly("path", &cupti::LibraryInfo::path)
      .def_readonly("version", &cupti::LibraryInfo::version)
      .def_readonly("api_version", &cupti::LibraryInfo::api_version)
      .def_readonly("origin", &cupti::LibraryInfo::origin)
      .def_readonly("warning", &cupti::LibraryInfo::warning);
  py::class_<cupti::MetricProperties>(module, "MetricProperties")
      .def_readonly("description", &cupti::MetricProperties::description)
      .def_readonly("hardware_unit", &cupti::MetricProperties::hardware_unit)
      .def_readonly("dimension", &cupti::MetricProperties::dimension);
  py::class_<counters::Metric>(module, "Metric")
      .def_readonly("name", &counters::Metric::name)
      .def_readonly("precision", &counters::Metric::precision)
      .def_property_readonly("kind", [](const counters::Metric& m) { return KindName(m.kind); })
      .def_property_readonly("unit", [](const counters::Metric& m) { return UnitName(m.unit); })
      .def_readonly("weight", &counters::Metric::weight)
      .def_readonly("parent", &counters::Metric::parent);
  py::class_<counters::Group>(module, "Group")
      .def_property_readonly("role", [](const counters::Group& g) { return RoleName(g.role); })
      .def_readonly("metrics", &counters::Group::metrics)
      .def_readonly("passes", &counters::Group::passes);
  py::class_<counters::Unsupported>(module, "Unsupported")
      .def_readonly("metric", &counters::Unsupported::metric)
      .def_readonly("reason", &counters::Unsupported::reason);
  py::class_<counters::Plan>(module, "Plan")
      .def_readonly("chip", &counters::Plan::chip)
      .def_readonly("groups", &counters::Plan::groups)
      .def_readonly("unsupported", &counters::Plan::unsupported)
      .def_readonly("questions", &counters::Plan::questions);
}

void DefineFunctions(py::module_& module) {
  const auto no_gil = py::call_guard<WithoutGil>();
  module.def(
      "load_cupti",
      [](const std::vector<std::pair<std::string, std::string>>& search_roots) {
        return Loaded().Load(search_roots);
      },
      py::arg("search_roots"), no_gil);
  module.def("chips", &Chips, no_gil);
  module.def("plan", &PlanFor, py::arg("chip"), no_gil);
  module.def("base_metrics", &BaseMetrics, py::arg("chip"), no_gil);
  module.def("sub_metrics", &SubMetrics, py::arg("chip"), py::arg("metric"), no_gil);
  module.def("properties", &Properties, py::arg("chip"), py::arg("metric"), no_gil);
  module.def("passes", &Passes, py::arg("chip"), py::arg("metrics"), no_gil);
  module.def(
      "evaluate",
      [](const std::string& chip, const std::vector<std::string>& metrics, const py::bytes& image,
         const std::string& sha256, const py::bytes& availability) {
        const std::string bytes = image;
        const std::string available = availability;
        const WithoutGil without_gil;
        return CountsOfRecorded(chip, metrics, bytes, sha256, available);
      },
      py::arg("chip"), py::arg("metrics"), py::arg("image"), py::arg("sha256"),
      py::arg("availability") = py::bytes());
  module.def("device_chips", &DeviceChips, no_gil);
  module.def("catalogue", &counters::Catalogue);
  module.def(
      "find_metric", [](const std::string& name) { return counters::FindMetric(name); },
      py::arg("name"), py::return_value_policy::reference);
}

}  // namespace
}  // namespace ftprof

PYBIND11_MODULE(_native, module) {
  module.doc() = "CUPTI's host API, ftprof's planner, and its meter in this process.";
  ftprof::RegisterError(module);
  ftprof::DefineTypes(module);
  ftprof::DefineFunctions(module);
  ftprof::DefineMeter(module);
  ftprof::DefineSchedule(module);
}
