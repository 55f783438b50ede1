// Test client for the stand-ins, never shipped: runs the commands of its command line one after the
// other and prints what each call answered, as "COMMAND: CODE RESULT".
//
// "2:COMMAND" runs on a second thread, which lives on from one such command to the next;
// "fork:COMMAND" in a forked child; "exit:COMMAND" in an exit handler.
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <sstream>
#include <thread>

#include "testing/client_cupti.h"

using namespace ftprof::standin;

namespace {

// Runs one piece of work at a time and returns when it is done.
class SecondThread {
 public:
  ~SecondThread() {
    Do(nullptr);
    thread_.join();
  }

  void Do(std::function<void()> work) {
    std::unique_lock<std::mutex> lock(mutex_);
    work_ = std::move(work);
    busy_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !busy_; });
  }

 private:
  void Loop() {
    for (bool last = false; !last;) {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return busy_; });
      last = !work_;
      if (work_) work_();
      busy_ = false;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> work_;
  bool busy_ = false;
  std::thread thread_{[this] { Loop(); }};
};

struct Client {
  DriverCommands driver;
  CuptiCommands cupti{&driver};

  void Run(const std::string& command) {
    std::istringstream stream(command);
    Words words;
    for (std::string word; stream >> word;) words.push_back(word);
    int code = 0;
    std::string extra;
    if (words.empty() || (!driver.Run(words, &code, &extra) && !cupti.Run(words, &code, &extra))) {
      std::fprintf(stderr, "standin_client: no command %s\n", command.c_str());
      std::exit(2);
    }
    std::printf("%s: %d%s%s\n", command.c_str(), code, extra.empty() ? "" : " ", extra.c_str());
  }
};

Client& TheClient() {
  static auto* client = new Client;
  return *client;
}

std::string& AtExit() {
  static auto* command = new std::string;
  return *command;
}

void InChild(const std::string& command) {
  (void)std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    TheClient().Run(command);
    (void)std::fflush(stdout);
    _exit(0);
  }
  (void)waitpid(child, nullptr, 0);
}

}  // namespace

int main(int argc, char** argv) {
  SecondThread second;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const std::size_t colon = argument.find(':');
    const std::string where = colon == std::string::npos ? "" : argument.substr(0, colon);
    const std::string command = where.empty() ? argument : argument.substr(colon + 1);
    if (where == "2") {
      second.Do([&command] { TheClient().Run(command); });
    } else if (where == "fork") {
      InChild(command);
    } else if (where == "exit") {
      AtExit() = command;
      (void)std::atexit([] { TheClient().Run(AtExit()); });
    } else {
      TheClient().Run(command);
    }
  }
  return 0;
}
