// The schedule for Python, whose tests draw it against the estimator.
#include "python/schedule_module.h"

#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "counters/schedule.h"

namespace ftprof {
namespace {

namespace py = pybind11;
using counters::Role;
using counters::Schedule;
using counters::ScheduleSettings;
using counters::Slot;

Role RoleOf(const std::string& name) {
  for (const Role role : {Role::kBase, Role::kRotating, Role::kCudaCore, Role::kLink,
                          Role::kInteger, Role::kSparse}) {
    if (name == counters::RoleName(role)) return role;
  }
  throw std::invalid_argument("no role: " + name);
}

Schedule MakeSchedule(const std::vector<std::string>& names, const ScheduleSettings& settings,
                      std::uint64_t seed) {
  std::vector<Role> roles;
  roles.reserve(names.size());
  for (const std::string& name : names) roles.push_back(RoleOf(name));
  return Schedule(roles, settings, seed);
}

std::vector<std::tuple<std::uint32_t, std::size_t, std::int64_t>> Take(Schedule& schedule,
                                                                       std::size_t count) {
  std::vector<std::tuple<std::uint32_t, std::size_t, std::int64_t>> slots;
  slots.reserve(count);
  for (; count > 0; --count) {
    const Slot slot = schedule.Next();
    slots.emplace_back(slot.stratum, slot.group, slot.length_us);
  }
  return slots;
}

}  // namespace

void DefineSchedule(py::module_& module) {
  py::class_<ScheduleSettings>(module, "ScheduleSettings")
      .def(py::init<>())
      .def_readwrite("first_slot_us", &ScheduleSettings::first_slot_us)
      .def_readwrite("longest_slot_us", &ScheduleSettings::longest_slot_us)
      .def_readwrite("longest_cuda_core_slot_us", &ScheduleSettings::longest_cuda_core_slot_us)
      .def_readwrite("change_us", &ScheduleSettings::change_us)
      .def_readwrite("change_share", &ScheduleSettings::change_share)
      .def_readwrite("slots", &ScheduleSettings::slots)
      .def_readwrite("strata_of_turn", &ScheduleSettings::strata_of_turn)
      .def_readwrite("turns_of_length", &ScheduleSettings::turns_of_length)
      .def_readwrite("other_windows", &ScheduleSettings::other_windows)
      .def_readwrite("cuda_core_windows", &ScheduleSettings::cuda_core_windows)
      .def_readwrite("most_percent", &ScheduleSettings::most_percent);
  py::class_<Schedule>(module, "Schedule")
      .def(py::init(&MakeSchedule), py::arg("roles"), py::arg("settings"), py::arg("seed"))
      .def("take", &Take, py::arg("count"));
  module.def("longest_exact_slot", &counters::LongestExactSlot, py::arg("counts_per_second"));
}

}  // namespace ftprof
