# Finds the headers of CUPTI and CUDA, and checks that they are of one minor version.
#
# FTPROF_HEADER_ROOTS  site-packages folders that may hold NVIDIA's wheels, in order
# FTPROF_TOOLKITS      folders of CUDA toolkits, tried after the wheels
# The first place that has all the headers is taken. Defines the target ftprof_cuda_headers.

set(FTPROF_HEADER_ROOTS "" CACHE STRING "Folders that may hold NVIDIA's header wheels")
set(FTPROF_TOOLKITS "$ENV{CUDA_HOME};$ENV{CUDA_PATH};/usr/local/cuda"
    CACHE STRING "Folders of CUDA toolkits")
set(_needed cupti.h nvperf_target.h cuda.h cuda_runtime_api.h crt/host_defines.h)
set(_remedy
    "install nvidia-cuda-cupti, nvidia-cuda-runtime and nvidia-cuda-crt, all ==13.0.*, or set CUDA_HOME")

set(_places "")
foreach(_root IN LISTS FTPROF_HEADER_ROOTS)
  list(APPEND _places "${_root}/nvidia/cu13/include")
  list(APPEND _places
       "${_root}/nvidia/cuda_cupti/include|${_root}/nvidia/cuda_runtime/include|${_root}/nvidia/cuda_nvcc/include")
endforeach()
foreach(_toolkit IN LISTS FTPROF_TOOLKITS)
  if(_toolkit)
    list(APPEND _places "${_toolkit}/include|${_toolkit}/extras/CUPTI/include")
  endif()
endforeach()

set(FTPROF_CUDA_INCLUDE_DIRS "")
set(_incomplete "")
foreach(_place IN LISTS _places)
  string(REPLACE "|" ";" _dirs "${_place}")
  set(_missing "")
  set(_found "")
  foreach(_header IN LISTS _needed)
    unset(_dir)
    find_path(_dir "${_header}" PATHS ${_dirs} NO_DEFAULT_PATH NO_CACHE)
    if(_dir)
      string(REGEX REPLACE "/+$" "" _dir "${_dir}")
      list(APPEND _found "${_dir}")
    else()
      list(APPEND _missing "${_header}")
    endif()
  endforeach()
  if(NOT _missing)
    list(REMOVE_DUPLICATES _found)
    set(FTPROF_CUDA_INCLUDE_DIRS "${_found}")
    break()
  elseif(_found)
    string(APPEND _incomplete "\n  ${_found} lacks ${_missing}")
  endif()
endforeach()
if(NOT FTPROF_CUDA_INCLUDE_DIRS)
  message(FATAL_ERROR "No CUPTI and CUDA headers found: ${_remedy}.${_incomplete}")
endif()

# Reads a version macro and gives it as major.minor; divisor is what one minor version is worth.
function(ftprof_header_version header macro divisor result)
  find_path(_dir "${header}" PATHS ${FTPROF_CUDA_INCLUDE_DIRS} NO_DEFAULT_PATH NO_CACHE)
  file(STRINGS "${_dir}/${header}" _line REGEX "#define ${macro}[ \t]+[0-9]+")
  string(REGEX MATCH "[0-9]+" _number "${_line}")
  if(NOT _number)
    message(FATAL_ERROR "${_dir}/${header} defines no ${macro}")
  endif()
  if("${macro}" STREQUAL "CUPTI_API_VERSION" AND _number LESS 130000)
    message(FATAL_ERROR "${_dir}/${header} is older than CUDA 13.0: ${_remedy}.")
  endif()
  math(EXPR _minor "${_number} / ${divisor} % 100")
  math(EXPR _major "${_number} / ${divisor} / 100")
  set(${result} "${_major}.${_minor}" PARENT_SCOPE)
endfunction()

ftprof_header_version(cupti_version.h CUPTI_API_VERSION 100 FTPROF_CUPTI_HEADER_VERSION)
ftprof_header_version(cuda.h CUDA_VERSION 10 _cuda)
ftprof_header_version(cuda_runtime_api.h CUDART_VERSION 10 _runtime)
foreach(_other IN ITEMS "cuda.h|${_cuda}" "cuda_runtime_api.h|${_runtime}")
  string(REPLACE "|" ";" _other "${_other}")
  list(GET _other 0 _header)
  list(GET _other 1 _version)
  if(NOT _version STREQUAL FTPROF_CUPTI_HEADER_VERSION)
    message(FATAL_ERROR "The headers are of different CUDA versions: cupti.h of "
                        "${FTPROF_CUPTI_HEADER_VERSION}, ${_header} of ${_version} in "
                        "${FTPROF_CUDA_INCLUDE_DIRS}: ${_remedy}.")
  endif()
endforeach()

# The headers of nvidia-cuda-crt carry no version, but its wheel does.
foreach(_root IN LISTS FTPROF_HEADER_ROOTS)
  file(GLOB _crt "${_root}/nvidia_cuda_crt-*.dist-info")
  list(FIND FTPROF_CUDA_INCLUDE_DIRS "${_root}/nvidia/cu13/include" _used)
  if(_crt AND NOT _used EQUAL -1 AND NOT _crt MATCHES "nvidia_cuda_crt-${FTPROF_CUPTI_HEADER_VERSION}\\.")
    message(FATAL_ERROR "The headers are of different CUDA versions: cupti.h of "
                        "${FTPROF_CUPTI_HEADER_VERSION}, but ${_crt}: ${_remedy}.")
  endif()
endforeach()

message(STATUS "CUPTI and CUDA ${FTPROF_CUPTI_HEADER_VERSION} headers: ${FTPROF_CUDA_INCLUDE_DIRS}")
add_library(ftprof_cuda_headers INTERFACE)
# SYSTEM: NVIDIA's headers are not clean under our warnings.
target_include_directories(ftprof_cuda_headers SYSTEM INTERFACE ${FTPROF_CUDA_INCLUDE_DIRS})
