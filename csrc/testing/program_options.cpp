// Test program for the stand-ins, never shipped: its command line.
#include "testing/program_options.h"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <sstream>

namespace ftprof::standin {
namespace {

[[noreturn]] void Bad(const std::string& what) {
  std::fprintf(stderr, "standin_program: %s\n", what.c_str());
  std::exit(2);
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

KernelOption ParseKernel(const std::string& text) {
  KernelOption kernel;
  char name[64] = "";
  unsigned long long count = 0;
  const int read =
      std::sscanf(text.c_str(), "%63[^:]:%llu@%lf-%lf", name, &count, &kernel.from, &kernel.to);
  if (read != 2 && read != 4) Bad("a kernel is no NAME:COUNT or NAME:COUNT@FROM-TO: " + text);
  kernel.name = name;
  kernel.count = count;
  return kernel;
}

ForkMoment ParseFork(const std::string& text) {
  if (text == "before") return ForkMoment::kBefore;
  if (text == "after") return ForkMoment::kAfter;
  if (text == "exec") return ForkMoment::kExec;
  Bad("--fork takes before, after or exec");
}

using Flags = std::map<std::string, bool*>;
using Values = std::map<std::string, std::function<void(const std::string&)>>;

Flags FlagsOf(ProgramOptions* options) {
  return {{"--graphs", &options->graphs},       {"--capture", &options->capture},
          {"--print", &options->print},         {"--create-context", &options->create_context},
          {"--subscribe", &options->subscribe}, {"--reset", &options->reset}};
}

Values ValuesOf(ProgramOptions* options) {
  return {{"--threads", [=](const std::string& v) { options->threads = std::atoi(v.c_str()); }},
          {"--processes", [=](const std::string& v) { options->processes = std::atoi(v.c_str()); }},
          {"--seconds", [=](const std::string& v) { options->seconds = std::atof(v.c_str()); }},
          {"--rounds",
           [=](const std::string& v) { options->rounds = std::strtoull(v.c_str(), nullptr, 10); }},
          {"--exit-code", [=](const std::string& v) { options->exit_code = std::atoi(v.c_str()); }},
          {"--end", [=](const std::string& v) { options->end = v; }},
          {"--fork", [=](const std::string& v) { options->fork = ParseFork(v); }},
          {"--kernels",
           [=](const std::string& v) {
             for (const std::string& part : Split(v, ',')) {
               options->kernels.push_back(ParseKernel(part));
             }
           }},
          {"--devices", [=](const std::string& v) {
             options->devices.clear();
             for (const std::string& part : Split(v, ',')) {
               options->devices.push_back(std::atoi(part.c_str()));
             }
           }}};
}

}  // namespace

ProgramOptions ParseOptions(int argc, char** argv) {
  ProgramOptions options;
  const Flags flags = FlagsOf(&options);
  const Values values = ValuesOf(&options);
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--no-synchronize") {
      options.synchronize = false;
    } else if (const auto flag = flags.find(name); flag != flags.end()) {
      *flag->second = true;
    } else if (const auto value = values.find(name); value != values.end() && i + 1 < argc) {
      value->second(argv[++i]);
    } else {
      Bad("no option " + name + ", or it has no value");
    }
  }
  if (options.rounds == 0 || options.devices.empty()) Bad("no rounds or no devices");
  options.graphs = options.graphs || options.capture;
  return options;
}

}  // namespace ftprof::standin
