// What a chunk of tokens takes besides products. Structs are those of plan.rs.
//
// Attention over the chunk's own keys and values and those before it, without scores in memory: a block
// takes some rows of a head, goes over the entries piece by piece and keeps for each row the greatest score, the sum of
// its weights and their mix (online softmax, arXiv 1805.02867, as FlashAttention has it, arXiv 2205.14135). Halves and
// bfloats are multiplied by the tensor cores, their sums are f32, and weights are rounded as values are; floats are
// multiplied as they are.

#include "../gpu/device.h"

#define WARP 32
#define WARPS 4
#define THREADS_OF_TILE (WARP * WARPS)
#define MOST_SIZE 128
// Of a tile, by its type, and entries that are in shared memory at a time.
#define HALF_ROWS 64
#define HALF_ENTRIES 64
#define FLOAT_ROWS 32
#define FLOAT_ENTRIES 32
// So that rows begin in different banks.
#define PAD 8
#define NONE 0xffffffffu
#define LOG2_E 1.4426950408889634f
enum { F32, F16, BF16 };

// Rows that one block takes, of one sequence.
typedef struct {
  // In the chunk, and how many.
  u32 first, rows;
  // The sequence's first entry and how many it has; which of those, counted from that, is the first row's own.
  u32 from, entries, own;
  // Where a table says whom rows see of the sequence's own entries: which of its rows is the first, where it begins in
  // `seen` and how long its rows are. NONE where each sees itself and those before it.
  u32 row, table, width;
} Tile;

typedef struct {
  // (heads, tokens, size); (kv_heads, any, size); (tokens, heads · size).
  u64 queries, keys, values, mixed;
  // Values between heads.
  u64 query_stride, key_stride;
  u64 tiles, seen;
  u32 heads, kv_heads, size, type;
  float scale;
  u32 unused;
} AttentionPlan;

typedef struct {
  u16 keys[HALF_ENTRIES * (MOST_SIZE + PAD)], values[HALF_ENTRIES * (MOST_SIZE + PAD)];
} SharedHalves;

typedef struct {
  float queries[FLOAT_ROWS * MOST_SIZE], entries[FLOAT_ENTRIES * (MOST_SIZE + 1)], weights[FLOAT_ROWS * FLOAT_ENTRIES];
} SharedFloats;

// Whether row i of the tile sees entry j of the sequence.
DEVICE u32 sees(const AttentionPlan *plan, const Tile *tile, u32 i, u32 j) {
  if (i >= tile->rows || j >= tile->entries) return 0;
  if (tile->table == NONE) return j <= tile->own + i;
  u32 past = tile->own - tile->row;
  return j < past || load_u8((const u8 *)plan->seen + tile->table + (u64)(tile->row + i) * tile->width + (j - past));
}

// Behind the last entry that any row sees.
DEVICE u32 end_of(const Tile *tile) {
  u32 end = tile->own + tile->rows;
  return tile->table == NONE && end < tile->entries ? end : tile->entries;
}

DEVICE float value_of(u32 bits, u32 type) { return type == BF16 ? of_bfloat(bits & 0xffff) : of_half(bits & 0xffff); }
DEVICE u32 pair(float low, float high, u32 type) {
  return type == BF16 ? to_bfloat(low) | to_bfloat(high) << 16 : to_half(low) | to_half(high) << 16;
}

// A lane holds of each 8 columns of scores and mix two neighbouring ones in two rows, 8 apart.
DEVICE void halves(const AttentionPlan *plan, SharedHalves *shared, const Tile *tile, u32 head, const u32 size) {
  u32 lane = THREAD % WARP, group = lane / 4, twos = 2 * (lane % 4), stride = size + PAD, type = plan->type;
  u32 kv_head = head / (plan->heads / plan->kv_heads), rows[2] = {16 * (THREAD / WARP) + group, 16 * (THREAD / WARP) + group + 8};
  const u16 *queries = (const u16 *)plan->queries + head * plan->query_stride + (u64)tile->first * size;
  const u16 *keys = (const u16 *)plan->keys + kv_head * plan->key_stride + (u64)tile->from * size;
  const u16 *values = (const u16 *)plan->values + kv_head * plan->key_stride + (u64)tile->from * size;
  u32 query[MOST_SIZE / 16][4];
#pragma unroll
  for (u32 k = 0; k < MOST_SIZE / 16; k++)
#pragma unroll
    for (u32 part = 0; part < 4; part++) {
      u32 row = rows[part % 2];
      query[k][part] = 16 * k < size && row < tile->rows ? load_u32(queries + row * size + 16 * k + 8 * (part / 2) + twos) : 0;
    }
  float mix[MOST_SIZE / 8][4], greatest[2] = {-INFINITY, -INFINITY}, sums[2] = {0.0f, 0.0f}, scale = plan->scale * LOG2_E;
#pragma unroll
  for (u32 n = 0; n < MOST_SIZE / 8; n++)
#pragma unroll
    for (u32 c = 0; c < 4; c++) mix[n][c] = 0.0f;
  u32 end = end_of(tile);
  for (u32 at = 0; at < end; at += HALF_ENTRIES) {
    BLOCK_SYNC();
    for (u32 i = THREAD; i < HALF_ENTRIES * size / 8; i += THREADS) {
      u32 entry = i / (size / 8), col = i % (size / 8) * 8;
      // What no row sees weighs nothing, and nothing times anything but a number is none.
      u64 from = (u64)(at + entry < end ? at + entry : end - 1) * size + col;
      store_quad(shared->keys + entry * stride + col, load_quad(keys + from));
      store_quad(shared->values + entry * stride + col, load_quad(values + from));
    }
    BLOCK_SYNC();
    float scores[HALF_ENTRIES / 8][4];
#pragma unroll
    for (u32 n = 0; n < HALF_ENTRIES / 8; n++) {
#pragma unroll
      for (u32 c = 0; c < 4; c++) scores[n][c] = 0.0f;
      const u16 *entry = shared->keys + (8 * n + group) * stride + twos;
#pragma unroll
      for (u32 k = 0; k < MOST_SIZE / 16; k++)
        if (16 * k < size) mma(scores[n], query[k], shared_u32(entry + 16 * k), shared_u32(entry + 16 * k + 8), type == BF16);
    }
    float most[2] = {greatest[0], greatest[1]};
    u32 all_seen = tile->table == NONE && at + HALF_ENTRIES <= tile->own + 1;
#pragma unroll
    for (u32 n = 0; n < HALF_ENTRIES / 8; n++)
#pragma unroll
      for (u32 c = 0; c < 4; c++) {
        u32 seen = all_seen || sees(plan, tile, rows[c / 2], at + 8 * n + twos + c % 2);
        scores[n][c] = seen ? scale * scores[n][c] : -INFINITY;
        most[c / 2] = fmaxf(most[c / 2], scores[n][c]);
      }
    float fade[2];
#pragma unroll
    for (u32 r = 0; r < 2; r++) {
      most[r] = fmaxf(most[r], shuffle_xor(most[r], 1));
      most[r] = fmaxf(most[r], shuffle_xor(most[r], 2));
      // A row that has seen nothing yet.
      float base = most[r] == -INFINITY ? 0.0f : most[r];
      fade[r] = exp2f(greatest[r] - base);
      greatest[r] = most[r];
      most[r] = base;
      sums[r] *= fade[r];
    }
#pragma unroll
    for (u32 n = 0; n < HALF_ENTRIES / 8; n++)
#pragma unroll
      for (u32 c = 0; c < 4; c++) {
        scores[n][c] = exp2f(scores[n][c] - most[c / 2]);
        sums[c / 2] += scores[n][c];
      }
#pragma unroll
    for (u32 n = 0; n < MOST_SIZE / 8; n++)
#pragma unroll
      for (u32 c = 0; c < 4; c++) mix[n][c] *= fade[c / 2];
#pragma unroll
    for (u32 k = 0; k < HALF_ENTRIES / 16; k++) {
      u32 weights[4];
#pragma unroll
      for (u32 part = 0; part < 4; part++)
        weights[part] = pair(scores[2 * k + part / 2][2 * (part % 2)], scores[2 * k + part / 2][2 * (part % 2) + 1], type);
      const u16 *entry = shared->values + (16 * k + twos) * stride + group;
#pragma unroll
      for (u32 n = 0; n < MOST_SIZE / 8; n++)
        if (8 * n < size) {
          u32 low = entry[8 * n] | (u32)entry[8 * n + stride] << 16;
          u32 high = entry[8 * n + 8 * stride] | (u32)entry[8 * n + 9 * stride] << 16;
          mma(mix[n], weights, low, high, type == BF16);
        }
    }
  }
#pragma unroll
  for (u32 r = 0; r < 2; r++) {
    sums[r] += shuffle_xor(sums[r], 1);
    sums[r] += shuffle_xor(sums[r], 2);
    float by = sums[r] > 0.0f ? 1.0f / sums[r] : 0.0f;
    u16 *out = (u16 *)plan->mixed + ((u64)(tile->first + rows[r]) * plan->heads + head) * size + twos;
#pragma unroll
    for (u32 n = 0; n < MOST_SIZE / 8; n++)
      if (8 * n < size && rows[r] < tile->rows) store_u32(out + 8 * n, pair(by * mix[n][2 * r], by * mix[n][2 * r + 1], type));
  }
}

// A warp takes 8 rows; a lane an entry's scores, then every 32nd column of the mix.
DEVICE void floats(const AttentionPlan *plan, SharedFloats *shared, const Tile *tile, u32 head) {
  enum { OWN = FLOAT_ROWS / WARPS };
  u32 lane = THREAD % WARP, first = OWN * (THREAD / WARP), size = plan->size, kv_head = head / (plan->heads / plan->kv_heads);
  const float *queries = (const float *)plan->queries + head * plan->query_stride + (u64)tile->first * size;
  const float *keys = (const float *)plan->keys + kv_head * plan->key_stride + (u64)tile->from * size;
  const float *values = (const float *)plan->values + kv_head * plan->key_stride + (u64)tile->from * size;
  for (u32 i = THREAD; i < FLOAT_ROWS * size; i += THREADS) shared->queries[i] = i / size < tile->rows ? load_f32(queries + i) : 0.0f;
  float mix[OWN][MOST_SIZE / WARP], greatest[OWN], sums[OWN];
#pragma unroll
  for (u32 r = 0; r < OWN; r++) {
    greatest[r] = -INFINITY;
    sums[r] = 0.0f;
#pragma unroll
    for (u32 d = 0; d < MOST_SIZE / WARP; d++) mix[r][d] = 0.0f;
  }
  u32 end = end_of(tile);
  for (u32 at = 0; at < end; at += FLOAT_ENTRIES) {
    BLOCK_SYNC();
    for (u32 i = THREAD; i < FLOAT_ENTRIES * size; i += THREADS) {
      u32 entry = i / size, col = i % size;
      shared->entries[entry * (size + 1) + col] = at + entry < end ? load_f32(keys + (u64)(at + entry) * size + col) : 0.0f;
    }
    BLOCK_SYNC();
    float scores[OWN];
#pragma unroll
    for (u32 r = 0; r < OWN; r++) scores[r] = 0.0f;
    for (u32 d = 0; d < size; d++) {
      float key = shared->entries[lane * (size + 1) + d];
#pragma unroll
      for (u32 r = 0; r < OWN; r++) scores[r] += shared->queries[(first + r) * size + d] * key;
    }
#pragma unroll
    for (u32 r = 0; r < OWN; r++) {
      float score = sees(plan, tile, first + r, at + lane) ? plan->scale * LOG2_E * scores[r] : -INFINITY, most = score;
      for (u32 off = 16; off > 0; off >>= 1) most = fmaxf(most, shuffle_xor(most, off));
      most = fmaxf(most, greatest[r]);
      float base = most == -INFINITY ? 0.0f : most, fade = exp2f(greatest[r] - base), weight = exp2f(score - base);
      greatest[r] = most;
      sums[r] = sums[r] * fade + weight;
#pragma unroll
      for (u32 d = 0; d < MOST_SIZE / WARP; d++) mix[r][d] *= fade;
      shared->weights[(first + r) * FLOAT_ENTRIES + lane] = weight;
    }
    BLOCK_SYNC();
    for (u32 i = THREAD; i < FLOAT_ENTRIES * size; i += THREADS) {
      u32 entry = i / size, col = i % size;
      shared->entries[entry * (size + 1) + col] = at + entry < end ? load_f32(values + (u64)(at + entry) * size + col) : 0.0f;
    }
    BLOCK_SYNC();
    for (u32 entry = 0; entry < FLOAT_ENTRIES; entry++) {
#pragma unroll
      for (u32 d = 0; d < MOST_SIZE / WARP; d++) {
        u32 col = WARP * d + lane;
        if (col < size) {
          float value = shared->entries[entry * (size + 1) + col];
#pragma unroll
          for (u32 r = 0; r < OWN; r++) mix[r][d] += shared->weights[(first + r) * FLOAT_ENTRIES + entry] * value;
        }
      }
    }
  }
#pragma unroll
  for (u32 r = 0; r < OWN; r++) {
    float sum = warp_sum(sums[r]), by = sum > 0.0f ? 1.0f / sum : 0.0f;
    float *out = (float *)plan->mixed + ((u64)(tile->first + first + r) * plan->heads + head) * size;
#pragma unroll
    for (u32 d = 0; d < MOST_SIZE / WARP; d++) {
      u32 col = WARP * d + lane;
      if (col < size && first + r < tile->rows) out[col] = by * mix[r][d];
    }
  }
}

// A block for each head of each tile.
KERNEL(THREADS_OF_TILE) attend_halves(const AttentionPlan plan) {
  SHARED(SharedHalves, shared);
  u32 head = BLOCK % plan.heads;
  Tile tile = ((const Tile *)plan.tiles)[BLOCK / plan.heads];
  // The size is known where it is compiled, so that mix and queries lie in registers.
  switch (plan.size) {
    case 32: halves(&plan, shared, &tile, head, 32); break;
    case 64: halves(&plan, shared, &tile, head, 64); break;
    case 96: halves(&plan, shared, &tile, head, 96); break;
    case 128: halves(&plan, shared, &tile, head, 128); break;
  }
}

KERNEL(THREADS_OF_TILE) attend_floats(const AttentionPlan plan) {
  SHARED(SharedFloats, shared);
  Tile tile = ((const Tile *)plan.tiles)[BLOCK / plan.heads];
  floats(&plan, shared, &tile, BLOCK % plan.heads);
}

// Rows of a feed-forward's gates and, behind them, what they let through, in one matrix.
typedef struct {
  // (rows, 2 · width); (rows, width).
  u64 both, out, rows;
  u32 width, type, gelu, unused;
} GatePlan;

DEVICE float gate(float x, u32 gelu) {
  return gelu ? 0.5f * x * (1.0f + tanhf(0.7978846f * (x + 0.044715f * x * x * x))) : x / (1.0f + expf(-x));
}

// Two values at a time.
KERNEL(256) gate_rows(const GatePlan plan) {
  u32 pairs = plan.width / 2;
  for (u64 i = (u64)BLOCK * THREADS + THREAD; i < plan.rows * pairs; i += (u64)BLOCKS * THREADS) {
    u64 from = i / pairs * 2 * plan.width + i % pairs * 2, to = 2 * i;
    if (plan.type == F32) {
      const float *both = (const float *)plan.both + from;
      float *out = (float *)plan.out + to;
      for (u32 k = 0; k < 2; k++) out[k] = gate(load_f32(both + k), plan.gelu) * load_f32(both + plan.width + k);
    } else {
      const u16 *both = (const u16 *)plan.both + from;
      u32 gates = load_u32(both), through = load_u32(both + plan.width);
      float low = gate(value_of(gates, plan.type), plan.gelu) * value_of(through, plan.type);
      float high = gate(value_of(gates >> 16, plan.type), plan.gelu) * value_of(through >> 16, plan.type);
      store_u32((u16 *)plan.out + to, pair(low, high, plan.type));
    }
  }
}
