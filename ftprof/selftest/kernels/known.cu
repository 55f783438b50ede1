// Kernels that do a known number of floating-point operations a thread: known_kernels.py says how
// many.
//
// Straight-line code, so that what stands in the machine code is what is executed. Every result is
// stored, and every instruction names its rounding, so that none is left out or contracted with
// another. Addresses are integer sums of bytes: a multiplication would take a constant in a
// register, which some chips load with HFMA2. All of this is proved for each architecture by
// scripts/prove_selftest.py.
//
// Launched as NAME<<<blocks, 128>>>(values), with 16 bytes of values for each thread. What the
// values are changes nothing.

typedef unsigned int Word;

#define TIMES_2(code) code code
#define TIMES_4(code) TIMES_2(TIMES_2(code))
#define TIMES_8(code) TIMES_2(TIMES_4(code))
#define TIMES_16(code) TIMES_2(TIMES_8(code))
#define TIMES_32(code) TIMES_2(TIMES_16(code))

// r: a register, read and written; k: a register that is only read.
#define FADD(r) asm volatile("add.rn.f32 %0, %0, %1;" : "+r"(r) : "r"(k.x));
#define FMUL(r) asm volatile("mul.rn.f32 %0, %0, %1;" : "+r"(r) : "r"(k.x));
#define FFMA(r) asm volatile("fma.rn.f32 %0, %0, %1, %1;" : "+r"(r) : "r"(k.x));
#define DFMA(r) asm volatile("fma.rn.f64 %0, %0, %1, %1;" : "+l"(r) : "l"(wide));
#define HFMA2(r) asm volatile("fma.rn.f16x2 %0, %0, %1, %1;" : "+r"(r) : "r"(k.x));
#define IMAD(r) asm volatile("mad.lo.u32 %0, %0, %1, %1;" : "+r"(r) : "r"(k.x));
#define SHIFT(r) asm volatile("shf.l.wrap.b32 %0, %0, %1, 7;" : "+r"(r) : "r"(k.y));

__device__ __forceinline__ uint4* Mine(Word* values) {
  const Word bytes = (blockIdx.x * 128u + threadIdx.x) << 4;
  unsigned long long place;
  asm("{ .reg .b32 low, high;\n"
      "mov.b64 {low, high}, %1;\n"
      "add.cc.u32 low, low, %2;\n"
      "addc.u32 high, high, 0;\n"
      "mov.b64 %0, {low, high}; }"
      : "=l"(place)
      : "l"(values), "r"(bytes));
  return reinterpret_cast<uint4*>(place);
}

#define KNOWN(name, code)                                                             \
  extern "C" __global__ void __launch_bounds__(128) name(Word* values) {              \
    uint4* const mine = Mine(values);                                                 \
    uint4 v = *mine;                                                                  \
    const uint4 k = *reinterpret_cast<const uint4*>(values);                          \
    const unsigned long long wide = k.x | static_cast<unsigned long long>(k.y) << 32; \
    unsigned long long w = v.x | static_cast<unsigned long long>(v.y) << 32;          \
    code;                                                                             \
    v.x ^= static_cast<Word>(w);                                                      \
    v.y ^= static_cast<Word>(w >> 32);                                                \
    *mine = v;                                                                        \
    (void)wide;                                                                       \
  }

extern "C" __global__ void __launch_bounds__(128) known_nothing(Word*) {}

KNOWN(known_integer, TIMES_32(IMAD(v.x) IMAD(v.y) SHIFT(v.z) SHIFT(v.w)))
KNOWN(known_fadd, TIMES_32(FADD(v.x) FADD(v.y) FADD(v.z)))
KNOWN(known_fmul, TIMES_32(FMUL(v.x) FMUL(v.y)))
KNOWN(known_ffma, TIMES_32(FFMA(v.x) FFMA(v.y) FFMA(v.z) FFMA(v.w)))
KNOWN(known_dfma, TIMES_16(DFMA(w) DFMA(w) DFMA(w)))
KNOWN(known_hfma2, TIMES_32(HFMA2(v.x) HFMA2(v.y) HFMA2(v.z) HFMA2(v.w) HFMA2(v.x)))
KNOWN(known_mixed,
      TIMES_16(FADD(v.x) FADD(v.y) FADD(v.z) FMUL(v.x) FMUL(v.y) FFMA(v.x) FFMA(v.y) FFMA(v.z)
                   FFMA(v.w) DFMA(w) HFMA2(v.x) HFMA2(v.y) HFMA2(v.z) HFMA2(v.w) HFMA2(v.x)))

// Tensor cores: one instruction is a product of 16 x 8 x K by a whole warp. The accumulators begin
// as the thread's own values, and the operands are everybody's.
#define PRODUCT(k_and_types, operands)                                        \
  asm volatile("mma.sync.aligned." k_and_types " {%0, %1, %2, %3}, " operands \
               ", {%0, %1, %2, %3};"                                          \
               : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w)                   \
               : "r"(k.x), "r"(k.y), "r"(k.z), "r"(k.w));

KNOWN(known_tensor_fp16, TIMES_8(PRODUCT("m16n8k8.row.col.f32.f16.f16.f32", "{%4, %5}, {%6}")
                                     PRODUCT("m16n8k8.row.col.f32.f16.f16.f32", "{%5, %6}, {%7}")))
#if __CUDA_ARCH__ >= 800
KNOWN(known_tensor_bf16,
      TIMES_8(PRODUCT("m16n8k16.row.col.f32.bf16.bf16.f32", "{%4, %5, %6, %7}, {%5, %6}")))
#endif
