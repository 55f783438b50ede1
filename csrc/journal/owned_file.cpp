#include "journal/owned_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ftprof::journal {
namespace {

constexpr int kHighDescriptor = 200;

const char* Meaning(int error) noexcept {
  switch (error) {
    case EACCES:
    case EPERM:
      return "not permitted";
    case EDQUOT:
      return "the quota is used up";
    case EFBIG:
      return "the limit on a file's size is reached";
    case EIO:
      return "input or output error";
    case EMFILE:
      return "too many open files in this process";
    case ENFILE:
      return "too many open files on this machine";
    case ENOENT:
      return "no such file or folder";
    case ENOSPC:
      return "no space left";
    case ENOTDIR:
      return "not a folder";
    case EROFS:
      return "the file system is read-only";
    case ESTALE:
      return "the network file system has lost the file";
    default:
      return "system error";
  }
}

int OpenHigh(const char* path, int flags, mode_t mode) noexcept {
  int descriptor;
  do {
    descriptor = open(path, flags, mode);
  } while (descriptor == -1 && errno == EINTR);
  if (descriptor == -1 || descriptor >= kHighDescriptor) return descriptor;
  const int high = fcntl(descriptor, F_DUPFD_CLOEXEC, kHighDescriptor);
  if (high == -1) return descriptor;  // the limit on descriptors is lower than that
  close(descriptor);
  return high;
}

constexpr int kFlags = O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;

}  // namespace

std::string Trouble::Text() const {
  std::string text = what != nullptr ? what : "no trouble";
  if (error != 0) {
    text += ": ";
    text += Meaning(error);
    text += " (errno " + std::to_string(error) + ")";
  }
  return text;
}

OwnedFile& OwnedFile::operator=(OwnedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(device_, other.device_);
  std::swap(inode_, other.inode_);
  return *this;
}

Trouble OwnedFile::Open(const std::string& path, int flags, mode_t mode) {
  Close();
  std::string kept = path;
  const int descriptor = OpenHigh(path.c_str(), kFlags | flags, mode);
  if (descriptor == -1) return {"it cannot be opened", errno};
  struct stat status;
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(descriptor);
    return {"it is no regular file", 0};
  }
  path_ = std::move(kept);
  descriptor_ = descriptor;
  device_ = status.st_dev;
  inode_ = status.st_ino;
  return {};
}

bool OwnedFile::IsOurs() const noexcept {
  struct stat status;
  return descriptor_ >= 0 && fstat(descriptor_, &status) == 0 && status.st_dev == device_ &&
         status.st_ino == inode_;
}

Trouble OwnedFile::TakeBack() noexcept {
  if (!opened()) return {"it is not open", 0};
  if (IsOurs()) return {};
  descriptor_ = -1;  // somebody else's by now
  const int descriptor = OpenHigh(path_.c_str(), kFlags, 0);
  if (descriptor == -1) return {"its descriptor was closed, it cannot be opened again", errno};
  descriptor_ = descriptor;
  if (IsOurs()) return {};
  descriptor_ = -1;
  if (fcntl(descriptor, F_GETFD) == -1) return {"its descriptor was closed again", errno};
  close(descriptor);
  return {"its descriptor was closed, and another file has its name", 0};
}

Trouble OwnedFile::State(FileState* state) const noexcept {
  struct stat status;
  if (fstat(descriptor_, &status) != 0) return {"it cannot be looked at", errno};
  *state = {static_cast<std::uint64_t>(status.st_size), status.st_nlink == 0};
  return {};
}

bool OwnedFile::IsAt(const std::string& path) const noexcept {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
}

Trouble OwnedFile::WriteOnce(std::string_view text) const noexcept {
  ssize_t written;
  do {
    written = write(descriptor_, text.data(), text.size());
  } while (written == -1 && errno == EINTR);
  if (written == -1) return {"it cannot be written", errno};
  if (static_cast<std::size_t>(written) != text.size()) return {"it took a part of a line only", 0};
  return {};
}

Trouble OwnedFile::WriteAll(std::string_view text) const noexcept {
  while (!text.empty()) {
    const ssize_t written = write(descriptor_, text.data(), text.size());
    if (written == 0 || (written == -1 && errno != EINTR)) return {"it cannot be written", errno};
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Trouble OwnedFile::CutTo(std::uint64_t size) const noexcept {
  while (ftruncate(descriptor_, static_cast<off_t>(size)) != 0) {
    if (errno != EINTR) return {"half a line in it cannot be taken back", errno};
  }
  return {};
}

Trouble OwnedFile::Read(std::uint64_t begin, std::uint64_t size, std::string* text) const {
  text->resize(static_cast<std::size_t>(size));
  std::size_t done = 0;
  while (done < text->size()) {
    const ssize_t got = pread(descriptor_, text->data() + done, text->size() - done,
                              static_cast<off_t>(begin + done));
    if (got == 0) return {"it is shorter than it was", 0};
    if (got == -1 && errno != EINTR) return {"it cannot be read", errno};
    if (got > 0) done += static_cast<std::size_t>(got);
  }
  return {};
}

Trouble OwnedFile::Sync() const noexcept {
  while (fsync(descriptor_) != 0) {
    if (errno != EINTR) return {"it cannot be brought to the disk", errno};
  }
  return {};
}

void OwnedFile::CloseInChild() const noexcept {
  if (IsOurs()) close(descriptor_);
}

void OwnedFile::Close() noexcept {
  CloseInChild();
  descriptor_ = -1;
  path_.clear();
}

}  // namespace ftprof::journal
