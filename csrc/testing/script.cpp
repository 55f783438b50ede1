// Stand-in for tests, never shipped: reads the script.
#include "testing/script.h"

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace ftprof::standin {
namespace {

using Setters = std::map<std::string, std::function<void(const Json&)>>;

// An unknown key is an error: a test whose setting is misspelt must not pass.
void Apply(const Json& object, const char* what, const Setters& setters) {
  for (const auto& [key, value] : object.Object()) {
    const auto setter = setters.find(key);
    if (setter == setters.end()) {
      throw std::runtime_error(std::string("script: ") + what + " has no setting " + key);
    }
    setter->second(value);
  }
}

std::string DefaultUuid(std::size_t index) {
  char text[64];
  std::snprintf(text, sizeof text, "GPU-f7a90000-0000-4000-8000-%012zx", index);
  return text;
}

void ReadCapability(const std::string& text, DeviceScript* device) {
  if (std::sscanf(text.c_str(), "%d.%d", &device->capability_major, &device->capability_minor) !=
      2) {
    throw std::runtime_error("script: a capability is no MAJOR.MINOR");
  }
}

DeviceScript ReadDevice(const Json& json, std::size_t index) {
  DeviceScript device;
  device.uuid = DefaultUuid(index);
  const auto lost = [&device](const Json& value) {
    Apply(value, "lost",
          {{"after_us", [&](const Json& v) { device.lost_after_us = v.Count(); }},
           {"code", [&](const Json& v) { device.lost_code = static_cast<int>(v.Integer()); }},
           {"cupti_code",
            [&](const Json& v) { device.lost_cupti_code = static_cast<int>(v.Integer()); }}});
  };
  Apply(json, "a device",
        {{"name", [&](const Json& v) { device.name = v.String(); }},
         {"uuid", [&](const Json& v) { device.uuid = v.String(); }},
         {"chip", [&](const Json& v) { device.chip = v.String(); }},
         {"capability", [&](const Json& v) { ReadCapability(v.String(), &device); }},
         {"multiprocessors",
          [&](const Json& v) { device.multiprocessors = static_cast<int>(v.Integer()); }},
         {"clock_khz", [&](const Json& v) { device.clock_khz = static_cast<int>(v.Integer()); }},
         {"memory_mib", [&](const Json& v) { device.memory_mib = v.Count(); }},
         {"lost", lost}});
  return device;
}

std::vector<DeviceScript> ReadDevices(const Json& json) {
  std::vector<DeviceScript> devices;
  if (json.type() == Json::Type::kNumber) {
    devices.resize(json.Count());
    for (std::size_t i = 0; i < devices.size(); ++i) devices[i].uuid = DefaultUuid(i);
    return devices;
  }
  for (const Json& device : json.Array()) devices.push_back(ReadDevice(device, devices.size()));
  return devices;
}

std::vector<DeviceScript> OneDevice() {
  DeviceScript device;
  device.uuid = DefaultUuid(0);
  return {device};
}

KernelScript ReadKernel(const std::string& name, const Json& json) {
  KernelScript kernel;
  kernel.name = name;
  for (const auto& [key, value] : json.Object()) {
    if (key == "duration_us") {
      kernel.duration_ns = static_cast<std::uint64_t>(value.Number() * 1000);
    } else if (key == "cycles") {
      kernel.cycles = value.Count();
    } else {
      kernel.counts[WithoutTwin(key)] = value.Count();
    }
  }
  return kernel;
}

CallRule ReadRule(const Json& json) {
  CallRule rule;
  const auto variable = [&rule](const Json& value) {
    for (const auto& [name, text] : value.Object()) {
      rule.variable = name;
      rule.value = text.String();
    }
  };
  Apply(json, "a rule",
        {{"call", [&](const Json& v) { rule.call = WithoutVersion(v.String()); }},
         {"nth", [&](const Json& v) { rule.nth = v.Count(); }},
         {"every", [&](const Json& v) { rule.every = v.Bool(); }},
         {"after_us", [&](const Json& v) { rule.after_us = v.Count(); }},
         {"times", [&](const Json& v) { rule.times = v.Count(); }},
         {"device", [&](const Json& v) { rule.device = static_cast<int>(v.Integer()); }},
         {"threads", [&](const Json& v) { rule.in_program = v.String() == "program"; }},
         {"env", variable},
         {"code", [&](const Json& v) { rule.code = static_cast<int>(v.Integer()); }},
         {"us", [&](const Json& v) { rule.delay_us = v.Count(); }},
         {"set", [&](const Json& v) { rule.set = v; }}});
  if (rule.call.empty()) throw std::runtime_error("script: a rule names no call");
  if (rule.times == 0 && !rule.every && !rule.delay_us) rule.times = 1;
  return rule;
}

void ReadRules(const Json& json, std::vector<CallRule>* rules) {
  for (const Json& rule : json.Array()) rules->push_back(ReadRule(rule));
}

TraceLevel ReadTrace(const Json& json) {
  if (json.type() == Json::Type::kBool) return json.Bool() ? TraceLevel::kAll : TraceLevel::kNone;
  if (json.String() == "cupti") return TraceLevel::kCupti;
  if (json.String() == "all") return TraceLevel::kAll;
  throw std::runtime_error("script: trace is neither true, false, \"cupti\" nor \"all\"");
}

void ReadLimits(Script* script, Setters* setters) {
  const auto count = [setters](const char* key, std::uint64_t* target) {
    (*setters)[key] = [target](const Json& v) { *target = v.Count(); };
  };
  count("patched_slowdown", &script->patched_slowdown);
  count("queue_limit", &script->queue_limit);
  count("ledger_mib", &script->ledger_mib);
  (*setters)["counter_bits"] = [script](const Json& v) {
    script->counter_bits = static_cast<unsigned>(v.Count());
  };
  (*setters)["driver_version"] = [script](const Json& v) {
    script->driver_version = static_cast<int>(v.Count());
  };
  (*setters)["cupti_version"] = [script](const Json& v) {
    script->cupti_version = static_cast<std::uint32_t>(v.Count());
  };
}

Script FromJson(const Json& json) {
  Script script;
  script.devices = OneDevice();
  const auto rules = [&script](const Json& value) { ReadRules(value, &script.rules); };
  Setters setters = {
      {"devices", [&](const Json& v) { script.devices = ReadDevices(v); }},
      {"kernels",
       [&](const Json& v) {
         for (const auto& [name, kernel] : v.Object()) {
           script.kernels.push_back(ReadKernel(name, kernel));
         }
       }},
      {"failures", rules},
      {"delays", rules},
      {"results", rules},
      {"chips", [&](const Json& v) { script.chips = v; }},
      {"peaks",
       [&](const Json& v) {
         for (const auto& [name, peak] : v.Object()) script.peaks[name] = peak.Number();
       }},
      {"truth_dir", [&](const Json& v) { script.truth_dir = v.String(); }},
      {"trace", [&](const Json& v) { script.trace = ReadTrace(v); }},
      {"time", [&](const Json& v) { script.virtual_time = v.String() == "virtual"; }},
      {"require_current", [&](const Json& v) { script.require_current = v.Bool(); }},
      {"patch_graphs", [&](const Json& v) { script.patch_graphs = v.Bool(); }}};
  ReadLimits(&script, &setters);
  Apply(json, "the script", setters);
  return script;
}

}  // namespace

Script ReadScript(const char* path) {
  if (path == nullptr) return FromJson(Json::Parse("{}"));
  const std::ifstream file(path);
  if (!file) throw std::runtime_error(std::string("script: cannot read ") + path);
  std::ostringstream text;
  text << file.rdbuf();
  return FromJson(Json::Parse(text.str()));
}

const Script& TheScript() {
  // Never destroyed: calls may come until the very end of the process.
  static const Script* script = [] {
    try {
      return new Script(ReadScript(std::getenv("FTPROF_STANDIN_SCRIPT")));
    } catch (const std::exception& error) {
      std::fprintf(stderr, "ftprof stand-in: %s\n", error.what());
      std::abort();
    }
  }();
  return *script;
}

std::string WithoutTwin(const std::string& metric) {
  const std::string suffix = "_realtime";
  if (metric.size() <= suffix.size()) return metric;
  const std::size_t begin = metric.size() - suffix.size();
  return metric.compare(begin, suffix.size(), suffix) == 0 ? metric.substr(0, begin) : metric;
}

std::string WithoutVersion(const std::string& function) {
  std::size_t end = function.size();
  while (end > 0 && std::isdigit(static_cast<unsigned char>(function[end - 1])) != 0) --end;
  if (end < 2 || end == function.size() || function.compare(end - 2, 2, "_v") != 0) return function;
  return function.substr(0, end - 2);
}

}  // namespace ftprof::standin
