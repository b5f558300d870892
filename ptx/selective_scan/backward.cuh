// The backward pass of the scan; kernel.cu describes it.
#pragma once
#include "scan.cuh"

enum {
    FOUR = 4,                // channels, and states of each, of a lane: what one access of shared memory moves
    SUB = 4,                 // tokens whose gradients are summed at once
    SUBS = CHUNK / SUB,
    MOST_WARPS = 8,          // of a block
};

// Which channels and states a lane has: four of each, so that B and C are read once for 16 states, and a lane's parts
// of dB and dC are summed over four channels before they leave it. The lanes of a group share four channels.
template <int N>
struct Quads {
    enum {
        GROUP = N / FOUR,
        GROUPS = WARP / GROUP,
        CHANNELS = FOUR * GROUPS,  // of a warp
    };
    u32 lane, part, group;

    __device__ __forceinline__ Quads() : lane(threadIdx.x % WARP), part(lane % GROUP), group(lane / GROUP) {}
};

// Copies BYTES to shared memory without waiting for them, or zeros where there is nothing to copy. 2 bytes are waited
// for.
template <int BYTES>
__device__ __forceinline__ void copy_later(void* to, const void* from, bool exists) {
    const u32 at = static_cast<u32>(__cvta_generic_to_shared(to)), size = exists ? (BYTES > 16 ? 16 : BYTES) : 0;
    if constexpr (BYTES == 2) {
        *static_cast<unsigned short*>(to) = exists ? *static_cast<const unsigned short*>(from) : 0;
    } else if constexpr (BYTES == 32) {
        copy_later<16>(to, from, exists);
        copy_later<16>(static_cast<char*>(to) + 16, static_cast<const char*>(from) + 16, exists);
    } else if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(size) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(BYTES), "r"(size)
                     : "memory");
    }
}

__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// A place in shared memory by its address there, which is a register less to add than an offset.
__device__ __forceinline__ float* at_byte(u32 byte) {
    return static_cast<float*>(__cvta_shared_to_generic(byte));
}

__device__ __forceinline__ u32 byte_of(const void* at) { return static_cast<u32>(__cvta_generic_to_shared(at)); }

// Takes a register whose value no one needs any more, so that nothing moves it.
__device__ __forceinline__ void forget(float& x) { asm volatile("" : "=f"(x)); }

// log(1 + t) / t for t in [0, 1]: in f32 with a relative error of 3e-8 before rounding, in bf16 of 7e-6, which is a
// thousandth of what rounding its inputs and results makes.
template <typename T>
__device__ __forceinline__ float log1p_over(float t) {
    if constexpr (sizeof(T) == 4) return log1p_ratio(t);
    float p = -0.0238691486f;
    p = fmaf(p, t, 0.101222277f);
    p = fmaf(p, t, -0.210048682f);
    p = fmaf(p, t, 0.325206677f);
    p = fmaf(p, t, -0.499361364f);
    return fmaf(p, t, 0.999991598f);
}

// softplus(x), and its derivative divided by it: the gradient of delta needs it multiplied by delta, and by delta u.
template <typename T>
__device__ __forceinline__ float softplus_ratio(float x, float& ratio) {
    const float t = exp2_approx(-LOG2_E * fabsf(x)), p = log1p_over<T>(t);
    const float delta = fmaf(p, t, fmaxf(x, 0.0f));
    // The derivative is 1 / (1 + t), or t / (1 + t) below zero, where delta is p t. There p is the larger, else delta.
    const float divisor = fmaxf(p, delta);
    ratio = reciprocal(fmaf(divisor, t, divisor));
    return delta;
}

// One warp's channels of one image in one direction.
template <typename T, int N, bool TRAINED>
struct Backward {
    typedef Quads<N> At;
    enum {
        GROUP = At::GROUP,
        GROUPS = At::GROUPS,
        CHANNELS = At::CHANNELS,
        COLUMNS = 2 * N,
        WORD = 4,                                           // bytes
        HELD = TRAINED ? 2 : SUB,                           // tokens whose states and decays are in registers at once
        // Inputs come in runs of channels of one token, one for each lane and pass. A pass has at least a sub's tokens.
        RUN = N == 64 || (N > 8 && sizeof(T) == 4) ? 4 : 8,
        RUNS = CHANNELS / RUN,
        PASS = WARP / RUNS,                                 // tokens of a pass
        PASSES = CHUNK / PASS,
        INPUTS = 5,                                         // u, delta, z, dout, y; the prompt is a sixth
        INPUT = CHUNK * CHANNELS * sizeof(T),               // bytes of one of them in a chunk
        INPUT_BC = CHUNK * COLUMNS * sizeof(T),
        // A token has four values for each channel. Rows are padded so that lanes of two tokens use other banks.
        PLANE = CHANNELS * WORD,
        ROW = (FOUR * CHANNELS > COLUMNS ? FOUR * CHANNELS : COLUMNS) * WORD + 16,
        ROW_BC = COLUMNS * WORD,
        STATES = WARP * FOUR * WORD,                        // bytes of a register's four states in a warp
        SUBS_KEPT = TRAINED ? SUBS - 1 : SUBS - 2,          // whose states are kept within the chunk
        // The lanes' parts of two sums over states, [SUB 2 GROUP CHANNELS], whose rows are padded too.
        PART_ROW = PLANE + (N == 8 ? 64 : N == 16 ? 32 : 16),
        PART_SUM = GROUP * PART_ROW,
        // The lanes' parts of dB and dC, [SUB 2 GROUPS N]. Those of dC are in other banks.
        PART_C = (GROUPS + (N <= 16)) * N * WORD,
        PART_BC = 2 * PART_C,
        SHARE = SUB * COLUMNS / WARP,                       // sums of dB and dC that a lane computes
        SWEPT = CHANNELS / 8,                               // channels whose gradients it finishes
        // Where things are in a warp's bytes, and where the first warp's begin, after B and C.
        KEPT_AT = CHUNK * ROW,
        PARTS_AT = KEPT_AT + SUBS_KEPT * FOUR * STATES,
        PARTS_BC_AT = PARTS_AT + SUB * 2 * PART_SUM,
        BIAS_AT = PARTS_BC_AT + SUB * PART_BC,
        SKIP_AT = BIAS_AT + PLANE,
        WARP_BYTES = SKIP_AT + PLANE,
        WARPS_AT = CHUNK * ROW_BC,
    };
    At at;
    Direction<T> in;
    Prompts<T> prompts;
    const T *xz, *y, *dout;
    T *dxz, *du, *ddelta;
    const float* states;  // before the first chunk, of this lane's first channel
    const T* bc;  // the image's B and C, [l 2n] in rows of `width`
    float* dbc;   // [l 2n] of this block of channels, this direction and this image
    u32 l, e, width, dir, warp, warps, busy, channel, chunks, row;  // busy is the number of warps with channels
    u32 flip;    // of the number of a step, for the number of its token
    // Addresses in shared memory. The block has B and C, then what its warps have, then their inputs on their way and
    // those of B and C. A warp has its tokens, as planes of delta, delta u, dy and slope / delta, and later the sums of
    // dB and dC; states within the chunk; its lanes' parts of sums; and bias and D.
    u32 base, first;  // of the block, and of this warp
    u32 four;         // of a chunk's B and C, the first value that this thread takes
    // The same for this lane: of its inputs on their way; of what it stages of bias and tokens; of its channels in the
    // first token; of its states in B; of its states in the chunk; of its parts, those of dB and those of dC; of what
    // it sums, of the token and D that belong to it; and of its sums of dB and dC, and where they go.
    u32 staged, staged_bc, bias, to_stage, own, own_bc, kept, parts, part_b, swept, swept_of, skip, sum_from, sum_to;
    // Of what it stages the place in the first chunk, and where places end that exist; and where they end of what it
    // finishes, whose first are at `du` and `ddelta`.
    u32 stage_place, stage_end, places;
    float rate[FOUR][FOUR], state[FOUR][FOUR], carry[FOUR][FOUR];
    // Only where asked for: dA, dD of the run that this thread stages, and d delta_bias of what it finishes.
    float da[FOUR][FOUR], dd[RUN], dbias[SWEPT];

    // The token of a pass that this thread stages, and the first channel of its run.
    __device__ __forceinline__ u32 staged_step() const { return at.lane / RUNS; }
    __device__ __forceinline__ u32 run() const { return at.lane % RUNS * RUN; }

    __device__ __forceinline__ T* staged_input(int pass, int input) const {
        return reinterpret_cast<T*>(at_byte(staged) + (input * PASSES + pass) * (WARP * RUN * (int)sizeof(T) / WORD));
    }

    // The place that this thread stages in a pass, in tensors [b l e].
    __device__ __forceinline__ u32 staged_place(u32 chunk, u32 pass) const {
        return stage_place + (chunk * CHUNK + (pass * PASS ^ flip / PASS * PASS)) * e;
    }

    // The same in xz, in the half of z.
    __device__ __forceinline__ u32 in_z(u32 place) const { return 2 * place + e - (channel + run()); }

    // Tokens and channels that do not exist are read as zeros, so states before and gradients after them stay zero.
    __device__ __forceinline__ void fetch(u32 chunk) const {
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++) {
            const u32 from = staged_place(chunk, pass);
            const bool is = from < stage_end;
            enum { BYTES = RUN * sizeof(T) };
            copy_later<BYTES>(staged_input(pass, 0), in.u + from, is);
            copy_later<BYTES>(staged_input(pass, 1), in.delta + from, is);
            copy_later<BYTES>(staged_input(pass, 2), xz + in_z(from), is);
            copy_later<BYTES>(staged_input(pass, 3), dout + from, is);
            copy_later<BYTES>(staged_input(pass, 4), y + from, is && !dir);
        }
        if (!prompts.given()) return;
#pragma unroll 1
        for (int pass = 0; pass < PASSES; pass++) {
            const u32 from = staged_place(chunk, pass);
            copy_later<RUN * sizeof(T)>(staged_input(pass, 5), prompts.of(dir) + from, from < stage_end);
        }
    }

    // The place in [l 2n] of value `i` of a chunk's B and C, whose rows are in the order of the walk.
    __device__ __forceinline__ u32 bc_place(u32 chunk, u32 i) const {
        return chunk * (CHUNK * COLUMNS) + (i ^ flip * COLUMNS);
    }

    // Copies B and C, four values at a time where a row allows. A thread later reads what it copied itself.
    __device__ __forceinline__ void fetch_bc(u32 chunk) const {
        u32 to = staged_bc;
#pragma unroll 1
        for (u32 i = four; i < CHUNK * COLUMNS; i += blockDim.x * FOUR, to += blockDim.x * FOUR * (u32)sizeof(T)) {
            const u32 place = bc_place(chunk, i);
            const bool is = place < l * COLUMNS;
            const T* from = bc + (place / COLUMNS * width + place % COLUMNS);
            T* of = reinterpret_cast<T*>(at_byte(to));
            if (width % FOUR == 0) {
                copy_later<FOUR * sizeof(T)>(of, from, is);
            } else {
#pragma unroll 1
                for (int k = 0; k < FOUR; k++) copy_later<sizeof(T)>(of + k, from + k, is);
            }
        }
    }

    __device__ __forceinline__ void stage_bc() const {
        wait_for_copies();
        u32 from = staged_bc;
#pragma unroll 1
        for (u32 i = four; i < CHUNK * COLUMNS; i += blockDim.x * FOUR, from += blockDim.x * FOUR * (u32)sizeof(T)) {
            float of[FOUR];
            load<FOUR>(reinterpret_cast<const T*>(at_byte(from)), of);
            store<FOUR>(at_byte(base + i * WORD), of);
        }
    }

    // Turns the inputs of a chunk into what the walk reads. The first direction writes dz.
    template <bool PROMPTS>
    __device__ __forceinline__ void stage(u32 chunk) {
        // Passes without tokens are left out. They are the last ones, or the first ones where tokens are reversed.
        const u32 passes = min((l - chunk * CHUNK + PASS - 1) / PASS, PASSES), first_pass = dir ? PASSES - passes : 0;
#pragma unroll 1
        for (u32 pass = first_pass; pass < first_pass + passes; pass++) {
            const T* from = staged_input(0, 0) + pass * (WARP * RUN);
            enum { NEXT = PASSES * WARP * RUN };
            Raw<T, RUN> raw;
            float u[RUN], dy[RUN], half[RUN];
            // dy is dout silu(z) / 2; `half` is half of sigmoid(z).
            raw.load(from + 2 * NEXT);
#pragma unroll
            for (int i = 0; i < RUN; i++) {
                half[i] = reciprocal(fmaf(2.0f, exp2_approx(-LOG2_E * raw[i]), 2.0f));
                dy[i] = raw[i] * half[i];
            }
            raw.load(from + 3 * NEXT);
            if (!dir) {
                Raw<T, RUN> y;
                y.load(from + 4 * NEXT);
#pragma unroll
                for (int i = 0; i < RUN; i++) {
                    half[i] = fmaf(dy[i], fmaf(-2.0f, half[i], 1.0f), half[i]) * (raw[i] * y[i]);
                }
                const u32 to = staged_place(chunk, pass);
                if (to < stage_end) {
                    const float zero[RUN] = {};
                    store<RUN>(dxz + in_z(to), half);
                    store<RUN>(dxz + in_z(to) - e, zero);
                }
            }
#pragma unroll
            for (int i = 0; i < RUN; i++) dy[i] *= raw[i];
            raw.load(from);
#pragma unroll
            for (int i = 0; i < RUN; i++) u[i] = raw[i];
            if (PROMPTS) {
                raw.load(from + 5 * NEXT);
#pragma unroll
                for (int i = 0; i < RUN; i++) u[i] += raw[i];
            }
            raw.load(from + NEXT);
            float* to = at_byte(to_stage + pass * (PASS * ROW));
#pragma unroll
            for (int i = 0; i < RUN; i += FOUR) {
                float delta[FOUR], ratio[FOUR], bias[FOUR];
                load<FOUR>(at_byte(this->bias) + i, bias);
#pragma unroll
                for (int k = 0; k < FOUR; k++) {
                    delta[k] = softplus_ratio<T>(raw[i + k] + bias[k], ratio[k]);
                    if (TRAINED) dd[i + k] = fmaf(dy[i + k], u[i + k], dd[i + k]);
                    u[i + k] *= delta[k];
                }
                store_four(to + i, delta[0], delta[1], delta[2], delta[3]);
                store_four(to + i + CHANNELS, u[i], u[i + 1], u[i + 2], u[i + 3]);
                store_four(to + i + 2 * CHANNELS, dy[i], dy[i + 1], dy[i + 2], dy[i + 3]);
                store_four(to + i + 3 * CHANNELS, ratio[0], ratio[1], ratio[2], ratio[3]);
            }
        }
    }

    // Computes the states of COUNT tokens. `visit` gets each decay, and the state before it.
    template <int COUNT, typename Visit>
    __device__ __forceinline__ void advance(u32 step, Visit visit) {
        const float *of = at_byte(own + step * ROW), *bc = at_byte(own_bc + step * ROW_BC);
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            float b[FOUR], delta[FOUR], delta_u[FOUR];
            load<FOUR>(bc + i * COLUMNS, b);
            load<FOUR>(of + i * (ROW / WORD), delta);
            load<FOUR>(of + i * (ROW / WORD) + CHANNELS, delta_u);
#pragma unroll
            for (int k = 0; k < FOUR; k++) {
#pragma unroll
                for (int j = 0; j < FOUR; j++) {
                    const float decay = exp2_approx(delta[k] * rate[k][j]);
                    visit(i, k, j, decay, state[k][j]);
                    state[k][j] = fmaf(decay, state[k][j], delta_u[k] * b[j]);
                }
            }
        }
    }

    // The states before a chunk are kept in memory. Lanes beyond the last channel have others' states, and gradients of
    // zero.
    __device__ __forceinline__ void load_states(u32 at) {
#pragma unroll
        for (int k = 0; k < FOUR; k++) load<FOUR>(states + at + k * N, state[k]);
    }

    __device__ __forceinline__ void forget_states() {
#pragma unroll
        for (int k = 0; k < FOUR; k++) {
#pragma unroll
            for (int j = 0; j < FOUR; j++) forget(state[k][j]);
        }
    }

    // Those within a chunk are in shared memory.
    __device__ __forceinline__ void load_kept(u32 sub) {
        const float* from = at_byte(kept + sub * (FOUR * STATES));
#pragma unroll
        for (int k = 0; k < FOUR; k++) load<FOUR>(from + k * (STATES / WORD), state[k]);
    }

    __device__ __forceinline__ void keep(u32 sub) const {
        float* to = at_byte(kept + sub * (FOUR * STATES));
#pragma unroll
        for (int k = 0; k < FOUR; k++) store<FOUR>(to + k * (STATES / WORD), state[k]);
    }

    // Walks the gradients back through COUNT tokens of a sub, from the last to the first, and leaves this lane's parts
    // of sums. It waits first where other lanes may still be `reading` such parts.
    template <int COUNT>
    __device__ __forceinline__ void walk_back(u32 sub, u32 first, bool reading = false) {
        float decay[COUNT][FOUR][FOUR], before[COUNT][FOUR][FOUR];
        const u32 step = sub * SUB + first;
        advance<COUNT>(step, [&](int i, int k, int j, float d, float s) { decay[i][k][j] = d, before[i][k][j] = s; });
        // Here and not before advancing, so that the assembler does not begin the gradients before, for which it would
        // compute some states again.
        if (reading) __syncwarp();
        const float *of = at_byte(own + step * ROW), *bc = at_byte(own_bc + step * ROW_BC);
#pragma unroll
        for (int i = COUNT - 1; i >= 0; i--) {
            float b[FOUR], c[FOUR], db[FOUR], dc[FOUR], delta_u[FOUR], dy[FOUR], delta[FOUR];
            float through_b[FOUR], through_a[FOUR];
            load<FOUR>(bc + i * COLUMNS, b);
            load<FOUR>(bc + i * COLUMNS + N, c);
            load<FOUR>(of + i * (ROW / WORD) + CHANNELS, delta_u);
            load<FOUR>(of + i * (ROW / WORD) + 2 * CHANNELS, dy);
            if (TRAINED) load<FOUR>(of + i * (ROW / WORD), delta);
#pragma unroll
            for (int k = 0; k < FOUR; k++) {
#pragma unroll
                for (int j = 0; j < FOUR; j++) {
                    const float after = i + 1 < COUNT ? before[i + 1][k][j] : state[k][j];
                    const float grad = fmaf(dy[k], c[j], carry[k][j]);
                    dc[j] = k ? fmaf(dy[k], after, dc[j]) : dy[k] * after;
                    db[j] = k ? fmaf(grad, delta_u[k], db[j]) : grad * delta_u[k];
                    through_b[k] = j ? fmaf(grad, b[j], through_b[k]) : grad * b[j];
                    carry[k][j] = grad * decay[i][k][j];
                    const float decayed = carry[k][j] * before[i][k][j];
                    through_a[k] = j ? fmaf(decayed, rate[k][j], through_a[k]) : decayed * rate[k][j];
                    if (TRAINED) da[k][j] = fmaf(decayed, delta[k], da[k][j]);
                }
            }
            float* to_bc = at_byte(part_b + first * PART_BC) + i * (PART_BC / WORD);
            store<FOUR>(to_bc, db);
            store<FOUR>(to_bc + PART_C / WORD, dc);
            float* to = at_byte(parts + first * (2 * PART_SUM)) + i * (2 * PART_SUM / WORD);
            store<FOUR>(to, through_b);
            store<FOUR>(to + PART_SUM / WORD, through_a);
        }
    }

    // Sums this lane's share of the parts of a sum over states.
    __device__ __forceinline__ void sum_parts(int which, float (&sum)[SWEPT]) const {
        const float* from = at_byte(swept) + which * (PART_SUM / WORD);
        load<SWEPT>(from, sum);
#pragma unroll
        for (int lane = 1; lane < GROUP; lane++) {
            float part[SWEPT];
            load<SWEPT>(from + lane * (PART_ROW / WORD), part);
#pragma unroll
            for (int i = 0; i < SWEPT; i++) sum[i] += part[i];
        }
    }

    // Finishes the gradients of u and delta of a sub, SWEPT channels of one token in each lane.
    __device__ __forceinline__ void finish(u32 sub, u32 to) {
        if (to >= places) return;
        float b[SWEPT], a[SWEPT], delta[SWEPT], delta_u[SWEPT], dy[SWEPT], ratio[SWEPT], skip[SWEPT];
        sum_parts(0, b);
        sum_parts(1, a);
        const float* of = at_byte(swept_of + sub * (SUB * ROW));
        load<SWEPT>(of, delta);
        load<SWEPT>(of + CHANNELS, delta_u);
        load<SWEPT>(of + 2 * CHANNELS, dy);
        load<SWEPT>(of + 3 * CHANNELS, ratio);
        load<SWEPT>(at_byte(this->skip), skip);
#pragma unroll
        for (int i = 0; i < SWEPT; i++) {
            a[i] = ratio[i] * fmaf(LN2, delta[i] * a[i], delta_u[i] * b[i]);
            b[i] = fmaf(delta[i], b[i], skip[i] * dy[i]);
            if (TRAINED) dbias[i] += a[i];
        }
        store<SWEPT>(du + to, b);
        store<SWEPT>(ddelta + to, a);
    }

    // Sums the lanes' parts of dB and dC of a sub.
    __device__ __forceinline__ void sum_bc(float (&sum)[SHARE]) const {
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            float part[SHARE];
            load<SHARE>(at_byte(sum_from) + g * N, part);
#pragma unroll
            for (int i = 0; i < SHARE; i++) sum[i] = g ? sum[i] + part[i] : part[i];
        }
    }

    // Writes a chunk's dB and dC, summed over the block's warps.
    __device__ __forceinline__ void sum_warps(u32 chunk) const {
#pragma unroll 1
        for (u32 i = four; i < CHUNK * COLUMNS; i += blockDim.x * FOUR) {
            const u32 place = bc_place(chunk, i);
            if (place >= l * COLUMNS) continue;
            const float* from = at_byte(base + WARPS_AT + i * WORD + i / COLUMNS * (ROW - ROW_BC));
            float sum[FOUR];
            load<FOUR>(from, sum);
#pragma unroll
            for (int w = 1; w < MOST_WARPS; w++) {
                float part[FOUR];
                if (w >= busy) break;
                load<FOUR>(from + w * (WARP_BYTES / WORD), part);
#pragma unroll
                for (int k = 0; k < FOUR; k++) sum[k] += part[k];
            }
            store<FOUR>(dbc + place, sum);
        }
    }

    // Loads the states before a sub: within a chunk they are in shared memory, but those before it far away.
    __device__ __forceinline__ void load_before(u32 sub, bool first, u32 here) {
        if (first) load_states(here);
        else load_kept(sub - 1);
    }

    // Goes back through a sub whose first states are in registers.
    __device__ __forceinline__ void back(u32 sub, bool first, u32 here, bool reading = false) {
        if constexpr (HELD < SUB) {
            advance<SUB - HELD>(sub * SUB, [](int, int, int, float, float) {});
            walk_back<HELD>(sub, SUB - HELD, reading);
            load_before(sub, first, here);
        }
        walk_back<HELD>(sub, 0, reading && HELD == SUB);
    }

    // The same where only the tokens from `from` to `end` exist, one at a time.
    __device__ __forceinline__ void back_part(u32 sub, bool first, u32 here, u32 from, u32 end) {
#pragma unroll 1
        for (u32 last = end; last > from; last--) {
            if (last < end) load_before(sub, first, here);
#pragma unroll 1
            for (u32 i = from; i + 1 < last; i++) advance<1>(sub * SUB + i, [](int, int, int, float, float) {});
            walk_back<1>(sub, last - 1);
        }
    }

    // Sums what a sub has left. The next states are loaded meanwhile where they are far, at `next`. It waits until
    // all lanes have read, unless the next sub does.
    __device__ __forceinline__ void sum_up(u32 sub, bool far, u32 next, u32 to, bool has_token, bool waits = true) {
        if (far) load_states(next);
        else forget_states();
        float sum[SHARE];
        __syncwarp();
        finish(sub, to);
        if (has_token) sum_bc(sum);
        // With 16 states a lane stores only over what it has read itself.
        if (waits) __syncwarp();
        if (has_token) store<SHARE>(at_byte(sum_to + sub * (SUB * ROW)), sum);
        if (!far) load_kept(sub - 2);
    }

    // Takes the subs of a chunk that have tokens: they are the first ones, or the last ones where tokens are reversed.
    // `here` and `there` are the places of the states before this chunk and before the next one to take, which it
    // loads.
    __device__ __forceinline__ void walk(u32 chunk, u32 here, u32 there) {
        const u32 forth = dir ? 0 - SUB * e : SUB * e, count = min(l - chunk * CHUNK, CHUNK);
        // Nearly all chunks are full, and cost a thirtieth less where nothing is computed of their subs' numbers.
        if (N == 16 && !TRAINED && count == CHUNK) {
#pragma unroll
            for (u32 sub = 0; sub + 1 < SUBS; sub++) {
                advance<SUB>(sub * SUB, [](int, int, int, float, float) {});
                if (sub < SUBS_KEPT) keep(sub);
            }
            u32 to = (chunk * CHUNK + (dir ? 0 : CHUNK - SUB)) * e;
#pragma unroll
            for (u32 sub = SUBS; sub-- > 0; to -= forth) {
                back(sub, sub == 0, here, sub + 1 < SUBS);
                sum_up(sub, sub < 2, sub ? here : there, to, true, false);
            }
            return;
        }
        const u32 from = dir ? CHUNK - count : 0, end = from + count, subs = (end + SUB - 1) / SUB;
#pragma unroll 1
        for (u32 sub = from / SUB; sub + 1 < subs; sub++) {
            advance<SUB>(sub * SUB, [](int, int, int, float, float) {});
            if (sub < SUBS_KEPT) keep(sub);
        }
        u32 to = (chunk * CHUNK + (dir ? SUBS - subs : subs - 1) * SUB) * e;
#pragma unroll 1
        for (u32 sub = subs; sub-- > from / SUB; to -= forth) {
            const bool first = sub == from / SUB;
            const u32 start = first ? from % SUB : 0, stop = min(end - sub * SUB, SUB);
            if (stop - start == SUB) back(sub, first, here);
            else back_part(sub, first, here, start, stop);
            const u32 token = at.lane / (WARP / SUB);
            sum_up(sub, sub <= from / SUB + 1, first ? there : here, to, start <= token && token < stop);
        }
    }

    __device__ __forceinline__ void walk_all() {
        const bool some = channel < e;
        u32 chunk = dir ? 0 : chunks - 1;
        if (some) fetch(chunk), load_states(chunk * (e * N));
        fetch_bc(chunk);
#pragma unroll 1
        for (u32 left = chunks; left > 0; left--) {
            const u32 next = dir ? chunk + 1 : chunk - 1;
            stage_bc();
            __syncthreads();
            if (left > 1) fetch_bc(next);
            if (some) {
                if (prompts.given()) stage<true>(chunk);
                else stage<false>(chunk);
                __syncwarp();
                if (left > 1) fetch(next);
                walk(chunk, chunk * (e * N), (left > 1 ? next : chunk) * (e * N));
            }
            __syncthreads();
            sum_warps(chunk);
            chunk = next;
        }
    }

    // Writes the image's gradients of A_log [2 b e n], and of D and delta_bias [2 b e].
    __device__ __forceinline__ void store_parameters(float* da_log, float* dd_out, float* dbias_out) {
        const u32 image = (dir * gridDim.y + blockIdx.y) * e;
#pragma unroll
        for (int k = 0; k < FOUR; k++) {
            const u32 c = channel + FOUR * at.group + k;
#pragma unroll
            for (int j = 0; j < FOUR; j++) da[k][j] *= LN2 * rate[k][j];
            if (c < e) store<FOUR>(da_log + static_cast<size_t>(image + c) * N + at.part * FOUR, da[k]);
        }
#pragma unroll
        for (int i = 0; i < RUN; i++) {
#pragma unroll
            for (int step = RUNS; step < WARP; step *= 2) dd[i] += __shfl_xor_sync(0xFFFFFFFFu, dd[i], step);
        }
        if (at.lane < RUNS && channel + run() < e) store<RUN>(dd_out + image + channel + run(), dd);
#pragma unroll
        for (int i = 0; i < SWEPT; i++) {
#pragma unroll
            for (int step = 8; step < WARP; step *= 2) dbias[i] += __shfl_xor_sync(0xFFFFFFFFu, dbias[i], step);
        }
        const u32 c = channel + at.lane * SWEPT;
        if (at.lane < 8 && c < e) store<SWEPT>(dbias_out + image + c, dbias);
    }
};
