// Test client for the stand-ins, never shipped: commands that call the driver.
#pragma once

#include <cuda.h>

#include <string>
#include <vector>

namespace ftprof::standin {

using Words = std::vector<std::string>;

// What the commands work on: the context that was retained or created last, and so on.
struct DriverCommands {
  CUcontext context = nullptr;
  CUstream stream = nullptr;
  CUgraph graph = nullptr;
  CUgraphExec executable = nullptr;

  // Sets *code to what the call answered; false where there is no such command.
  bool Run(const Words& words, int* code, std::string* extra);

 private:
  bool RunContext(const Words& words, int* code, std::string* extra);
  bool RunWork(const Words& words, int* code, std::string* extra);
  int Launch(const std::string& kernel, int times, CUstream on);
};

int Number(const Words& words, std::size_t index);

}  // namespace ftprof::standin
