// The two Perfworks libraries that libcupti opens by bare name.
#pragma once

#include <string>

#include "cupti/shared_object.h"
#include "cupti/version.h"

namespace ftprof::cupti {

// libnvperf_host and libnvperf_target of one folder. libcupti opens them by their bare, unversioned
// name when it is first used, and takes whatever the process has mapped under that name. So they
// are mapped from libcupti's own folder before it.
struct Perfworks {
  SharedObject host;
  SharedObject target;
  Version version;
};

// Throws CuptiError where one is missing, is mapped from elsewhere, or the two do not match.
Perfworks LoadPerfworks(const std::string& folder);

}  // namespace ftprof::cupti
