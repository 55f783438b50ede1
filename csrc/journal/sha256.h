// SHA-256, FIPS 180-4.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ftprof::journal {

class Sha256 {
 public:
  void Update(std::string_view data) noexcept;

  // Ends the message: nothing may be added afterwards.
  std::array<std::uint8_t, 32> Finish() noexcept;

 private:
  static constexpr std::size_t kBlock = 64;

  void Compress(const std::uint8_t* block) noexcept;

  // The first 32 bits of the fractional parts of the square roots of the first 8 primes.
  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, kBlock> rest_ = {};
  std::uint64_t bytes_ = 0;
};

// 64 lower-case hexadecimal digits.
using Sha256Text = std::array<char, 64>;
Sha256Text Sha256Hex(std::string_view data) noexcept;

constexpr std::string_view View(const Sha256Text& text) noexcept {
  return {text.data(), text.size()};
}

}  // namespace ftprof::journal
