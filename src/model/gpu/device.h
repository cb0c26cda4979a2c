// What kernels are written in: C that is CUDA C++ as well. emulator.h stands in for a GPU in the tests.

#ifdef __CUDACC__
#include <cuda_fp16.h>
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
#define DEVICE static __device__ __forceinline__
#define SLOW static __device__ __noinline__
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define THREAD threadIdx.x
#define THREADS blockDim.x
#define BLOCK blockIdx.x
#define BLOCKS gridDim.x
#define BLOCK_SYNC() __syncthreads()
#define SHARED(type, name) __shared__ type name##_of_block; type *name = &name##_of_block
#define SHARED_FLOATS(name) extern __shared__ float4 name##_quads[]; float *name = (float *)name##_quads
typedef uint4 Quad;
#define QUAD(q, k) ((k) == 0 ? (q).x : (k) == 1 ? (q).y : (k) == 2 ? (q).z : (q).w)
DEVICE Quad load_quad(const void *p) { return __ldg((const uint4 *)p); }
DEVICE u32 load_u32(const void *p) { return __ldg((const u32 *)p); }
DEVICE u32 load_u16(const void *p) { return __ldg((const u16 *)p); }
DEVICE u32 load_u8(const void *p) { return __ldg((const u8 *)p); }
DEVICE float load_f32(const void *p) { return __ldg((const float *)p); }
typedef float4 Floats;
DEVICE Floats load_floats(const float *p) { return *(const float4 *)p; }
DEVICE float of_half(u32 bits) { return __half2float(__ushort_as_half((u16)bits)); }
DEVICE u32 to_half(float x) { return __half_as_ushort(__float2half_rn(x)); }
DEVICE float of_bits(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 to_bits(float x) { return __float_as_uint(x); }
DEVICE u32 shared_u32(const u16 *p) { return *(const u32 *)p; }
DEVICE void store_u32(void *p, u32 x) { *(u32 *)p = x; }
DEVICE void store_quad(void *p, Quad x) { *(uint4 *)p = x; }
// d (16, 8) += a (16, 16) · b (16, 8) of a warp; the layout of the lanes' parts is PTX's.
DEVICE void mma(float *d, const u32 *a, u32 b0, u32 b1, u32 bfloats) {
#if __CUDA_ARCH__ >= 800
  if (bfloats)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  __trap();
#endif
}
DEVICE void fetch_line(const u8 *p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
// What another block wrote in this launch: from the cache that all share.
DEVICE float fresh(const float *p) { return __ldcg(p); }
DEVICE int fresh_int(const int *p) { return __ldcg(p); }
DEVICE float shuffle_xor(float x, u32 by) { return __shfl_xor_sync(0xffffffffu, x, by); }
#define WARP_SYNC() __syncwarp()
// All blocks wait for each other; they are all resident (a cooperative launch). `counter` only grows.
DEVICE void grid_sync(u32 *counter, u32 *goal) {
  __syncthreads();
  if (threadIdx.x == 0) {
    *goal += gridDim.x;
    __threadfence();
    atomicAdd(counter, 1u);
    while (*(volatile u32 *)counter < *goal) {
    }
    __threadfence();
  }
  __syncthreads();
}
#else
#include "emulator.h"
#endif

DEVICE float warp_sum(float x) {
  for (u32 off = 16; off > 0; off >>= 1) x += shuffle_xor(x, off);
  return x;
}

DEVICE float of_bfloat(u32 bits) { return of_bits(bits << 16); }
DEVICE u32 to_bfloat(float x) {
  u32 bits = to_bits(x);
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
