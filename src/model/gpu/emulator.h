// Stands in for a GPU in the tests: each CUDA thread is a coroutine of one CPU thread and leaves at every synchronisation.
// They are resumed in turn, forwards or backwards, or block by block: then one block is as far ahead of the next as the
// grid's barriers let it. No GPU promises an order, so that what depends on one is wrong.
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

typedef struct {
  ucontext_t context;
  jmp_buf left_at;
  u32 thread, block, started, done;
} Coroutine;

typedef struct {
  u32 arrived, turns;
} Meeting;

static struct {
  jmp_buf scheduler;
  Coroutine *all, *now;
  u32 turn, round, block, unfinished;
  u32 threads, blocks;
  Meeting *of_blocks, *of_warps;
  float *lanes;
  u32 (*parts)[6];
  char *shared;
  float *floats;
  u64 shared_floats;
} gpu;

enum { SHARED_BYTES = 1 << 16, STACK = 1 << 16 };

#define DEVICE static inline
#define SLOW static
#define KERNEL(threads) static void
#define THREAD (gpu.now->thread)
#define THREADS (gpu.threads)
#define BLOCK (gpu.now->block)
#define BLOCKS (gpu.blocks)
#define BLOCK_SYNC() meet(&gpu.of_blocks[BLOCK], gpu.threads)
#define SHARED(type, name) type *name = (type *)(gpu.shared + (u64)SHARED_BYTES * BLOCK); \
  _Static_assert(sizeof(type) <= SHARED_BYTES, "more shared memory than a block has")
#define SHARED_FLOATS(name) float *name = gpu.floats + gpu.shared_floats * BLOCK
typedef struct {
  u32 v[4];
} Quad;
#define QUAD(q, k) ((q).v[k])

// Contexts only begin coroutines: switching by them would ask the system for the signal mask each time.
static void yield(void) {
  if (_setjmp(gpu.now->left_at) == 0) _longjmp(gpu.scheduler, 1);
}

static void meet(Meeting *meeting, u32 of) {
  u32 turn = meeting->turns;
  if (++meeting->arrived == of) {
    meeting->arrived = 0;
    meeting->turns++;
  }
  do yield();
  while (meeting->turns == turn);
}

#define LOADS(type, name)           \
  DEVICE type name(const void *p) { \
    type x;                         \
    if ((u64)p % sizeof x) abort(); \
    memcpy(&x, p, sizeof x);        \
    return x;                       \
  }
LOADS(Quad, load_quad)
LOADS(u32, load_u32)
LOADS(u16, load_u16)
LOADS(u8, load_u8)
LOADS(float, load_f32)
typedef struct {
  float x, y, z, w;
} Floats;
LOADS(Floats, load_floats)

DEVICE float of_bits(u32 bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
DEVICE u32 to_bits(float x) {
  u32 bits;
  memcpy(&bits, &x, 4);
  return bits;
}
DEVICE float of_half(u32 bits) {
  u32 sign = (bits & 0x8000) << 16, exponent = bits >> 10 & 31, rest = bits & 0x3ff;
  if (exponent == 31) return of_bits(sign | 0x7f800000 | rest << 13);
  if (exponent == 0) return of_bits(sign) + (sign ? -1.0f : 1.0f) * ldexpf((float)rest, -24);
  return of_bits(sign | (exponent + 112) << 23 | rest << 13);
}
DEVICE u32 to_half(float x) {
  u32 sign = to_bits(x) >> 16 & 0x8000;
  float size = fabsf(x);
  if (!(size < 65520.0f)) return sign | 0x7c00 | (size != size) << 9;
  int exponent;
  frexpf(size, &exponent);
  if (exponent < -13 || size == 0.0f) exponent = -13;
  // To a multiple of the last bit, to even.
  u32 units = (u32)nearbyintf(ldexpf(size, 11 - exponent));
  return sign | (units + ((u32)(exponent + 13) << 10));
}
DEVICE u32 shared_u32(const u16 *p) { return load_u32(p); }
DEVICE void store_u32(void *p, u32 x) {
  if ((u64)p % sizeof x) abort();
  memcpy(p, &x, sizeof x);
}
DEVICE void store_quad(void *p, Quad x) {
  if ((u64)p % sizeof x) abort();
  memcpy(p, &x, sizeof x);
}
DEVICE void fetch_line(const u8 *p) {
  volatile u8 byte = *p;
  (void)byte;
}
DEVICE float fresh(const float *p) { return load_f32(p); }
DEVICE int fresh_int(const int *p) { return (int)load_u32(p); }

#define WARP_SYNC() meet(&gpu.of_warps[(BLOCK * THREADS + THREAD) / 32], 32)

DEVICE float shuffle_xor(float x, u32 by) {
  u32 warp = (BLOCK * THREADS + THREAD) / 32, lane = THREAD % 32;
  float *lanes = gpu.lanes + 32 * warp;
  lanes[lane] = x;
  WARP_SYNC();
  x = lanes[lane ^ by];
  WARP_SYNC();
  return x;
}

// As PTX has `mma.sync.m16n8k16`: d (16, 8) += a (16, 16) · b (16, 8), of halves or bfloats, each lane holding parts.
DEVICE void mma(float *d, const u32 *a, u32 b0, u32 b1, u32 bfloats) {
  u32 warp = (BLOCK * THREADS + THREAD) / 32, lane = THREAD % 32;
  u32 (*parts)[6] = gpu.parts + 32 * warp;
  for (u32 k = 0; k < 4; k++) parts[lane][k] = a[k];
  parts[lane][4] = b0;
  parts[lane][5] = b1;
  WARP_SYNC();
  for (u32 c = 0; c < 4; c++) {
    u32 row = lane / 4 + 8 * (c / 2), col = 2 * (lane % 4) + c % 2;
    for (u32 k = 0; k < 16; k++) {
      u32 of_a = parts[row % 8 * 4 + k % 8 / 2][row / 8 + 2 * (k / 8)] >> 16 * (k % 2) & 0xffff;
      u32 of_b = parts[col * 4 + k % 8 / 2][4 + k / 8] >> 16 * (k % 2) & 0xffff;
      d[c] += bfloats ? of_bits(of_a << 16) * of_bits(of_b << 16) : of_half(of_a) * of_half(of_b);
    }
  }
  WARP_SYNC();
}

DEVICE void grid_sync(u32 *counter, u32 *goal) {
  BLOCK_SYNC();
  if (THREAD == 0) {
    *goal += BLOCKS;
    ++*counter;
    while (*counter < *goal) yield();
  }
  BLOCK_SYNC();
}

static void emulated(void *plan, u32 first, u32 last);
static void *of_plan;
static u32 of_first, of_last;

static void start(void) {
  emulated(of_plan, of_first, of_last);
  gpu.now->done = 1;
  gpu.unfinished--;
  yield();
}

// As emulator.rs numbers them.
enum { FORWARDS, BACKWARDS, FIRST_BLOCK_AHEAD, LAST_BLOCK_AHEAD };
// Turns that a block's threads have before the next block's: enough to come to a barrier of the grid.
enum { ROUNDS = 400 };

// Launches the kernel of `blocks` × `threads` on `floats` of dynamic shared memory a block.
int launch(void *plan, u32 first, u32 last, u32 blocks, u32 threads, u64 floats, u32 order) {
  u32 count = blocks * threads;
  if (threads % 32 || threads == 0 || blocks == 0) return 1;
  gpu.threads = threads;
  gpu.blocks = blocks;
  gpu.shared_floats = floats;
  gpu.all = calloc(count, sizeof *gpu.all);
  gpu.of_blocks = calloc(blocks, sizeof *gpu.of_blocks);
  gpu.of_warps = calloc(count / 32, sizeof *gpu.of_warps);
  gpu.lanes = calloc(count, sizeof *gpu.lanes);
  gpu.parts = calloc(count, sizeof *gpu.parts);
  gpu.shared = aligned_alloc(64, (u64)SHARED_BYTES * blocks);
  gpu.floats = aligned_alloc(64, (4 * floats * blocks + 63) / 64 * 64);
  char *stacks = malloc((u64)STACK * count);
  // Shared memory begins as whatever was there.
  memset(gpu.shared, 0x7f, (u64)SHARED_BYTES * blocks);
  memset(gpu.floats, 0xff, 4 * floats * blocks);
  of_plan = plan;
  of_first = first;
  of_last = last;
  for (u32 i = 0; i < count; i++) {
    Coroutine *coroutine = &gpu.all[i];
    coroutine->thread = i % threads;
    coroutine->block = i / threads;
    getcontext(&coroutine->context);
    coroutine->context.uc_stack.ss_sp = stacks + (u64)STACK * i;
    coroutine->context.uc_stack.ss_size = STACK;
    makecontext(&coroutine->context, start, 0);
  }
  gpu.unfinished = count;
  gpu.turn = gpu.round = gpu.block = 0;
  _setjmp(gpu.scheduler);
  while (gpu.unfinished > 0) {
    u32 turn = gpu.turn;
    if (order <= BACKWARDS) {
      gpu.turn = (turn + 1) % count;
      gpu.now = &gpu.all[order == BACKWARDS ? count - 1 - turn : turn];
    } else {
      u32 block = order == FIRST_BLOCK_AHEAD ? gpu.block : blocks - 1 - gpu.block;
      gpu.now = &gpu.all[block * threads + turn];
      gpu.turn = (turn + 1) % threads;
      if (gpu.turn == 0) gpu.round = (gpu.round + 1) % ROUNDS;
      if (gpu.turn == 0 && gpu.round == 0) gpu.block = (gpu.block + 1) % blocks;
    }
    if (gpu.now->done) continue;
    if (gpu.now->started) _longjmp(gpu.now->left_at, 1);
    gpu.now->started = 1;
    setcontext(&gpu.now->context);
  }
  free(stacks);
  free(gpu.floats);
  free(gpu.shared);
  free(gpu.parts);
  free(gpu.lanes);
  free(gpu.of_warps);
  free(gpu.of_blocks);
  free(gpu.all);
  return 0;
}
