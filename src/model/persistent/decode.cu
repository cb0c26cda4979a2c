// One token through a whole decoder in one launch: a persistent kernel, whose blocks stay and meet at barriers.
//
// The formulas are those of src/model/block.rs and src/router/; activations are f32, sums are f32. The work is cut into
// phases (see `run_phase`). A launch runs the phases first..last; one launch for each phase gives the same bits as one
// for all of them, since a phase takes what it needs from memory and is shared out alike.
//
// Structs are those of plan.rs.

#include "../gpu/device.h"

#define WARP 32
#define MOST_WARPS 16
#define MOST_PARTIALS 2048
#define MOST_HEAD 256
#define MOST_SPLITS 64
#define STEP 256            // columns that a warp takes at once, 8 a lane
#define PHASES_A_LAYER 11
#define EPS_OF_ROUTERS 1e-5f
#define UNKNOWN (-1)
#define UNREAD (-0x7fffffff - 1)
enum { SKIP, EXECUTE, REPEAT };
// As plan.rs numbers them.
enum { F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K };

// (rows, cols), row by row; `stride` bytes a row.
typedef struct {
  u64 data, bias;
  u32 type, rows, cols, stride;
} Matrix;

typedef struct {
  Matrix query, key, value, output, gate, up, down, router;
  u64 attention_gain, mlp_gain, query_gain, key_gain;
  // (3, width), (3)
  u64 router_w2, router_b2;
} Layer;

// Keys and values of a pass, each (kv_heads, capacity, head_dim).
typedef struct {
  u64 keys, values;
  u32 len, capacity;
} Pass;

typedef struct {
  // The action; UNKNOWN where the router decides.
  int forced;
  // Whether the queries are among the first products, before the router has decided.
  u32 queries;
  // Of the second execution.
  float step;
  u32 unused;
} Rule;

typedef struct {
  double dial;
  // (layers + 1, budget + 1): what the layers from a row on are worth with so many executions left; 0 without a budget.
  u64 values;
  u64 layers, passes, rules;
  // Scratch, f32: the hidden state and what it was before an execution, two of each product, and so on.
  u64 hidden, before, queries, keys, units, partial, greatest, sums, mlp;
  // (layers, 3) and (layers), (layers + 1): what is read back.
  u64 probabilities, actions, left, logits;
  // Cosines and sines of the token's position, (head_dim / 2) each.
  u64 cos, sin;
  u64 final_gain;
  Matrix embedding, head;
  u32 token, layer_count, size, heads, kv_heads, head_dim, width, router_width;
  u32 interleaved, fill, ask, rms, kv_storage, budget;
  float eps, scale, embedding_scale;
  u32 ahead, unused, barrier;
} Plan;

typedef struct {
  float partial[MOST_PARTIALS];
  float reduce[MOST_WARPS];
  float query[MOST_HEAD], key[MOST_HEAD], value[MOST_HEAD];
  float greatest[MOST_WARPS], sums[MOST_WARPS];
  float mixed[MOST_WARPS * MOST_HEAD];
  float logits[3];
  int action, left;
} Shared;

#define FLOATS(address) ((float *)(address))
#define INTS(address) ((int *)(address))
#define LAYER(plan, l) ((const Layer *)(plan)->layers + (l))
#define PASS(plan, l, n) ((const Pass *)(plan)->passes + 2 * (l) + (n))
#define RULE(plan, l) ((const Rule *)(plan)->rules + (l))

DEVICE float low(u32 pair, u32 type) { return type == BF16 ? of_bits(pair << 16) : of_half(pair & 0xffff); }
DEVICE float high(u32 pair, u32 type) { return type == BF16 ? of_bits(pair & 0xffff0000u) : of_half(pair >> 16); }
DEVICE u32 two_bytes(const u8 *p) { return load_u16(p) | load_u16(p + 2) << 16; }

DEVICE float dot4(Floats x, float a, float b, float c, float d) { return x.x * a + x.y * b + x.z * c + x.w * d; }
DEVICE float sum4(Floats x) { return x.x + x.y + x.z + x.w; }
DEVICE float nibbles(Floats x, u32 q) {
  return dot4(x, (float)(q & 15), (float)(q >> 8 & 15), (float)(q >> 16 & 15), (float)(q >> 24 & 15));
}

// Four values of 5 bits: nibbles of `q`, and the bits of `high` as their fifth.
DEVICE float fives(Floats x, u32 q, u32 high) {
  return dot4(x, (float)((q & 15) | (high & 1) << 4), (float)((q >> 8 & 15) | (high >> 1 & 1) << 4),
              (float)((q >> 16 & 15) | (high >> 2 & 1) << 4), (float)((q >> 24 & 15) | (high >> 3 & 1) << 4));
}

// Scale and minimum of the j-th 32 weights of a block of Q4_K or Q5_K.
DEVICE void scale_min(const u8 *scales, u32 j, float *scale, float *least) {
  if (j < 4) {
    *scale = (float)(load_u8(scales + j) & 63);
    *least = (float)(load_u8(scales + j + 4) & 63);
  } else {
    *scale = (float)((load_u8(scales + j + 4) & 15) | load_u8(scales + j - 4) >> 6 << 4);
    *least = (float)(load_u8(scales + j + 4) >> 4 | load_u8(scales + j) >> 6 << 4);
  }
}

// The same from the twelve bytes in three words, without a branch.
DEVICE void scale_min_of(u32 a, u32 b, u32 c, u32 j, float *scale, float *least) {
  u32 by = 8 * (j & 3);
  u32 high_scale = (c >> by & 15) | (a >> (by + 6) & 3) << 4, high_least = (c >> (by + 4) & 15) | (b >> (by + 6) & 3) << 4;
  *scale = (float)(j < 4 ? a >> by & 63 : high_scale);
  *least = (float)(j < 4 ? b >> by & 63 : high_least);
}

// What a lane adds to the product of a row with x in the columns 256·step.. : 8 columns of them. Of those beyond the
// last one nothing.
DEVICE float lane_dot_quantised(u32 type, const u8 *row, u32 cols, const float *x, u32 step, u32 lane) {
  if (type >= Q4_K) {
    x += STEP * step;
    if (type == Q6_K) {
      const u8 *block = row + (u64)210 * step;
      u32 half = lane >> 4, l = 2 * (lane & 15), is = l >> 4;
      float sum = 0.0f;
      u32 low0 = load_u16(block + 64 * half + l), low1 = load_u16(block + 64 * half + 32 + l);
      u32 highs = load_u16(block + 128 + 32 * half + l);
      float d = of_half(load_u16(block + 208));
      const u8 *scales = block + 192 + 8 * half + is;
      for (u32 k = 0; k < 2; k++) {
        u32 a = low0 >> 8 * k & 255, b = low1 >> 8 * k & 255, h = highs >> 8 * k & 255;
        const float *at = x + 128 * half + l + k;
        sum += (float)(signed char)load_u8(scales) * (float)((int)((a & 15) | (h & 3) << 4) - 32) * at[0];
        sum += (float)(signed char)load_u8(scales + 2) * (float)((int)((b & 15) | (h >> 2 & 3) << 4) - 32) * at[32];
        sum += (float)(signed char)load_u8(scales + 4) * (float)((int)(a >> 4 | (h >> 4 & 3) << 4) - 32) * at[64];
        sum += (float)(signed char)load_u8(scales + 6) * (float)((int)(b >> 4 | (h >> 6) << 4) - 32) * at[96];
      }
      return d * sum;
    }
    u32 group = lane >> 3, at = 4 * (lane & 7);
    const u8 *block = row + (u64)(type == Q4_K ? 144 : 176) * step;
    // Scale, minimum and the scales of all 32s in one load.
    Quad head = load_quad(block);
    u32 q = load_u32(block + (type == Q4_K ? 16 : 48) + 32 * group + at);
    Floats x0 = load_floats(x + 64 * group + at), x1 = load_floats(x + 64 * group + 32 + at);
    float d = of_half(QUAD(head, 0) & 0xffff), least = of_half(QUAD(head, 0) >> 16), s0, m0, s1, m1, p0, p1;
    scale_min_of(QUAD(head, 1), QUAD(head, 2), QUAD(head, 3), 2 * group, &s0, &m0);
    scale_min_of(QUAD(head, 1), QUAD(head, 2), QUAD(head, 3), 2 * group + 1, &s1, &m1);
    if (type == Q4_K) {
      p0 = nibbles(x0, q);
      p1 = nibbles(x1, q >> 4);
    } else {
      // A byte a column, whose bit 2·group is of the lower nibbles.
      u32 bits = load_u32(block + 16 + at) >> 2 * group;
      u32 h0 = (bits & 1) | (bits >> 8 & 1) << 1 | (bits >> 16 & 1) << 2 | (bits >> 24 & 1) << 3;
      bits >>= 1;
      u32 h1 = (bits & 1) | (bits >> 8 & 1) << 1 | (bits >> 16 & 1) << 2 | (bits >> 24 & 1) << 3;
      p0 = fives(x0, q, h0);
      p1 = fives(x1, q >> 4, h1);
    }
    return d * (s0 * p0 + s1 * p1) - least * (m0 * sum4(x0) + m1 * sum4(x1));
  }
  // Blocks of 32, of which four lanes take one.
  u32 at = 8 * step + (lane >> 2), part = lane & 3;
  // Past the end the first block once more, for nothing: a branch would keep the loads of several steps apart.
  u32 within = 32 * at < cols;
  float y;
  at = within ? at : 0;
  x += 32 * at;
  if (type == Q8_0) {
    const u8 *block = row + (u64)34 * at;
    u32 q0 = two_bytes(block + 2 + 8 * part), q1 = two_bytes(block + 6 + 8 * part);
    Floats x0 = load_floats(x + 8 * part), x1 = load_floats(x + 8 * part + 4);
    float sum = dot4(x0, (float)(signed char)(q0 & 255), (float)(signed char)(q0 >> 8 & 255),
                     (float)(signed char)(q0 >> 16 & 255), (float)(signed char)(q0 >> 24)) +
                dot4(x1, (float)(signed char)(q1 & 255), (float)(signed char)(q1 >> 8 & 255),
                     (float)(signed char)(q1 >> 16 & 255), (float)(signed char)(q1 >> 24));
    y = of_half(load_u16(block)) * sum;
    return within ? y : 0.0f;
  }
  Floats x0 = load_floats(x + 4 * part), x1 = load_floats(x + 16 + 4 * part);
  if (type == Q4_0) {
    const u8 *block = row + (u64)18 * at;
    u32 q = two_bytes(block + 2 + 4 * part);
    y = of_half(load_u16(block)) * (nibbles(x0, q) + nibbles(x1, q >> 4) - 8.0f * (sum4(x0) + sum4(x1)));
  } else if (type == Q4_1) {
    const u8 *block = row + (u64)20 * at;
    u32 dm = load_u32(block), q = load_u32(block + 4 + 4 * part);
    y = of_half(dm & 0xffff) * (nibbles(x0, q) + nibbles(x1, q >> 4)) + of_half(dm >> 16) * (sum4(x0) + sum4(x1));
  } else if (type == Q5_0) {
    const u8 *block = row + (u64)22 * at;
    u32 bits = two_bytes(block + 2) >> 4 * part, q = two_bytes(block + 6 + 4 * part);
    y = of_half(load_u16(block)) * (fives(x0, q, bits) + fives(x1, q >> 4, bits >> 16) - 16.0f * (sum4(x0) + sum4(x1)));
  } else {
    const u8 *block = row + (u64)24 * at;
    u32 dm = load_u32(block), bits = load_u32(block + 4) >> 4 * part, q = load_u32(block + 8 + 4 * part);
    y = of_half(dm & 0xffff) * (fives(x0, q, bits) + fives(x1, q >> 4, bits >> 16)) +
        of_half(dm >> 16) * (sum4(x0) + sum4(x1));
  }
  return within ? y : 0.0f;
}

// The product of a row with x (shared, cols) in the columns of the steps from..to, on all lanes of the warp.
DEVICE float dot(const Matrix *matrix, u32 row, const float *x, u32 from, u32 to) {
  const u8 *weights = (const u8 *)matrix->data + (u64)row * matrix->stride;
  u32 lane = THREAD % WARP, cols = matrix->cols, type = matrix->type;
  float sum = 0.0f;
  if (type == F16 || type == BF16) {
    for (u32 step = from; step < to; step += 4) {
      Quad quads[4];
      // All four are on their way before the first is needed.
#pragma unroll
      for (u32 k = 0; k < 4; k++) {
        u32 at = STEP * (step + k) + 8 * lane;
        if (step + k < to && at < cols) quads[k] = load_quad(weights + 2 * at);
      }
#pragma unroll
      for (u32 k = 0; k < 4; k++) {
        u32 at = STEP * (step + k) + 8 * lane;
        if (step + k < to && at < cols) {
          Floats x0 = load_floats(x + at), x1 = load_floats(x + at + 4);
          u32 a = QUAD(quads[k], 0), b = QUAD(quads[k], 1), c = QUAD(quads[k], 2), d = QUAD(quads[k], 3);
          sum += dot4(x0, low(a, type), high(a, type), low(b, type), high(b, type));
          sum += dot4(x1, low(c, type), high(c, type), low(d, type), high(d, type));
        }
      }
    }
  } else if (type == F32) {
#pragma unroll 4
    for (u32 step = from; step < to; step++) {
      u32 at = STEP * step + 8 * lane;
      if (at < cols) {
        Quad a = load_quad(weights + 4 * at), b = load_quad(weights + 4 * at + 16);
        sum += dot4(load_floats(x + at), of_bits(QUAD(a, 0)), of_bits(QUAD(a, 1)), of_bits(QUAD(a, 2)), of_bits(QUAD(a, 3)));
        sum += dot4(load_floats(x + at + 4), of_bits(QUAD(b, 0)), of_bits(QUAD(b, 1)), of_bits(QUAD(b, 2)), of_bits(QUAD(b, 3)));
      }
    }
  } else {
#define EACH(kind)                                             \
  case kind:                                                   \
    _Pragma("unroll 4") for (u32 step = from; step < to; step++) \
        sum += lane_dot_quantised(kind, weights, cols, x, step, lane); \
    break;
    switch (type) { EACH(Q4_0) EACH(Q4_1) EACH(Q5_0) EACH(Q5_1) EACH(Q8_0) EACH(Q4_K) EACH(Q5_K) EACH(Q6_K) }
#undef EACH
  }
  return warp_sum(sum);
}

// A weight by itself, for the embeddings.
SLOW float element(const Matrix *matrix, u32 row, u32 col) {
  const u8 *weights = (const u8 *)matrix->data + (u64)row * matrix->stride;
  u32 at = col / 32, j = col % 32, q, bits;
  const u8 *block;
  float scale, least;
  switch (matrix->type) {
    case F32: return load_f32(weights + 4 * (u64)col);
    case F16: return of_half(load_u16(weights + 2 * (u64)col));
    case BF16: return of_bfloat(load_u16(weights + 2 * (u64)col));
    case Q4_0:
      block = weights + (u64)18 * at;
      q = load_u8(block + 2 + j % 16) >> (j < 16 ? 0 : 4) & 15;
      return of_half(load_u16(block)) * ((float)q - 8.0f);
    case Q4_1:
      block = weights + (u64)20 * at;
      q = load_u8(block + 4 + j % 16) >> (j < 16 ? 0 : 4) & 15;
      return of_half(load_u16(block)) * (float)q + of_half(load_u16(block + 2));
    case Q5_0:
      block = weights + (u64)22 * at;
      bits = two_bytes(block + 2) >> j & 1;
      q = (load_u8(block + 6 + j % 16) >> (j < 16 ? 0 : 4) & 15) | bits << 4;
      return of_half(load_u16(block)) * ((float)q - 16.0f);
    case Q5_1:
      block = weights + (u64)24 * at;
      bits = load_u32(block + 4) >> j & 1;
      q = (load_u8(block + 8 + j % 16) >> (j < 16 ? 0 : 4) & 15) | bits << 4;
      return of_half(load_u16(block)) * (float)q + of_half(load_u16(block + 2));
    case Q8_0:
      block = weights + (u64)34 * at;
      return of_half(load_u16(block)) * (float)(signed char)load_u8(block + 2 + j);
    case Q6_K: {
      block = weights + (u64)210 * (col / 256);
      u32 half = col % 256 / 128, part = col % 128 / 32;
      q = load_u8(block + 64 * half + 32 * (part & 1) + j) >> (part < 2 ? 0 : 4) & 15;
      bits = load_u8(block + 128 + 32 * half + j) >> 2 * part & 3;
      scale = (float)(signed char)load_u8(block + 192 + 8 * half + 2 * part + j / 16);
      return of_half(load_u16(block + 208)) * scale * (float)((int)(q | bits << 4) - 32);
    }
    default: {
      u32 five = matrix->type == Q5_K, sub = col % 256 / 32;
      block = weights + (u64)(five ? 176 : 144) * (col / 256);
      q = load_u8(block + (five ? 48 : 16) + 32 * (sub / 2) + j) >> (sub % 2 ? 4 : 0) & 15;
      if (five) q |= (load_u8(block + 16 + j) >> sub & 1) << 4;
      scale_min(block + 4, sub, &scale, &least);
      return of_half(load_u16(block)) * scale * (float)q - of_half(load_u16(block + 2)) * least;
    }
  }
}

// The sum over the block of one value a thread, on all threads.
DEVICE float block_sum(Shared *shared, float x) {
  x = warp_sum(x);
  BLOCK_SYNC();
  if (THREAD % WARP == 0) shared->reduce[THREAD / WARP] = x;
  BLOCK_SYNC();
  float sum = 0.0f;
  for (u32 warp = 0; warp < THREADS / WARP; warp++) sum += shared->reduce[warp];
  return sum;
}

// x ← norm(h)·gain for the block's own use; with `raw`, too, what a router reads of h.
DEVICE void normalise(const Plan *plan, Shared *shared, u64 gain, float *x, float *raw) {
  const float *h = FLOATS(plan->hidden);
  float squares = 0.0f;
  for (u32 i = THREAD; i < plan->size; i += THREADS) {
    float value = fresh(h + i);
    x[i] = value;
    squares += value * value;
  }
  float mean = block_sum(shared, squares) / (float)plan->size;
  float scale = 1.0f / sqrtf(mean + plan->eps);
  float of_routers = plan->rms ? 1.0f / sqrtf(mean + EPS_OF_ROUTERS) : 1.0f;
  for (u32 i = THREAD; i < plan->size; i += THREADS) {
    if (raw) raw[i] = x[i] * of_routers;
    x[i] = x[i] * scale * load_f32(FLOATS(gain) + i);
  }
  BLOCK_SYNC();
}

// STORE: out ← W·x + b. ADD: h ← h + W·x + b. GATED: out ← silu(first) · second, the rows of two matrices in turn.
enum { STORE, ADD, GATED };

typedef struct {
  const Matrix *matrix;
  float *out;
  const float *x;
} Part;

typedef struct {
  // The state before the execution, where its step is not whole or will not be.
  float *before;
  float step;
  u32 keep;
} Step;

DEVICE Part part_of(const Matrix *matrix, float *out, const float *x) {
  Part part;
  part.matrix = matrix;
  part.out = out;
  part.x = x;
  return part;
}

DEVICE float biased(const Matrix *matrix, u32 row, float y) {
  return matrix->bias ? y + load_f32(FLOATS(matrix->bias) + row) : y;
}

// Products of several matrices, whose rows are shared out among the blocks.
SLOW void products(Shared *shared, const Part *parts, u32 count, u32 kind, const Step *step) {
  u32 total = 0;
  for (u32 i = 0; i < count; i++) total += parts[i].matrix->rows;
  u32 per = (total + BLOCKS - 1) / BLOCKS;
  if (kind == GATED) per = (per + 1) & ~1u;
  u32 from = per * BLOCK < total ? per * BLOCK : total, to = from + per < total ? from + per : total;
  u32 warp = THREAD / WARP, warps = THREADS / WARP;
  for (u32 tile = from; tile < to; tile += MOST_PARTIALS / 4) {
    u32 rows = to - tile < MOST_PARTIALS / 4 ? to - tile : MOST_PARTIALS / 4;
    // Few rows are cut into pieces, so that no warp waits long for another.
    u32 pieces = (4 * warps + rows - 1) / rows;
    pieces = pieces < 1 ? 1 : pieces > 4 ? 4 : pieces;
    for (u32 item = warp; item < rows * pieces; item += warps) {
      u32 row = tile + item / pieces, piece = item % pieces, part = 0;
      if (kind == GATED) {
        part = row & 1;
        row >>= 1;
      } else {
        while (row >= parts[part].matrix->rows) row -= parts[part++].matrix->rows;
      }
      const Matrix *matrix = parts[part].matrix;
      u32 steps = (matrix->cols + STEP - 1) / STEP;
      float sum = dot(matrix, row, parts[part].x, steps * piece / pieces, steps * (piece + 1) / pieces);
      if (THREAD % WARP == 0) shared->partial[item] = sum;
    }
    BLOCK_SYNC();
    u32 outputs = kind == GATED ? rows / 2 : rows;
    for (u32 i = THREAD; i < outputs; i += THREADS) {
      float y = 0.0f, up = 0.0f;
      if (kind == GATED) {
        u32 row = tile / 2 + i;
        for (u32 k = 0; k < pieces; k++) {
          y += shared->partial[2 * i * pieces + k];
          up += shared->partial[(2 * i + 1) * pieces + k];
        }
        y = biased(parts[0].matrix, row, y);
        up = biased(parts[1].matrix, row, up);
        parts[0].out[row] = y / (1.0f + expf(-y)) * up;
        continue;
      }
      u32 row = tile + i, part = 0;
      while (row >= parts[part].matrix->rows) row -= parts[part++].matrix->rows;
      for (u32 k = 0; k < pieces; k++) y += shared->partial[i * pieces + k];
      y = biased(parts[part].matrix, row, y);
      float *out = parts[part].out + row;
      if (kind == STORE) {
        *out = y;
        continue;
      }
      float h = fresh(out);
      if (step->keep) step->before[row] = h;
      h += y;
      if (step->step != 1.0f) {
        float before = fresh(step->before + row);
        h = before + step->step * (h - before);
      }
      *out = h;
    }
    BLOCK_SYNC();
  }
}

// Asks for the first rows that the block will read of the next product, so that they are on their way while it
// waits for the others.
DEVICE void fetch_ahead(const Plan *plan, const Matrix *first, const Matrix *second) {
  if (!plan->ahead) return;
  const Matrix *both[2] = {first, second};
  for (u32 i = 0; i < 2 && both[i]; i++) {
    u64 rows = both[i]->rows, from = rows * BLOCK / BLOCKS, to = rows * (BLOCK + 1) / BLOCKS;
    u64 bytes = (to - from) * both[i]->stride, at = (u64)128 * THREAD;
    if (at < bytes) fetch_line((const u8 *)both[i]->data + from * both[i]->stride + at);
  }
}

// A head (shared, head_dim) normalised, where the model does, and turned by the token's position; scaled.
DEVICE void turn(const Plan *plan, Shared *shared, float *x, u64 gain, float scale) {
  u32 size = plan->head_dim, half = size / 2;
  if (gain) {
    float squares = 0.0f;
    for (u32 i = THREAD; i < size; i += THREADS) squares += x[i] * x[i];
    float by = 1.0f / sqrtf(block_sum(shared, squares) / (float)size + plan->eps);
    for (u32 i = THREAD; i < size; i += THREADS) x[i] = x[i] * by * load_f32(FLOATS(gain) + i);
    BLOCK_SYNC();
  }
  for (u32 i = THREAD; i < half; i += THREADS) {
    u32 a = plan->interleaved ? 2 * i : i, b = plan->interleaved ? 2 * i + 1 : i + half;
    float cos = load_f32(FLOATS(plan->cos) + i), sin = load_f32(FLOATS(plan->sin) + i);
    float first = x[a], second = x[b];
    x[a] = (first * cos - second * sin) * scale;
    x[b] = (second * cos + first * sin) * scale;
  }
  BLOCK_SYNC();
}

DEVICE float rounded(float x, u32 type) {
  return type == F32 ? x : type == BF16 ? of_bfloat(to_bfloat(x)) : of_half(to_half(x));
}

DEVICE float kept(u64 data, u32 type, u64 at) {
  return type == F32 ? ((const float *)data)[at] : low(((const u16 *)data)[at], type);
}

DEVICE void keep(u64 data, u32 type, u64 at, float x) {
  if (type == F32) ((float *)data)[at] = x;
  else ((u16 *)data)[at] = (u16)(type == BF16 ? to_bfloat(x) : to_half(x));
}

// The token's own key and value of a head, as the pass keeps them, in shared memory; where `append`, kept there.
SLOW void own_entry(const Plan *plan, Shared *shared, const Layer *layer, const Pass *pass, u32 kv_head, u32 buffer, u32 append) {
  u32 size = plan->head_dim, all = plan->kv_heads * size;
  const float *keys = FLOATS(plan->keys) + (u64)2 * all * buffer + kv_head * size;
  for (u32 i = THREAD; i < size; i += THREADS) {
    shared->key[i] = fresh(keys + i);
    shared->value[i] = rounded(fresh(keys + all + i), plan->kv_storage);
  }
  BLOCK_SYNC();
  turn(plan, shared, shared->key, layer->key_gain, 1.0f);
  u64 row = ((u64)kv_head * pass->capacity + pass->len) * size;
  for (u32 i = THREAD; i < size; i += THREADS) {
    shared->key[i] = rounded(shared->key[i], plan->kv_storage);
    if (append) {
      keep(pass->keys, plan->kv_storage, row + i, shared->key[i]);
      keep(pass->values, plan->kv_storage, row + i, shared->value[i]);
    }
  }
  BLOCK_SYNC();
}

// How many pieces the entries of a pass are cut into, each a block's work beside the query head.
DEVICE u32 splits_of(const Plan *plan, const Pass *pass) {
  u32 most = BLOCKS / plan->heads, wanted = (pass->len + 64) / 64;
  most = most < 1 ? 1 : most > MOST_SPLITS ? MOST_SPLITS : most;
  return wanted < most ? wanted : most;
}

// What query heads read of the pass's entries and of the token's own, piece by piece: not yet divided by their sums.
SLOW void attention(const Plan *plan, Shared *shared, const Layer *layer, const Pass *pass, u32 buffer) {
  u32 size = plan->head_dim, group = plan->heads / plan->kv_heads, splits = splits_of(plan, pass);
  u32 warp = THREAD / WARP, warps = THREADS / WARP, lane = THREAD % WARP, each = size / WARP;
  u32 per = (pass->len + splits - 1) / splits;
  for (u32 item = BLOCK; item < plan->heads * splits; item += BLOCKS) {
    u32 head = item / splits, split = item % splits, kv_head = head / group;
    u32 from = per * split < pass->len ? per * split : pass->len, to = from + per < pass->len ? from + per : pass->len;
    u32 last = split == splits - 1;
    const float *queries = FLOATS(plan->queries) + (u64)plan->heads * size * buffer + head * size;
    for (u32 i = THREAD; i < size; i += THREADS) shared->query[i] = fresh(queries + i);
    BLOCK_SYNC();
    turn(plan, shared, shared->query, layer->query_gain, plan->scale);
    if (last) own_entry(plan, shared, layer, pass, kv_head, buffer, head % group == 0);
    float greatest = -INFINITY, sum = 0.0f, mixed[MOST_HEAD / WARP];
#pragma unroll
    for (u32 d = 0; d < MOST_HEAD / WARP; d++) mixed[d] = 0.0f;
    u64 base = (u64)kv_head * pass->capacity * size;
    // Four entries at once, whose loads overlap.
    for (u32 first = from + 4 * warp; first < to; first += 4 * warps) {
      float scores[4], most = greatest;
#pragma unroll
      for (u32 k = 0; k < 4; k++) {
        float score = 0.0f;
        if (first + k < to) {
          u64 row = base + (u64)(first + k) * size;
#pragma unroll
          for (u32 d = 0; d < MOST_HEAD / WARP; d++)
            if (d < each) score += shared->query[WARP * d + lane] * kept(pass->keys, plan->kv_storage, row + WARP * d + lane);
        }
        scores[k] = score;
      }
#pragma unroll
      for (u32 k = 0; k < 4; k++) {
        scores[k] = warp_sum(scores[k]);
        if (first + k < to) most = fmaxf(most, scores[k]);
      }
      float fade = expf(greatest - most);
      sum *= fade;
#pragma unroll
      for (u32 d = 0; d < MOST_HEAD / WARP; d++) mixed[d] *= fade;
#pragma unroll
      for (u32 k = 0; k < 4; k++) {
        if (first + k < to) {
          float weight = expf(scores[k] - most);
          u64 row = base + (u64)(first + k) * size;
          sum += weight;
#pragma unroll
          for (u32 d = 0; d < MOST_HEAD / WARP; d++)
            if (d < each) mixed[d] += weight * kept(pass->values, plan->kv_storage, row + WARP * d + lane);
        }
      }
      greatest = most;
    }
    if (last && warp == 0) {
      float score = 0.0f;
      for (u32 d = 0; d < each; d++) score += shared->query[WARP * d + lane] * shared->key[WARP * d + lane];
      score = warp_sum(score);
      float most = fmaxf(greatest, score), fade = expf(greatest - most), weight = expf(score - most);
      sum = sum * fade + weight;
#pragma unroll
      for (u32 d = 0; d < MOST_HEAD / WARP; d++)
        if (d < each) mixed[d] = mixed[d] * fade + weight * shared->value[WARP * d + lane];
      greatest = most;
    }
#pragma unroll
    for (u32 d = 0; d < MOST_HEAD / WARP; d++)
      if (d < each) shared->mixed[warp * size + WARP * d + lane] = mixed[d];
    if (lane == 0) {
      shared->greatest[warp] = greatest;
      shared->sums[warp] = sum;
    }
    BLOCK_SYNC();
    float most = -INFINITY;
    for (u32 w = 0; w < warps; w++) most = fmaxf(most, shared->greatest[w]);
    for (u32 i = THREAD; i < size; i += THREADS) {
      float y = 0.0f;
      for (u32 w = 0; w < warps; w++)
        if (shared->sums[w] > 0.0f) y += expf(shared->greatest[w] - most) * shared->mixed[w * size + i];
      FLOATS(plan->partial)[(u64)item * size + i] = y;
    }
    if (THREAD == 0) {
      float all = 0.0f;
      for (u32 w = 0; w < warps; w++)
        if (shared->sums[w] > 0.0f) all += expf(shared->greatest[w] - most) * shared->sums[w];
      FLOATS(plan->greatest)[item] = most;
      FLOATS(plan->sums)[item] = all;
    }
    BLOCK_SYNC();
  }
}

// The pieces of all heads put together: x ← (heads · head_dim), for the block's own use.
DEVICE void put_together(const Plan *plan, Shared *shared, const Pass *pass, float *x) {
  u32 size = plan->head_dim, splits = splits_of(plan, pass);
  const float *partial = FLOATS(plan->partial);
  // What each piece weighs, of as many heads at a time as there is room for.
  for (u32 first = 0; first < plan->heads; first += MOST_PARTIALS / MOST_SPLITS) {
    u32 heads = plan->heads - first < MOST_PARTIALS / MOST_SPLITS ? plan->heads - first : MOST_PARTIALS / MOST_SPLITS;
    for (u32 head = THREAD; head < heads; head += THREADS) {
      u32 item = (first + head) * splits;
      float most = -INFINITY, sum = 0.0f;
      for (u32 s = 0; s < splits; s++) most = fmaxf(most, fresh(FLOATS(plan->greatest) + item + s));
      for (u32 s = 0; s < splits; s++) {
        float piece = fresh(FLOATS(plan->sums) + item + s);
        float weight = piece > 0.0f ? expf(fresh(FLOATS(plan->greatest) + item + s) - most) : 0.0f;
        shared->partial[head * splits + s] = weight;
        sum += weight * piece;
      }
      for (u32 s = 0; s < splits; s++) shared->partial[head * splits + s] /= sum;
    }
    BLOCK_SYNC();
    for (u32 i = THREAD; i < heads * size; i += THREADS) {
      u32 head = i / size;
      const float *pieces = partial + (u64)(first + head) * splits * size + i % size;
      float y = 0.0f;
#pragma unroll 4
      for (u32 s = 0; s < splits; s++) y += shared->partial[head * splits + s] * fresh(pieces + (u64)s * size);
      x[first * size + i] = y;
    }
    BLOCK_SYNC();
  }
}

// src/router/policy.rs, `dial`.
DEVICE void dial(const float *p, double at, float *dialled) {
  double t;
  float sum = 0.0f;
  for (int i = 0; i < 3; i++) {
    double from, to;
    if (at <= -0.5) {
      t = (at + 1.0) / 0.5;
      from = i == SKIP;
      to = p[i];
    } else if (at <= 0.5) {
      t = at + 0.5;
      from = p[i];
      to = i == EXECUTE;
    } else {
      t = (at - 0.5) / 0.5;
      from = i == EXECUTE;
      to = i == REPEAT;
    }
    dialled[i] = (float)((1.0 - t) * from + t * to);
    sum += dialled[i];
  }
  for (int i = 0; i < 3; i++) dialled[i] /= sum;
}

// src/router/policy.rs, `Proposal::action` and `next_action`.
DEVICE int choose(const Plan *plan, u32 l, int forced, const float *p, int left) {
  if (!plan->values && forced >= 0) return forced;
  float dialled[3];
  int best = SKIP;
  dial(p, plan->dial, dialled);
  if (!plan->values) {
    for (int a = EXECUTE; a <= REPEAT; a++)
      if (dialled[a] > dialled[best]) best = a;
    return best;
  }
  const double *after = (const double *)plan->values + (u64)(l + 1) * (plan->budget + 1);
  double worth = -INFINITY;
  for (int a = SKIP; a <= REPEAT; a++) {
    if (a > left || (forced >= 0 && a != forced)) continue;
    double p_a = (double)dialled[a] > 1e-30 ? (double)dialled[a] : 1e-30;
    double value = log(p_a) + after[left - a];
    if (value > worth) {
      worth = value;
      best = a;
    }
  }
  return worth > -INFINITY ? best : forced >= 0 ? forced : SKIP;
}

DEVICE float gelu(float x) {
  return 0.5f * x * (1.0f + tanhf(0.7978846f * (x + 0.044715f * x * x * x)));
}

// What the layer does: every block comes to the same, from the router's hidden units.
SLOW int decide(const Plan *plan, Shared *shared, u32 l, int *left) {
  const Layer *layer = LAYER(plan, l);
  int forced = RULE(plan, l)->forced;
  if (plan->ask) {
    u32 warp = THREAD / WARP, lane = THREAD % WARP, width = plan->router_width;
    const float *units = FLOATS(plan->units) + (u64)width * (l & 1);
    for (u32 action = warp; action < 3; action += THREADS / WARP) {
      float sum = 0.0f;
      for (u32 i = lane; i < width; i += WARP)
        sum += load_f32(FLOATS(layer->router_w2) + action * width + i) * gelu(fresh(units + i));
      sum = warp_sum(sum);
      if (lane == 0) shared->logits[action] = sum + load_f32(FLOATS(layer->router_b2) + action);
    }
  }
  BLOCK_SYNC();
  if (THREAD == 0) {
    float p[3] = {0.0f, 0.0f, 0.0f};
    if (plan->ask) {
      float most = fmaxf(shared->logits[0], fmaxf(shared->logits[1], shared->logits[2])), sum = 0.0f;
      for (int i = 0; i < 3; i++) sum += p[i] = expf(shared->logits[i] - most);
      for (int i = 0; i < 3; i++) p[i] /= sum;
    }
    shared->action = choose(plan, l, forced, p, *left);
    shared->left = *left - shared->action;
    if (BLOCK == 0) {
      for (int i = 0; i < 3; i++) FLOATS(plan->probabilities)[3 * l + i] = p[i];
      INTS(plan->actions)[l] = shared->action;
      INTS(plan->left)[l + 1] = shared->left;
    }
  }
  BLOCK_SYNC();
  *left = shared->left;
  int action = shared->action;
  BLOCK_SYNC();
  return action;
}

// Which of a layer's first products are computed before it is decided.
DEVICE u32 first_queries(const Rule *rule) {
  return rule->forced >= 0 ? rule->forced != SKIP : rule->queries;
}
DEVICE u32 first_entries(const Plan *plan, const Rule *rule) { return plan->fill || first_queries(rule); }

// Runs a phase; whether what it wrote is for other blocks. 0 embeds. Then of each layer: 0 the first products and the
// router's; 1 the decision, and products that were left for it; 2 attention, or the entry of a token that skips the layer;
// 3 the output's product; 4 gate and up; 5 down; 6 to 10 the same of the second execution. The last: final norm and head.
DEVICE int run_phase(const Plan *plan, Shared *shared, float *x, u32 phase, int *action, int *left) {
  Step step = {FLOATS(plan->before), 1.0f, 0};
  Part parts[4];
  u32 count = 0;
  if (phase == 0) {
    if (BLOCK == 0 && THREAD == 0) INTS(plan->left)[0] = (int)plan->budget;
    for (u32 i = BLOCK * THREADS + THREAD; i < plan->size; i += BLOCKS * THREADS)
      FLOATS(plan->hidden)[i] = element(&plan->embedding, plan->token, i) * plan->embedding_scale;
    return 1;
  }
  u32 l = (phase - 1) / PHASES_A_LAYER, k = (phase - 1) % PHASES_A_LAYER, n = k > 5;
  if (l == plan->layer_count) {
    normalise(plan, shared, plan->final_gain, x, 0);
    parts[count++] = part_of(&plan->head, FLOATS(plan->logits), x);
    products(shared, parts, count, STORE, &step);
    return 0;
  }
  const Layer *layer = LAYER(plan, l);
  const Rule *rule = RULE(plan, l);
  const Pass *pass = PASS(plan, l, n);
  u32 buffer = (l + n) & 1, all = plan->kv_heads * plan->head_dim;
  float *queries = FLOATS(plan->queries) + (u64)plan->heads * plan->head_dim * buffer;
  float *keys = FLOATS(plan->keys) + (u64)2 * all * buffer;
  if (k >= 2 && *action == UNKNOWN) *action = fresh_int(INTS(plan->actions) + l);
  if (n == 1) {
    if (*action != REPEAT) return 0;
    k -= 4;  // 2 here is products, then attention at 3, and so on: one behind the first execution's.
  }
  if ((n == 0 && k < 2) || (n == 1 && k == 2)) {
    u32 with_queries, with_entries, ask = 0;
    if (n == 1) {
      with_queries = with_entries = 1;
    } else if (k == 0) {
      *action = UNKNOWN;
      with_queries = first_queries(rule);
      with_entries = first_entries(plan, rule);
      ask = plan->ask;
    } else {
      if (*left == UNREAD) *left = fresh_int(INTS(plan->left) + l);
      *action = decide(plan, shared, l, left);
      with_queries = *action != SKIP && !first_queries(rule);
      with_entries = *action != SKIP && !first_entries(plan, rule);
    }
    if (!with_queries && !with_entries && !ask) return 0;
    float *raw = x + plan->size;
    normalise(plan, shared, layer->attention_gain, x, ask ? raw : 0);
    if (with_queries) parts[count++] = part_of(&layer->query, queries, x);
    if (with_entries) parts[count++] = part_of(&layer->key, keys, x);
    if (with_entries) parts[count++] = part_of(&layer->value, keys + all, x);
    if (ask) parts[count++] = part_of(&layer->router, FLOATS(plan->units) + (u64)plan->router_width * (l & 1), raw);
    products(shared, parts, count, STORE, &step);
    return 1;
  }
  if (n == 0 && *action == SKIP) {
    // Two buffers in turn: the next layer's products may begin while a block is still here.
    if (k == 2 && plan->fill)
      for (u32 head = BLOCK; head < plan->kv_heads; head += BLOCKS) own_entry(plan, shared, layer, pass, head, buffer, 1);
    return 0;
  }
  switch (k - n) {
    case 2:
      attention(plan, shared, layer, pass, buffer);
      fetch_ahead(plan, &layer->output, 0);
      return 1;
    case 3:
      put_together(plan, shared, pass, x);
      step.keep = n == 1 && rule->step != 1.0f;
      parts[count++] = part_of(&layer->output, FLOATS(plan->hidden), x);
      products(shared, parts, count, ADD, &step);
      fetch_ahead(plan, &layer->gate, &layer->up);
      return 1;
    case 4:
      normalise(plan, shared, layer->mlp_gain, x, 0);
      parts[count++] = part_of(&layer->gate, FLOATS(plan->mlp), x);
      parts[count++] = part_of(&layer->up, FLOATS(plan->mlp), x);
      products(shared, parts, count, GATED, &step);
      fetch_ahead(plan, &layer->down, 0);
      return 1;
    default:
      for (u32 i = THREAD; i < plan->width; i += THREADS) x[i] = fresh(FLOATS(plan->mlp) + i);
      BLOCK_SYNC();
      if (n == 1) step.step = rule->step;
      parts[count++] = part_of(&layer->down, FLOATS(plan->hidden), x);
      products(shared, parts, count, ADD, &step);
      if (l + 1 < plan->layer_count) fetch_ahead(plan, &LAYER(plan, l + 1)->query, &LAYER(plan, l + 1)->key);
      else fetch_ahead(plan, &plan->head, 0);
      return 1;
  }
}

KERNEL(512) decode_token(Plan *plan, u32 first, u32 last) {
  SHARED(Shared, shared);
  SHARED_FLOATS(x);
  u32 goal = 0;
  int action = UNKNOWN, left = first == 0 ? (int)plan->budget : UNREAD;
  for (u32 phase = first; phase < last; phase++)
    if (run_phase(plan, shared, x, phase, &action, &left) && phase + 1 < last) grid_sync(&plan->barrier, &goal);
}
