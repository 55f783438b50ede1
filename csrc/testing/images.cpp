// Stand-in for tests, never shipped: config and counter-data images.
//
// Both begin with a magic number and a hash of the rest, so that a change is noticed.
#include "testing/images.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace ftprof::standin {
namespace {

constexpr std::uint64_t kConfigMagic = 0x6766'6366'7470'6674;
constexpr std::uint64_t kCounterMagic = 0x0041'5441'4450'4f4c;  // as a real one begins: LOPDATA
constexpr std::size_t kHeader = 2 * sizeof(std::uint64_t);
constexpr std::size_t kNameBytes = 128;

class Writer {
 public:
  void Number(std::uint64_t value) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof value);
  }

  void Name(const std::string& name) {
    std::string padded = name;
    padded.resize(kNameBytes);
    bytes_.insert(bytes_.end(), padded.begin(), padded.end());
  }

  const std::vector<std::uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<std::uint8_t> bytes_;
};

class Reader {
 public:
  Reader(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  std::uint64_t Number() {
    std::uint64_t value = 0;
    if (const std::uint8_t* bytes = Take(sizeof value)) std::memcpy(&value, bytes, sizeof value);
    return value;
  }

  std::string Name() {
    const auto* bytes = reinterpret_cast<const char*>(Take(kNameBytes));
    return bytes == nullptr ? "" : std::string(bytes, strnlen(bytes, kNameBytes));
  }

  bool Failed() const { return failed_; }

 private:
  const std::uint8_t* Take(std::size_t size) {
    failed_ = failed_ || size > left_;
    if (failed_) return nullptr;
    left_ -= size;
    return std::exchange(data_, data_ + size);
  }

  const std::uint8_t* data_;
  std::size_t left_;
  bool failed_ = false;
};

// The image around a body, padded to a size.
void Seal(std::uint64_t magic, const std::vector<std::uint8_t>& body, std::uint8_t* data,
          std::size_t size) {
  if (size < kHeader) return;
  std::memset(data, 0, size);
  std::memcpy(data + kHeader, body.data(), std::min(body.size(), size - kHeader));
  const std::uint64_t hash = Hash(data + kHeader, size - kHeader);
  std::memcpy(data, &magic, sizeof magic);
  std::memcpy(data + sizeof magic, &hash, sizeof hash);
}

std::optional<Reader> Unseal(std::uint64_t magic, const std::uint8_t* data, std::size_t size) {
  if (data == nullptr || size < kHeader) return std::nullopt;
  Reader header(data, kHeader);
  if (header.Number() != magic) return std::nullopt;
  if (header.Number() != Hash(data + kHeader, size - kHeader)) return std::nullopt;
  return Reader(data + kHeader, size - kHeader);
}

std::vector<std::string> ReadNames(Reader* reader) {
  std::vector<std::string> names;
  for (std::uint64_t left = reader->Number(); left > 0 && !reader->Failed(); --left) {
    names.push_back(reader->Name());
  }
  return names;
}

}  // namespace

std::uint64_t Hash(const void* data, std::size_t size) {
  std::uint64_t hash = 14695981039346656037U;
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 1099511628211U;
  return hash;
}

std::vector<std::uint8_t> ConfigImage::Encode() const {
  Writer body;
  body.Name(chip);
  body.Number(passes);
  body.Number(metrics.size());
  for (const std::string& metric : metrics) body.Name(metric);
  std::vector<std::uint8_t> image(kHeader + body.bytes().size());
  Seal(kConfigMagic, body.bytes(), image.data(), image.size());
  return image;
}

std::optional<ConfigImage> ConfigImage::Decode(const std::uint8_t* data, std::size_t size) {
  std::optional<Reader> reader = Unseal(kConfigMagic, data, size);
  if (!reader) return std::nullopt;
  ConfigImage image;
  image.chip = reader->Name();
  image.passes = reader->Number();
  image.metrics = ReadNames(&*reader);
  if (reader->Failed()) return std::nullopt;
  return image;
}

std::size_t CounterImage::Size() const {
  const std::size_t range = kNameBytes + metrics.size() * sizeof(std::uint64_t);
  return kHeader + 3 * sizeof(std::uint64_t) + metrics.size() * kNameBytes + max_ranges * range;
}

void CounterImage::Encode(std::uint8_t* data, std::size_t size) const {
  Writer body;
  body.Number(max_ranges);
  body.Number(metrics.size());
  for (const std::string& metric : metrics) body.Name(metric);
  body.Number(ranges.size());
  for (const CountedRange& range : ranges) {
    body.Name(range.name);
    for (const std::uint64_t count : range.counts) body.Number(count);
  }
  Seal(kCounterMagic, body.bytes(), data, size);
}

std::optional<CounterImage> CounterImage::Decode(const std::uint8_t* data, std::size_t size) {
  std::optional<Reader> reader = Unseal(kCounterMagic, data, size);
  if (!reader) return std::nullopt;
  CounterImage image;
  image.max_ranges = reader->Number();
  image.metrics = ReadNames(&*reader);
  for (std::uint64_t left = reader->Number(); left > 0 && !reader->Failed(); --left) {
    CountedRange range{reader->Name(), {}};
    for (std::size_t i = 0; i < image.metrics.size(); ++i) range.counts.push_back(reader->Number());
    image.ranges.push_back(std::move(range));
  }
  if (reader->Failed()) return std::nullopt;
  return image;
}

}  // namespace ftprof::standin
