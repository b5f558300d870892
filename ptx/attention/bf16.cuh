// The kernels of attention in bf16, whose products run on tensor cores; kernel.cu describes what they compute.
//
// Mapping: blocks of 1 to 4 warps; tiles of rows are along x, heads along y, images along z. A warp keeps M tiles of 16
// rows as operands A in registers, those of queries (forward, gradient of queries) or of keys and values (their
// gradient), and walks over 16 rows of the other side at a time. What it walks over lies in shared memory in two stages
// of SPAN rows of two tensors: one is read while copies fill the other, so that a stage takes one barrier. Scores stay
// in registers: the sums of one product, narrowed to bf16, are the operand of the next.
//
// The forward pass scales the powers of a row by its largest score so far, or by an earlier one while no power is larger
// than LARGEST: only then does the row take a new one and scale what it has. Bound by the products.
#pragma once
#include "tiles.cuh"

namespace tensor {

// The largest power.
constexpr float LARGEST = 256.0f;

// The probabilities of the class row, which all threads of its block write. N channels are read at once.
template <int N>
__device__ __forceinline__ void write_probabilities(const Inputs& in, float* to, u32 class_row, float factor, float log) {
    const Sizes& s = in.s;
    const u32 stride = 3 * in.width();
#pragma unroll 1
    for (u32 key = threadIdx.x; key < s.keys(); key += blockDim.x) {
        float score = 0.0f;
#pragma unroll 1
        for (u32 i = 0; i < s.c; i += N) {
            float q[N], k[N];
            load<N>(in.qkv + class_row * stride + i, q);
            if (key < s.n) {
                load<N>(in.extra + key * s.c + i, k);
            } else {
                load<N>(in.qkv + (key - s.n) * stride + KEY * in.width() + i, k);
            }
#pragma unroll
            for (int j = 0; j < N; j++) score = fmaf(q[j], widen(narrow(k[j])), score);
        }
        to[(static_cast<size_t>(blockIdx.z) * s.heads + blockIdx.y) * s.keys() + key] =
            exp2_approx(fmaf(score, factor, -log));
    }
}

// Scales what rows have by the largest of what it is scaled by and of 16 new scores, times `size`.
template <int C, int M>
__device__ __forceinline__ void raise_most(const float (&scores)[M][2][4], float size, float (&most)[M][2],
                                           float (&total)[M][2], float (&sums)[M][C / EIGHT][4]) {
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float* a = &scores[m][0][2 * h];
            const float* b = &scores[m][1][2 * h];
            const float largest = row_max(fmaxf(fmaxf(a[0], a[1]), fmaxf(b[0], b[1]))) * size;
            const float now = fmaxf(most[m][h], largest), shrink = exp2_approx(most[m][h] - now);
            most[m][h] = now, total[m][h] *= shrink;
#pragma unroll
            for (int j = 0; j < C / EIGHT; j++) sums[m][j][2 * h] *= shrink, sums[m][j][2 * h + 1] *= shrink;
        }
    }
}

template <int C, int M>
__device__ __forceinline__ void forward(const Inputs& in, const float* temperature, bf16* out, float* logs,
                                        float* probabilities, float scale, u32 class_row) {
    enum { SPAN = Stage<C>::SPAN };
    static_assert(M * SIXTEEN * WARPS <= 2 * SPAN);
    __shared__ __align__(16) Stage<C> stages[2];
    __shared__ float class_log;
    const Sizes& s = in.s;
    const Lane lane;
    const u32 count = blockDim.x / WARP * M * SIXTEEN, first = blockIdx.x * count;
    const u32 own = first + lane.warp * M * SIXTEEN, keys = s.keys();
    const float factor = binary_factor(scale, temperature), size = fabsf(factor);
    const auto stage = [&](u32 which, u32 key) {
        in.fill_keys(stages[which].rows[0], stages[which].rows[1], span<C>(key, keys), key);
    };
    in.fill_queries<1, C>({stages[1].rows[0]}, {in.queries()}, count, first);
    stage(0, 0);
    wait_for_copies();
    __syncthreads();
    u32 q[M][C / SIXTEEN][4];
    operands<C>(q, lane.down(stages[1].rows[0] + lane.warp * M * SIXTEEN), factor < 0.0f);
    float sums[M][C / EIGHT][4] = {}, most[M][2], total[M][2] = {};
#pragma unroll
    for (int m = 0; m < M; m++) most[m][0] = most[m][1] = negative_infinity();
    const u32 across = kept(lane.across(stages[0].rows[0])), down = kept(lane.down(stages[0].rows[0]));
    u32 which = 0;
#pragma unroll 1
    for (u32 key = 0; key < keys; key += SPAN, which ^= 1) {
        wait_for_copies();
        // The other stage, and the queries in it, are read no more.
        __syncthreads();
        if (key + SPAN < keys) stage(which ^ 1, key + SPAN);
        if (own >= s.l) continue;
        u32 k = across + which * sizeof(Stage<C>), v = down + which * sizeof(Stage<C>) + sizeof(Stage<C>) / 2;
        u32 left = keys - key;
        const u32 end = left - span<C>(key, keys);
#pragma unroll 1
        do {
            float p[M][2][4], sum[M][2];
            // The first scores of a row raise what its powers are scaled by, and later ones if their powers are too large:
            // then scores are computed again.
            bool raise = left == keys, fits;
            do {
                times_rows<C>(p, q, k);
                // Both are rare, and share a branch.
                if (raise || left < SIXTEEN) {
                    hide(p, lane, left);
                    if (raise) raise_most<C>(p, size, most, total, sums);
                }
                fits = true;
#pragma unroll
                for (int m = 0; m < M; m++) {
#pragma unroll
                    for (int e = 0; e < EIGHT; e++) {
                        const int h = e % 4 / 2;
                        float& power = p[m][e / 4][e % 4];
                        power = exp2_approx(fmaf(power, size, -most[m][h]));
                        sum[m][h] = e % 4 == 2 * h && e < 4 ? power : sum[m][h] + power;
                    }
                    fits &= sum[m][0] <= LARGEST && sum[m][1] <= LARGEST;
                }
                fits = __all_sync(0xFFFFFFFFu, fits || raise);
                raise = true;
            } while (!fits);
#pragma unroll
            for (int m = 0; m < M; m++) total[m][0] += sum[m][0], total[m][1] += sum[m][1];
            add_weighted<C>(sums, p, v);
            k += SIXTEEN * sizeof(Row<C>), v += SIXTEEN * sizeof(Row<C>), left -= SIXTEEN;
        } while (left != end);
    }
    const bool classed = probabilities != nullptr && class_row - first < count;
    // The stages are read no more.
    __syncthreads();
    if (own < s.l) {
        float inverse[M][2];
#pragma unroll
        for (int m = 0; m < M; m++) {
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const u32 row = own + m * SIXTEEN + h * EIGHT + lane.g;
                const float sum = row_sum(total[m][h]), log = most[m][h] + log2_approx(sum);
                inverse[m][h] = reciprocal(sum);
                if (lane.t != 0 || row >= s.l) continue;
                if (logs != nullptr) logs[s.query_at(row)] = log;
                if (classed && row == class_row) class_log = log;
            }
        }
        const u32 width = in.width();
        bf16* to = out + s.out_at(own);
        hand_over<bf16, C>(lane, stages, sums, inverse, s.l - own, s.c, [&](u32 row, u32 channel, auto& x) {
            put(to + (row * width + channel), x, false);
        });
    }
    if (!classed) return;
    __syncthreads();
    if (s.c % EIGHT == 0) {
        write_probabilities<EIGHT>(in, probabilities, class_row, factor, class_log);
    } else {
        write_probabilities<1>(in, probabilities, class_row, factor, class_log);
    }
}

// Writes delta, and where they are asked for the gradients of the queries and for each block its part of
// sum_ij ds[i, j] s[i, j].
template <int C, int M>
__device__ __forceinline__ void grad_queries(const Inputs& in, const float* temperature, const float* logs,
                                             const bf16* out, const bf16* dout, float* delta, bf16* dqkv,
                                             float* dtemperature, float scale, bool add) {
    enum { SPAN = Stage<C>::SPAN };
    static_assert(M * SIXTEEN * WARPS <= 2 * SPAN);
    __shared__ __align__(16) Stage<C> stages[2];
    __shared__ float parts[WARPS][1];
    const Sizes& s = in.s;
    const Lane lane;
    const u32 count = blockDim.x / WARP * M * SIXTEEN, first = blockIdx.x * count;
    const u32 own = first + lane.warp * M * SIXTEEN, keys = s.keys();
    const float factor = binary_factor(scale, temperature), size = fabsf(factor), ln_2 = 0.69314718055994530942f;
    const auto stage = [&](u32 which, u32 key) {
        in.fill_keys(stages[which].rows[0], stages[which].rows[1], span<C>(key, keys), key);
    };
    in.fill_queries<2, C>({stages[0].rows[0], stages[1].rows[0]}, {in.queries(), in.like_out(dout)}, count, first);
    wait_for_copies();
    __syncthreads();
    u32 q[M][C / SIXTEEN][4], g[M][C / SIXTEEN][4];
    operands<C>(q, lane.down(stages[0].rows[0] + lane.warp * M * SIXTEEN), factor < 0.0f);
    operands<C>(g, lane.down(stages[1].rows[0] + lane.warp * M * SIXTEEN), false);
    // Queries and gradients are read no more.
    __syncthreads();
    in.fill_queries<1, C>({stages[1].rows[0]}, {in.like_out(out)}, count, first);
    stage(0, 0);
    wait_for_copies();
    __syncthreads();
    float log[M][2], mean[M][2];
#pragma unroll
    for (int m = 0; m < M; m++) {
        // delta is the diagonal of dout times the transpose of out, of which each lane of four may have an element.
        float products[1][2][4];
        const u32 rows = lane.across(stages[1].rows[0] + (lane.warp * M + m) * SIXTEEN);
        times_rows<C>(products, reinterpret_cast<const u32(&)[1][C / SIXTEEN][4]>(g[m]), rows);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const u32 row = own + m * SIXTEEN + h * EIGHT + lane.g;
            const float here = lane.g % 2 == 0 ? products[0][h][2 * h] : products[0][h][2 * h + 1];
            mean[m][h] = __shfl_sync(0xFFFFFFFFu, here, 4 * lane.g + lane.g / 2);
            log[m][h] = row < s.l ? logs[s.query_at(row)] : 0.0f;
            if (row < s.l && lane.t == 0) delta[s.query_at(row)] = mean[m][h];
        }
    }
    if (dqkv == nullptr && dtemperature == nullptr) return;
    float sums[M][C / EIGHT][4] = {}, along[1] = {0.0f}, rest[M][2] = {}, mean_score[M][2] = {};
    const u32 across = kept(lane.across(stages[0].rows[0])), down = kept(lane.down(stages[0].rows[0]));
    u32 which = 0;
#pragma unroll 1
    for (u32 key = 0; key < keys; key += SPAN, which ^= 1) {
        wait_for_copies();
        __syncthreads();
        if (key + SPAN < keys) stage(which ^ 1, key + SPAN);
        if (own >= s.l) continue;
        const u32 rows = span<C>(key, keys);
        const u32 k = across + which * sizeof(Stage<C>), v = k + sizeof(Stage<C>) / 2;
        const u32 weighted = down + which * sizeof(Stage<C>);
#pragma unroll 1
        for (u32 i = 0; i < rows; i += SIXTEEN) {
            float scores[M][2][4], ds[M][2][4];
            times_rows<C>(scores, q, k + i * sizeof(Row<C>));
            times_rows<C>(ds, g, v + i * sizeof(Row<C>));
            if (key + i + SIXTEEN > keys) hide(scores, lane, keys - key - i);
            if (dtemperature != nullptr) {
#pragma unroll
                for (int m = 0; m < M; m++) {
#pragma unroll
                    for (int e = 0; e < EIGHT; e++) {
                        const int h = e % 4 / 2;
                        const float score = scores[m][e / 4][e % 4];
                        const float p = exp2_approx(fmaf(score, size, -log[m][h]));
                        const float d = p * (ds[m][e / 4][e % 4] - mean[m][h]);
                        along[0] = fmaf(d, score, along[0]);
                        rest[m][h] += d, mean_score[m][h] = fmaf(p, score, mean_score[m][h]);
                    }
                }
            }
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int e = 0; e < EIGHT; e++) {
                    const int h = e % 4 / 2;
                    float& d = ds[m][e / 4][e % 4];
                    d = exp2_approx(fmaf(scores[m][e / 4][e % 4], size, -log[m][h])) * (d - mean[m][h]);
                }
            }
            if (dqkv != nullptr) add_weighted<C>(sums, ds, weighted + i * sizeof(Row<C>));
        }
    }
    if (dtemperature != nullptr) {
        // A row of ds should add up to 0. What it adds up to comes from out, which delta is made of, being rounded.
#pragma unroll
        for (int m = 0; m < M; m++) {
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const float off = row_sum(rest[m][h]) * row_sum(mean_score[m][h]);
                if (lane.t == 0) along[0] -= off;
            }
        }
        block_sum(along, parts);
        const u32 block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        if (threadIdx.x == 0) dtemperature[block] = -along[0] * size * ln_2 / *temperature;
    }
    if (dqkv == nullptr) return;
    // The stages are read no more.
    __syncthreads();
    if (own >= s.l) return;
    float factors[M][2];
#pragma unroll
    for (int m = 0; m < M; m++) factors[m][0] = factors[m][1] = factor * ln_2;
    const u32 stride = 3 * in.width();
    bf16* to = dqkv + s.at(QUERY, own);
    const auto write = [&](u32 row, u32 channel, auto& x) { put(to + (row * stride + channel), x, add); };
    // What is added to must be rounded once only.
    if (add) {
        hand_over<float, C>(lane, stages, sums, factors, s.l - own, s.c, write);
    } else {
        hand_over<bf16, C>(lane, stages, sums, factors, s.l - own, s.c, write);
    }
}

// Writes the gradients of the keys and values of qkv, and those of the extra rows for this image, dextra [images heads n
// c], both where they are asked for.
template <int C, int M>
__device__ __forceinline__ void grad_keys(const Inputs& in, const float* temperature, const float* logs,
                                          const bf16* dout, const float* delta, bf16* dqkv, float* dextra, float scale,
                                          bool add) {
    enum { SPAN = Stage<C>::SPAN };
    static_assert(M * SIXTEEN * WARPS <= 2 * SPAN);
    __shared__ __align__(16) Stage<C> stages[2];
    // The logarithm and delta of the queries of a stage.
    __shared__ __align__(16) float numbers[2][2][SPAN];
    const Sizes& s = in.s;
    const Lane lane;
    const u32 count = blockDim.x / WARP * M * SIXTEEN, first = blockIdx.x * count;
    const u32 own = first + lane.warp * M * SIXTEEN, keys = s.keys();
    const float factor = binary_factor(scale, temperature), size = fabsf(factor), ln_2 = 0.69314718055994530942f;
    // Of queries beyond the last, all numbers are 0: their powers are 1, and what these are multiplied by is 0.
    const auto stage = [&](u32 which, u32 query) {
        in.fill_queries<2, C>({stages[which].rows[0], stages[which].rows[1]}, {in.queries(), in.like_out(dout)},
                         span<C>(query, s.l), query);
#pragma unroll 1
        for (u32 i = threadIdx.x; i < 2 * SPAN; i += blockDim.x) {
            const u32 row = query + i % SPAN;
            copy_4(place(&numbers[which][0][0] + i), (i < SPAN ? logs : delta) + s.query_at(row), row < s.l);
        }
    };
    in.fill_keys(stages[0].rows[0], stages[1].rows[0], count, first);
    wait_for_copies();
    __syncthreads();
    u32 k[M][C / SIXTEEN][4], v[M][C / SIXTEEN][4];
    operands<C>(k, lane.down(stages[0].rows[0] + lane.warp * M * SIXTEEN), factor < 0.0f);
    operands<C>(v, lane.down(stages[1].rows[0] + lane.warp * M * SIXTEEN), false);
    // Keys and values are read no more.
    __syncthreads();
    stage(0, 0);
    float dk[M][C / EIGHT][4] = {}, dv[M][C / EIGHT][4] = {};
    u32 which = 0;
#pragma unroll 1
    for (u32 query = 0; query < s.l; query += SPAN, which ^= 1) {
        wait_for_copies();
        __syncthreads();
        if (query + SPAN < s.l) stage(which ^ 1, query + SPAN);
        if (own >= keys) continue;
        const u32 rows = span<C>(query, s.l);
        const u32 q = lane.across(stages[which].rows[0]), g = q + sizeof(Stage<C>) / 2;
        const u32 q_down = lane.down(stages[which].rows[0]), g_down = q_down + sizeof(Stage<C>) / 2;
#pragma unroll 1
        for (u32 i = 0; i < rows; i += SIXTEEN) {
            float p[M][2][4], ds[M][2][4], number[2][2];
            const float* own_numbers = &numbers[which][0][i + 2 * lane.t];
            times_rows<C>(p, k, q + i * sizeof(Row<C>));
#pragma unroll
            for (int j = 0; j < 2; j++) load<2>(own_numbers + j * EIGHT, number[j]);
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int e = 0; e < EIGHT; e++) {
                    float& power = p[m][e / 4][e % 4];
                    power = exp2_approx(fmaf(power, size, -number[e / 4][e % 2]));
                }
            }
            add_weighted<C>(dv, p, g_down + i * sizeof(Row<C>));
            times_rows<C>(ds, v, g + i * sizeof(Row<C>));
#pragma unroll
            for (int j = 0; j < 2; j++) load<2>(own_numbers + SPAN + j * EIGHT, number[j]);
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int e = 0; e < EIGHT; e++) {
                    float& d = ds[m][e / 4][e % 4];
                    d = p[m][e / 4][e % 4] * (d - number[e / 4][e % 2]);
                }
            }
            add_weighted<C>(dk, ds, q_down + i * sizeof(Row<C>));
        }
    }
    // The stages are read no more.
    __syncthreads();
    if (own >= keys) return;
    const u32 stride = 3 * in.width();
#pragma unroll 1
    for (u32 third = KEY; third <= VALUE; third++) {
        float factors[M][2];
#pragma unroll
        for (int m = 0; m < M; m++) factors[m][0] = factors[m][1] = third == KEY ? factor * ln_2 : 1.0f;
        bf16* to = dqkv + s.at(third, 0);
        const auto write = [&](u32 row, u32 channel, auto& x) {
            const u32 key = own + row;
            if (key >= s.n) {
                if (dqkv != nullptr) put(to + ((key - s.n) * stride + channel), x, add);
            } else if (dextra != nullptr) {
                // What an extra row gets as a key and as a value is added up.
                const size_t head = static_cast<size_t>(blockIdx.z) * s.heads + blockIdx.y;
                put(dextra + (head * s.n + key) * s.c + channel, x, third == VALUE);
            }
        };
        // What is added to must be rounded once only, and extra rows are f32.
        if (add || own < s.n) {
            hand_over<float, C>(lane, stages, dk, factors, keys - own, s.c, write);
        } else {
            hand_over<bf16, C>(lane, stages, dk, factors, keys - own, s.c, write);
        }
        // The warp's part of shared memory is read no more.
        __syncwarp();
#pragma unroll
        for (int m = 0; m < M; m++) {
#pragma unroll
            for (int j = 0; j < C / EIGHT; j++) {
#pragma unroll
                for (int i = 0; i < 4; i++) dk[m][j][i] = dv[m][j][i];
            }
        }
    }
}

}  // namespace tensor
