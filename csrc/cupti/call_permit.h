// Leave to call CUPTI on a context, which somebody else may refuse or put off.
#pragma once

namespace ftprof::cupti {

// What an error says of a call that was not made.
inline constexpr char kForbidden[] = "the context has gone, or the process is ending";

class CallPermit {
 public:
  virtual ~CallPermit() = default;
  // Returns once a call may be made. Throws CuptiError where none may be made any more.
  virtual void Acquire() = 0;
  virtual void Release() noexcept = 0;
  // Set by any thread, and for good: the context has gone, or the process has given up waiting.
  virtual bool IsForbidden() const noexcept = 0;
};

// One call, which is over when this object goes.
class PermittedCall {
 public:
  // The permit may be null: then every call may be made at once.
  explicit PermittedCall(CallPermit* permit) : permit_(permit) {
    if (permit_ != nullptr) permit_->Acquire();
  }
  ~PermittedCall() {
    if (permit_ != nullptr) permit_->Release();
  }
  PermittedCall(const PermittedCall&) = delete;
  PermittedCall& operator=(const PermittedCall&) = delete;

 private:
  CallPermit* permit_;
};

}  // namespace ftprof::cupti
