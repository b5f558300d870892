// The forward pass of the scan; kernel.cu describes it.
#pragma once
#include "scan.cuh"

enum { TILE = 8 };  // tokens between two barriers

// Which channels and states a lane of the forward walk has: two channels, and OF states of each. Eight give 16 updates
// for each reading of B and C; fewer put a channel on more lanes. The lanes of a group share a pair of channels. Odd
// lanes have their channels swapped, so that the first stage of a sum over the group is "keep register 0, send register
// 1".
template <int N, int OF>
struct Owner {
    enum {
        STATES = OF,
        GROUP = N / STATES,              // lanes that share a pair of channels
        CHANNELS = PAIR * WARP / GROUP,  // of a warp
        RUN = CHANNELS * TILE / WARP,    // channels of one token that a lane stages and finishes
        SOME = STATES < 4 ? STATES : 4,  // states that lie side by side; the next ones are those of the next lane
    };
    u32 lane, part, pair, flip;

    __device__ __forceinline__ Owner()
        : lane(threadIdx.x % WARP), part(lane % GROUP), pair(lane / GROUP), flip(part % 2) {}

    // The first of this lane's states, and the distance of its state j from there.
    __device__ __forceinline__ u32 state() const { return part * SOME; }
    static __device__ __forceinline__ constexpr int beyond(int j) { return j / SOME * (SOME * GROUP) + j % SOME; }

    // Loads what each of this lane's states has.
    __device__ __forceinline__ static void load_states(const float* from, float (&x)[STATES]) {
#pragma unroll
        for (int j = 0; j < STATES; j += SOME) {
            float some[SOME];
            load<SOME>(from + beyond(j), some);
#pragma unroll
            for (int i = 0; i < SOME; i++) x[j + i] = some[i];
        }
    }

    // The channel of register 0, within the warp. That of register 1 is its neighbour, `^ 1`.
    __device__ __forceinline__ u32 channel() const { return PAIR * pair + flip; }
};

// softplus as accurate as T needs: delta comes in T. In bf16 it is off by 2^-9 of its size, and the polynomial for
// log(1 + t) by 9e-6 of its own.
template <typename T>
__device__ __forceinline__ float softplus_of(float x) {
    if constexpr (sizeof(T) == 4) {
        float t;
        return softplus(x, t);
    } else {
        const float t = exp2_approx(-LOG2_E * fabsf(x));
        float p = -0.023869152f;
        p = fmaf(p, t, 0.101222286f);
        p = fmaf(p, t, -0.210048691f);
        p = fmaf(p, t, 0.32520668f);
        p = fmaf(p, t, -0.499361365f);
        p = fmaf(p, t, 0.999991598f);
        return fmaf(p, t, fmaxf(x, 0.0f));
    }
}

// 2^(d rate) for d >= 0 and rate <= 0 on the multiply-add pipes, with a relative error of 8e-8 before rounding. Beyond
// `most`, which gives 2^-125, d counts as that. The product is not rounded.
__device__ __forceinline__ float exp2_polynomial(float d, float rate, float most) {
    d = fminf(d, most);
    const float shifted = fmaf(d, rate, 12582912.0f);  // 1.5 * 2^23, which leaves the nearest integer in the low bits
    const float f = fmaf(d, rate, 12582912.0f - shifted);
    float p = 0.0013276472f;
    p = fmaf(p, f, 0.0096755413f);
    p = fmaf(p, f, 0.055507133f);
    p = fmaf(p, f, 0.2402212f);
    p = fmaf(p, f, 0.69314697f);
    p = fmaf(p, f, 1.0000001f);
    return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

// One warp's channels of one image in one direction. Offsets into tensors have 31 bits; the launch checks that they
// fit.
template <typename T, int N, int OF>
struct Forward {
    typedef Owner<N, OF> At;
    enum {
        STATES = At::STATES,
        CHANNELS = At::CHANNELS,
        RUN = At::RUN,
        VECTOR = RUN < 4 ? RUN : 4,     // channels of y that a lane reads at once
        COLUMNS = 2 * N,                // of B and C
        FOUR = 4,                       // their values that a lane reads at once
        FETCHES = TILE * COLUMNS / (WARP * FOUR),  // and how often a warp would, for a tile
        // Words of a token's (delta, delta u), with what keeps tokens that are staged at once in banks of their own.
        ROW = 2 * CHANNELS + (CHANNELS > 8 ? CHANNELS / 4 : 0),
        // One of a lane's 16 exponentials is computed on the multiply-add pipes: of so many tokens one.
        POLYNOMIAL_EVERY = STATES >= 4 ? 8 / STATES : TILE + 1,
    };
    At at;
    Direction<T> in;
    Prompts<T> prompts;
    const T* xz;
    T *out, *y;
    float* states;                  // of this lane, before the chunk of the present tile
    int next_states;                // from there to those of the next tile
    u32 l, e, r;
    u32 dir, warp, warps, channel;  // the warp's first channel
    u32 tiles, row;                 // the image's first row
    bool sums_in_shared;
    u32 keeps, prompted;            // whether this lane keeps states, and whether there are prompts
    // Offsets into shared memory: of this direction's B and C of the present tile, which take turns with those of the
    // next one; of this warp's (delta, delta u); and of y of the present tile, which lies where the other direction
    // finds it too, [tiles TILE CHANNELS], or where there is no room for that is the warp's own. The rows of a tile are
    // in the order of the walk that wrote them.
    u32 bc, tokens, sums, next_sums;
    // Offsets of what this thread loads next, in u and in x_dbl, and where the image ends in both; a thread without
    // channels has an end of 0.
    u32 from, from_bc, end, end_bc;
    u32 next_from, next_from_bc;    // what is added to them for each tile
    u32 far_bc;                     // from the first four of B and C to the next ones of the same tile
    // What `stage` needs, loaded one tile early, and what `finish` needs.
    Raw<T, RUN> next_u, next_delta, next_prompt, z;
    Raw<T, FOUR> next_bc[FETCHES];
    float bias[RUN], skip[RUN];
    float rate[PAIR][STATES], state[PAIR][STATES];
    float most;                     // delta for which rate[0][0] gives the least that a polynomial can

    // The token and the first channel that this thread stages and finishes.
    __device__ __forceinline__ u32 staged_token() const { return at.lane / 4; }
    __device__ __forceinline__ u32 run() const { return at.lane % 4 * RUN; }

    // Towards the last token, or the first.
    __device__ __forceinline__ u32 along(u32 distance) const { return dir ? 0 - distance : distance; }

    // The place of a pair of channels in a token's row, by which no two lanes of an access use one bank.
    static __device__ __forceinline__ u32 order(u32 pair) { return pair ^ pair >> 3; }

    // The same for a channel of y.
    static __device__ __forceinline__ u32 order(u32 step, u32 channel) { return channel ^ step % 2 * 4; }

    // Prepares the walk of an image by the warp `number`. Both directions have the same tiles, whose number is even: so
    // they are never at the same one at the same time. The reverse walk starts at the end of the last tile, which may
    // lie beyond the last token.
    __device__ __forceinline__ void begin(u32 number) {
        tiles = 2 * ((l + 2 * TILE - 1) / (2 * TILE));
        const u32 first = dir ? tiles * TILE - 1 : 0, width = r + COLUMNS;
        from = (row + first + along(staged_token())) * e + channel + run();
        end = channel + run() < e ? (row + l) * e : 0;
        const u32 four = (warp * WARP + at.lane) * FOUR;
        from_bc = (row + first + along(four / COLUMNS)) * width + r + four % COLUMNS;
        end_bc = computed((row + l) * width);
        next_from = computed(along(TILE * e)), next_from_bc = computed(along(TILE * width));
        far_bc = computed(along(warps * (WARP * FOUR / COLUMNS) * width));
        prompted = computed(prompts.given());
        next_sums = sums_in_shared ? along(TILE * CHANNELS) : 0;

        const u32 after = 4 * TILE * COLUMNS;
        bc = dir * TILE * COLUMNS;
        tokens = computed(after + number * TILE * ROW);
        sums = after + 2 * warps * TILE * ROW;
        if (sums_in_shared) sums += (warp * ((l + TILE - 1) / TILE) + (dir ? tiles - 1 : 0)) * (TILE * CHANNELS);
        else sums += number * TILE * CHANNELS;

#pragma unroll
        for (int k = 0; k < PAIR; k++) {
            const u32 c = channel + (at.channel() ^ k);
            float a_log[STATES];
#pragma unroll
            for (int j = 0; j < STATES; j++) a_log[j] = -128.0f, state[k][j] = 0.0f;
            if (c < e) At::load_states(in.a_log + static_cast<size_t>(c) * N + at.state(), a_log);
#pragma unroll
            for (int j = 0; j < STATES; j++) rate[k][j] = -LOG2_E * expf(a_log[j]);
        }
        most = 125.0f * reciprocal(-rate[0][0]);
#pragma unroll
        for (int i = 0; i < RUN; i++) bias[i] = skip[i] = 0.0f;
        if (end != 0) {
            load<RUN>(in.bias + channel + run(), bias);
            load<RUN>(in.d + channel + run(), skip);
        }
    }

    // Loads what the next tile needs.
    __device__ __forceinline__ void fetch() {
        if (from < end) {
            next_u.load(in.u + from);
            next_delta.load(in.delta + from);
            if (prompted) next_prompt.load(prompts.of(dir) + from);
        }
        from += next_from;
#pragma unroll
        for (int k = 0; k < FETCHES; k++) {
            if (k * warps + warp >= FETCHES) break;
            const u32 at = from_bc + k * far_bc;
            if (at >= end_bc) continue;
            if (r % FOUR == 0) next_bc[k].load(in.x_dbl + at);
            else next_bc[k].gather(in.x_dbl + at);
        }
        from_bc += next_from_bc;
    }

    // Turns what was fetched into what the walk reads. Tokens before the first that exists have u = 0 and leave the
    // states at zero. After the last one nothing is read or written any more.
    __device__ __forceinline__ void stage(bool second) {
#pragma unroll
        for (int k = 0; k < FETCHES; k++) {
            if (k * warps + warp >= FETCHES) break;
            float* to = words(bc + ((k * warps + warp) * WARP + at.lane) * FOUR);
            store_four(to, next_bc[k][0], next_bc[k][1], next_bc[k][2], next_bc[k][3]);
        }
        float y[RUN] = {};
        if (second && sums_in_shared) {
            load_sums(TILE - 1 - staged_token(), y);
            __syncwarp();
        } else if (second) {
            const u32 at = from - next_from;
            if (at < end) load<RUN>(out + at, y);
        }
        if (prompted) {
#pragma unroll
            for (int i = 0; i < RUN; i += 2) stage_pair<true>(i, y[i], y[i + 1]);
        } else {
#pragma unroll
            for (int i = 0; i < RUN; i += 2) stage_pair<false>(i, y[i], y[i + 1]);
        }
#pragma unroll
        for (int i = 0; i < RUN; i += VECTOR) {
            float part[VECTOR];
#pragma unroll
            for (int k = 0; k < VECTOR; k++) part[k] = y[i + k];
            store<VECTOR>(sums_at(staged_token(), i), part);
        }
    }

    // Stages two channels, and adds their D u to y.
    template <bool PROMPTS>
    __device__ __forceinline__ void stage_pair(int i, float& y0, float& y1) const {
        float u0 = next_u[i], u1 = next_u[i + 1];
        if (PROMPTS) u0 += next_prompt[i], u1 += next_prompt[i + 1];
        const float d0 = softplus_of<T>(next_delta[i] + bias[i]);
        const float d1 = softplus_of<T>(next_delta[i + 1] + bias[i + 1]);
        store_four(words(tokens + staged_token() * ROW + 4 * order((run() + i) / 2)), d0, d0 * u0, d1, d1 * u1);
        y0 = fmaf(skip[i], u0, y0), y1 = fmaf(skip[i + 1], u1, y1);
    }

    // The place of y of the channels from `i` on in this thread's run.
    __device__ __forceinline__ float* sums_at(u32 step, int i) const {
        return words(sums + step * CHANNELS + order(step, run() + i));
    }

    __device__ __forceinline__ void load_sums(u32 step, float (&y)[RUN]) const {
#pragma unroll
        for (int i = 0; i < RUN; i += VECTOR) {
            float part[VECTOR];
            load<VECTOR>(sums_at(step, i), part);
#pragma unroll
            for (int k = 0; k < VECTOR; k++) y[i + k] = part[k];
        }
    }

    // Walks the tokens of a tile, in which all offsets are constants, and adds what the states give to y.
    __device__ __forceinline__ void walk() {
        const float* bc = words(this->bc + at.state());
        const u32 pair = tokens + 4 * order(at.pair);
        const float *own = words(pair + 2 * at.flip), *other = words(pair + 2 * (at.flip ^ 1));
        float* sum[2];
#pragma unroll
        for (int odd = 0; odd < 2; odd++) sum[odd] = words(sums + order(odd, at.channel()));
        float y[TILE];
#pragma unroll
        for (int i = 0; i < TILE; i++) y[i] = At::GROUP == 2 ? sum[i % 2][i * CHANNELS] : 0.0f;
#pragma unroll
        for (int i = 0; i < TILE; i++) {
            const bool polynomial = i % POLYNOMIAL_EVERY == 0 && STATES >= 4;
            y[i] = step(bc + i * COLUMNS, own + i * ROW, other + i * ROW, y[i], polynomial);
        }
        if (At::GROUP > 2 && at.part >= 2) return;
#pragma unroll
        for (int i = 0; i < TILE; i++) {
            float* to = sum[i % 2] + i * CHANNELS;
            *to = At::GROUP == 2 ? y[i] : *to + y[i];
        }
    }

    // Takes the states of this lane through one token. The result is y of register 0's channel, added to `before` where
    // all lanes of a group have a channel of their own.
    __device__ __forceinline__ float step(const float* bc, const float* own, const float* other, float before,
                                          bool polynomial) {
        float b[STATES], c[STATES], y[PAIR];
        At::load_states(bc, b);
        At::load_states(bc + N, c);
#pragma unroll
        for (int k = 0; k < PAIR; k++) {
            const float2 d = *reinterpret_cast<const float2*>(k ? other : own);
#pragma unroll
            for (int j = 0; j < STATES; j++) {
                const float decay = polynomial && k == 0 && j == 0 ? exp2_polynomial(d.x, rate[k][j], most)
                                                              : exp2_approx(d.x * rate[k][j]);
                state[k][j] = fmaf(decay, state[k][j], d.y * b[j]);
                const bool starts = j == 0 && (k == 1 || At::GROUP > 2);
                y[k] = starts ? state[k][j] * c[j] : fmaf(state[k][j], c[j], j ? y[k] : before);
            }
        }
        float sum = y[0] + __shfl_xor_sync(0xFFFFFFFFu, y[1], 1);
#pragma unroll
        for (int far = 2; far < At::GROUP; far *= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, far);
        return sum;
    }

    // The direction that comes to a token first leaves its y. The second, which has added its own, halves and gates.
    __device__ __forceinline__ void finish(bool second, u32 to) const {
        float y[RUN];
        load_sums(staged_token(), y);
        if (to >= end) return;
        if (second) {
            if (this->y) store<RUN>(this->y + to, y);
#pragma unroll
            for (int i = 0; i < RUN; i++) {
                const float e = exp2_approx(-LOG2_E * z[i]);
                y[i] *= z[i] * reciprocal(fmaf(2.0f, e, 2.0f));
            }
        }
        store<RUN>(out + to, y);
    }

    // Leaves the states of the lower channel and then those of the upper one. Odd lanes have them swapped.
    __device__ __forceinline__ void keep_states() const {
        enum { SOME = At::SOME };
#pragma unroll
        for (int k = 0; k < PAIR; k++) {
#pragma unroll
            for (int j = 0; j < STATES; j += SOME) {
                float some[SOME];
#pragma unroll
                for (int i = 0; i < SOME; i++) some[i] = at.flip ? state[1 - k][j + i] : state[k][j + i];
                store<SOME>(states + k * N + At::beyond(j), some);
            }
        }
    }

    __device__ __forceinline__ void walk_all() {
        static_assert(CHUNK == TILE || CHUNK == 2 * TILE, "a chunk starts where a pair of tiles does");
        // The only tile that may have no tokens.
        const u32 missing = tiles * TILE - l < TILE ? tiles : dir ? 0 : tiles - 1;
        fetch();
#pragma unroll 1
        for (u32 tile = 0; tile < tiles; tile++) {
            const bool second = tile >= tiles / 2;
            if (tile == tiles / 2) __syncthreads();
            if (tile != missing) stage(second);
            __syncthreads();
            const u32 present = from - next_from;
            if (tile + 1 < tiles) fetch();
            if (tile % (CHUNK / TILE) == 0 && (CHUNK > TILE || tile != missing) && keeps) keep_states();
            states += next_states;
            if (tile != missing) {
                if (second && present < end) z.load(xz + (2 * present - (channel + run()) + e));
                walk();
                __syncwarp();
                // This thread finishes what it stages next.
                if (second || !sums_in_shared) finish(second, present);
            }
            bc ^= 2 * TILE * COLUMNS;
            sums += next_sums;
        }
    }
};
