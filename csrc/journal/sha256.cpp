#include "journal/sha256.h"

#include <algorithm>
#include <cstring>

namespace ftprof::journal {
namespace {

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr std::array<std::uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::uint32_t Rotate(std::uint32_t word, unsigned by) noexcept {
  return (word >> by) | (word << (32 - by));
}

std::uint32_t BigEndian(const std::uint8_t* bytes) noexcept {
  return static_cast<std::uint32_t>(bytes[0]) << 24 | static_cast<std::uint32_t>(bytes[1]) << 16 |
         static_cast<std::uint32_t>(bytes[2]) << 8 | static_cast<std::uint32_t>(bytes[3]);
}

std::array<std::uint32_t, 64> Schedule(const std::uint8_t* block) noexcept {
  std::array<std::uint32_t, 64> words;
  for (std::size_t t = 0; t < 16; ++t) words[t] = BigEndian(block + 4 * t);
  for (std::size_t t = 16; t < 64; ++t) {
    const std::uint32_t near = words[t - 2], far = words[t - 15];
    const std::uint32_t sigma1 = Rotate(near, 17) ^ Rotate(near, 19) ^ (near >> 10);
    const std::uint32_t sigma0 = Rotate(far, 7) ^ Rotate(far, 18) ^ (far >> 3);
    words[t] = sigma1 + words[t - 7] + sigma0 + words[t - 16];
  }
  return words;
}

}  // namespace

void Sha256::Compress(const std::uint8_t* block) noexcept {
  const std::array<std::uint32_t, 64> words = Schedule(block);
  auto [a, b, c, d, e, f, g, h] = state_;
  for (std::size_t t = 0; t < 64; ++t) {
    const std::uint32_t sum1 = Rotate(e, 6) ^ Rotate(e, 11) ^ Rotate(e, 25);
    const std::uint32_t choice = (e & f) ^ (~e & g);
    const std::uint32_t t1 = h + sum1 + choice + kRound[t] + words[t];
    const std::uint32_t sum0 = Rotate(a, 2) ^ Rotate(a, 13) ^ Rotate(a, 22);
    const std::uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + sum0 + majority;
  }
  const std::array<std::uint32_t, 8> added = {a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < added.size(); ++i) state_[i] += added[i];
}

void Sha256::Update(std::string_view data) noexcept {
  while (!data.empty()) {
    const std::size_t filled = bytes_ % kBlock;
    const std::size_t taken = std::min(data.size(), kBlock - filled);
    std::memcpy(rest_.data() + filled, data.data(), taken);
    bytes_ += taken;
    data.remove_prefix(taken);
    if (filled + taken == kBlock) Compress(rest_.data());
  }
}

std::array<std::uint8_t, 32> Sha256::Finish() noexcept {
  const std::uint64_t bits = bytes_ * 8;
  Update(std::string_view("\x80", 1));
  while (bytes_ % kBlock != kBlock - 8) Update(std::string_view("\0", 1));
  char length[8];
  for (unsigned i = 0; i < 8; ++i) length[i] = static_cast<char>(bits >> (56 - 8 * i) & 0xff);
  Update(std::string_view(length, sizeof(length)));
  std::array<std::uint8_t, 32> digest;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<std::uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)) & 0xff);
  }
  return digest;
}

Sha256Text Sha256Hex(std::string_view data) noexcept {
  constexpr char kDigits[] = "0123456789abcdef";
  Sha256 hash;
  hash.Update(data);
  const std::array<std::uint8_t, 32> digest = hash.Finish();
  Sha256Text text;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    text[2 * i] = kDigits[digest[i] >> 4];
    text[2 * i + 1] = kDigits[digest[i] & 15];
  }
  return text;
}

}  // namespace ftprof::journal
