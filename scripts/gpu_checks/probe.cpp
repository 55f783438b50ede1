// gpu_check's probe: one range-profiler session, call by call and timed, for questions about CUPTI
// itself. Whatever ftprof's own classes do, it does with them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cupti/driver.h"
#include "cupti/error.h"
#include "cupti/host_profiler.h"
#include "cupti/library.h"
#include "cupti/range_profiler.h"

namespace py = pybind11;

namespace ftprof {
namespace {

using cupti::CuptiError;
using Clock = std::chrono::steady_clock;

double MillisecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

template <typename Params>
Params Sized(std::size_t size) {
  Params params{};
  params.structSize = size;
  return params;
}

// The CUPTI of this process and a device's primary context, retained.
class Device {
 public:
  Device(const std::vector<std::pair<std::string, std::string>>& roots, int ordinal)
      : library_(Load(roots)),
        driver_(cupti::Driver::FromMapped()),
        primary_(driver_, ordinal),
        ordinal_(ordinal) {
    driver_.MakeCurrent(primary_.get());
    cupti::InitializeProfiler(library_);
    if (const auto obstacle = cupti::WhyUnsupported(library_, driver_.CurrentDevice())) {
      obstacle_ = obstacle->what();
    }
    chip_ = cupti::ChipName(library_, ordinal);
  }

  const cupti::Library& library() const { return library_; }
  CUcontext context() const { return primary_.get(); }
  const std::string& chip() const { return chip_; }
  const std::string& obstacle() const { return obstacle_; }
  cupti::DeviceInfo Describe() const { return driver_.Describe(ordinal_); }
  int DriverVersion() const { return driver_.Version(); }
  std::vector<std::uint8_t> Availability() const {
    return cupti::CounterAvailability(library_, primary_.get());
  }
  // Makes the context current on the calling thread.
  void Attach(bool relaxed) const {
    driver_.MakeCurrent(primary_.get());
    if (relaxed) driver_.RelaxCaptureMode();
  }

 private:
  static cupti::Library Load(const std::vector<std::pair<std::string, std::string>>& roots) {
    std::vector<cupti::SearchRoot> search;
    for (const auto& [path, origin] : roots) search.push_back({path, origin});
    return cupti::Library::Load(search);
  }

  cupti::Library library_;
  cupti::Driver driver_;
  cupti::PrimaryContext primary_;
  int ordinal_;
  std::string chip_;
  std::string obstacle_;
};

struct Stopped {
  double ms;
  bool all_passes_submitted;
};

struct Decoded {
  double ms;
  std::size_t ranges_dropped;
};

// One at a time for a context. The images are members before the profiler, so that they outlive it.
class Session {
 public:
  Session(const Device& device, std::vector<std::string> metrics, std::size_t ranges)
      : library_(device.library()),
        metrics_(std::move(metrics)),
        ranges_(ranges),
        host_(library_, device.chip(), device.Availability()) {
    host_.AddMetrics(metrics_);
    config_ = host_.ConfigImage();
    passes_ = cupti::NumPasses(library_, config_);
    profiler_ = std::make_unique<cupti::RangeProfiler>(library_, device.context());
    for (const std::string& metric : metrics_) pointers_.push_back(metric.c_str());
    Configure();
  }

  std::size_t passes() const { return passes_; }
  py::bytes image() const { return {reinterpret_cast<const char*>(image_.data()), image_.size()}; }

  // Everything that a window needs before Start. Milliseconds, as of all that follow.
  double Configure() {
    const auto began = Clock::now();
    auto size = Sized<CUpti_RangeProfiler_GetCounterDataSize_Params>(
        CUpti_RangeProfiler_GetCounterDataSize_Params_STRUCT_SIZE);
    size.pRangeProfilerObject = profiler_->get();
    size.pMetricNames = pointers_.data();
    size.numMetrics = pointers_.size();
    size.maxNumOfRanges = ranges_;
    size.maxNumRangeTreeNodes = static_cast<std::uint32_t>(ranges_);
    Check(target().range_get_counter_data_size(&size), "cuptiRangeProfilerGetCounterDataSize");
    image_.resize(size.counterDataSize);
    InitializeImage();
    SetConfig();
    return MillisecondsSince(began);
  }

  // Empties the image; the configuration stays as it is.
  double InitializeImage() {
    const auto began = Clock::now();
    auto image = Sized<CUpti_RangeProfiler_CounterDataImage_Initialize_Params>(
        CUpti_RangeProfiler_CounterDataImage_Initialize_Params_STRUCT_SIZE);
    image.pRangeProfilerObject = profiler_->get();
    image.counterDataSize = image_.size();
    image.pCounterData = image_.data();
    Check(target().range_initialize_image(&image), "cuptiRangeProfilerCounterDataImageInitialize");
    return MillisecondsSince(began);
  }

  double Start() {
    const auto began = Clock::now();
    auto start =
        Sized<CUpti_RangeProfiler_Start_Params>(CUpti_RangeProfiler_Start_Params_STRUCT_SIZE);
    start.pRangeProfilerObject = profiler_->get();
    Check(target().range_start(&start), "cuptiRangeProfilerStart");
    names_.clear();
    return MillisecondsSince(began);
  }

  double Push() {
    const auto began = Clock::now();
    const std::string& name = names_.emplace_back("window " + std::to_string(names_.size()));
    auto push = Sized<CUpti_RangeProfiler_PushRange_Params>(
        CUpti_RangeProfiler_PushRange_Params_STRUCT_SIZE);
    push.pRangeProfilerObject = profiler_->get();
    push.pRangeName = name.c_str();
    Check(target().range_push(&push), "cuptiRangeProfilerPushRange");
    return MillisecondsSince(began);
  }

  double Pop() {
    const auto began = Clock::now();
    auto pop =
        Sized<CUpti_RangeProfiler_PopRange_Params>(CUpti_RangeProfiler_PopRange_Params_STRUCT_SIZE);
    pop.pRangeProfilerObject = profiler_->get();
    Check(target().range_pop(&pop), "cuptiRangeProfilerPopRange");
    return MillisecondsSince(began);
  }

  Stopped Stop() {
    const auto began = Clock::now();
    auto stop = Sized<CUpti_RangeProfiler_Stop_Params>(CUpti_RangeProfiler_Stop_Params_STRUCT_SIZE);
    stop.pRangeProfilerObject = profiler_->get();
    Check(target().range_stop(&stop), "cuptiRangeProfilerStop");
    return {MillisecondsSince(began), stop.isAllPassSubmitted == 1};
  }

  Decoded Decode() {
    const auto began = Clock::now();
    auto decode = Sized<CUpti_RangeProfiler_DecodeData_Params>(
        CUpti_RangeProfiler_DecodeData_Params_STRUCT_SIZE);
    decode.pRangeProfilerObject = profiler_->get();
    Check(target().range_decode(&decode), "cuptiRangeProfilerDecodeData");
    return {MillisecondsSince(began), decode.numOfRangeDropped};
  }

  // A row for each range in the image.
  std::vector<std::vector<double>> Values() const {
    auto info = Sized<CUpti_RangeProfiler_GetCounterDataInfo_Params>(
        CUpti_RangeProfiler_GetCounterDataInfo_Params_STRUCT_SIZE);
    info.pCounterDataImage = image_.data();
    info.counterDataImageSize = image_.size();
    Check(target().range_get_info(&info), "cuptiRangeProfilerGetCounterDataInfo");
    std::vector<std::vector<double>> rows;
    for (std::size_t range = 0; range < info.numTotalRanges; ++range) {
      rows.push_back(host_.Evaluate(image_, range, metrics_));
    }
    return rows;
  }

  void Disable() { profiler_.reset(); }

 private:
  const cupti::TargetApi& target() const { return library_.target(); }
  void Check(CUptiResult result, const char* call) const { library_.Check(result, call); }

  void SetConfig() {
    auto config = Sized<CUpti_RangeProfiler_SetConfig_Params>(
        CUpti_RangeProfiler_SetConfig_Params_STRUCT_SIZE);
    config.pRangeProfilerObject = profiler_->get();
    config.configSize = config_.size();
    config.pConfig = config_.data();
    config.counterDataImageSize = image_.size();
    config.pCounterDataImage = image_.data();
    config.range = CUPTI_UserRange;
    config.replayMode = CUPTI_UserReplay;
    config.maxRangesPerPass = ranges_;
    config.numNestingLevels = 1;
    config.minNestingLevel = 1;
    config.passIndex = 0;
    config.targetNestingLevel = 1;
    Check(target().range_set_config(&config), "cuptiRangeProfilerSetConfig");
  }

  const cupti::Library& library_;
  std::vector<std::string> metrics_;
  std::size_t ranges_;
  cupti::HostProfiler host_;
  std::vector<const char*> pointers_;
  std::size_t passes_ = 0;
  std::vector<std::uint8_t> config_;
  std::vector<std::uint8_t> image_;
  std::deque<std::string> names_;  // whether CUPTI copies them is not documented
  std::unique_ptr<cupti::RangeProfiler> profiler_;
};

// The values that this CUPTI gives for a recorded image. Needs no GPU.
std::vector<double> Evaluate(const std::vector<std::pair<std::string, std::string>>& roots,
                             const std::string& chip, const std::string& availability,
                             const std::string& image, const std::vector<std::string>& metrics) {
  std::vector<cupti::SearchRoot> search;
  for (const auto& [path, origin] : roots) search.push_back({path, origin});
  static const cupti::Library library = cupti::Library::Load(search);
  const cupti::HostProfiler host(library, chip, {availability.begin(), availability.end()});
  return host.Evaluate({image.begin(), image.end()}, 0, metrics);
}

void RegisterError(py::module_& module) {
  static py::handle type = PyErr_NewException("ftprof_probe.Error", PyExc_RuntimeError, nullptr);
  module.attr("Error") = type;
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const CuptiError& error) {
      const py::object value = type(error.what());
      value.attr("call") = error.call();
      value.attr("code") = error.code();
      value.attr("name") = error.name();
      value.attr("remedy") = error.remedy();
      PyErr_SetObject(type.ptr(), value.ptr());
    }
  });
}

}  // namespace
}  // namespace ftprof

PYBIND11_MODULE(ftprof_probe, module) {
  using namespace ftprof;
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  RegisterError(module);
  py::class_<Device>(module, "Device")
      .def(py::init<const std::vector<std::pair<std::string, std::string>>&, int>(),
           py::arg("search_roots"), py::arg("ordinal") = 0, no_gil)
      .def_property_readonly("chip", &Device::chip)
      .def_property_readonly("obstacle", &Device::obstacle)
      .def_property_readonly("cupti_path", [](const Device& d) { return d.library().info().path; })
      .def_property_readonly("cupti_version",
                             [](const Device& d) { return d.library().info().version; })
      .def_property_readonly("cupti_origin",
                             [](const Device& d) { return d.library().info().origin; })
      .def_property_readonly("driver_version", &Device::DriverVersion)
      .def_property_readonly("name", [](const Device& d) { return d.Describe().name; })
      .def_property_readonly("capability", [](const Device& d) { return d.Describe().capability; })
      .def_property_readonly("multiprocessors",
                             [](const Device& d) { return d.Describe().multiprocessors; })
      .def_property_readonly("clock_khz", [](const Device& d) { return d.Describe().clock_khz; })
      .def("availability",
           [](const Device& d) {
             const auto image = d.Availability();
             return py::bytes(reinterpret_cast<const char*>(image.data()), image.size());
           })
      .def("attach", &Device::Attach, py::arg("relaxed"), no_gil);
  py::class_<Stopped>(module, "Stopped")
      .def_readonly("ms", &Stopped::ms)
      .def_readonly("all_passes_submitted", &Stopped::all_passes_submitted);
  py::class_<Decoded>(module, "Decoded")
      .def_readonly("ms", &Decoded::ms)
      .def_readonly("ranges_dropped", &Decoded::ranges_dropped);
  py::class_<Session>(module, "Session")
      .def(py::init<const Device&, std::vector<std::string>, std::size_t>(), py::arg("device"),
           py::arg("metrics"), py::arg("ranges") = 1, py::keep_alive<1, 2>(), no_gil)
      .def_property_readonly("passes", &Session::passes)
      .def("image", &Session::image)
      .def("configure", &Session::Configure, no_gil)
      .def("initialize_image", &Session::InitializeImage, no_gil)
      .def("start", &Session::Start, no_gil)
      .def("push", &Session::Push, no_gil)
      .def("pop", &Session::Pop, no_gil)
      .def("stop", &Session::Stop, no_gil)
      .def("decode", &Session::Decode, no_gil)
      .def("values", &Session::Values, no_gil)
      .def("disable", &Session::Disable, no_gil);
  module.def(
      "evaluate",
      [](const std::vector<std::pair<std::string, std::string>>& roots, const std::string& chip,
         const py::bytes& availability, const py::bytes& image,
         const std::vector<std::string>& metrics) {
        return Evaluate(roots, chip, availability, image, metrics);
      },
      py::arg("search_roots"), py::arg("chip"), py::arg("availability"), py::arg("image"),
      py::arg("metrics"));
}
