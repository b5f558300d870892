// The forward pass of the scan; kernel.cu describes it.
#pragma once
#include "scan.cuh"

enum { TILE = 8 };  // tokens between two barriers

// Which channels and states a lane of the forward walk has: two channels and, but for the smallest n, eight states of
// each, so that B and C are read once for 16 states. The lanes of a group share a pair of channels. Odd lanes have
// their channels swapped, so that the first stage of a sum over the group is "keep register 0, send register 1".
template <int N>
struct Owner {
    enum {
        STATES = N == 8 ? 4 : 8,
        GROUP = N / STATES,              // lanes that share a pair of channels
        CHANNELS = PAIR * WARP / GROUP,  // of a warp
        RUN = CHANNELS * TILE / WARP,    // channels of one token that a lane stages and finishes
    };
    u32 lane, part, pair, flip;

    __device__ __forceinline__ Owner()
        : lane(threadIdx.x % WARP), part(lane % GROUP), pair(lane / GROUP), flip(part % 2) {}

    // The channel of register 0, within the warp. That of register 1 is its neighbour, `^ 1`.
    __device__ __forceinline__ u32 channel() const { return PAIR * pair + flip; }
};

// One warp's channels of one image in one direction. Offsets into tensors have 31 bits; the launch checks that they
// fit.
template <typename T, int N>
struct Forward {
    typedef Owner<N> At;
    enum {
        STATES = At::STATES,
        CHANNELS = At::CHANNELS,
        RUN = At::RUN,
        COLUMNS = 2 * N,                // of B and C
        FOUR = 4,                       // their values that a lane reads at once
        FETCH = N <= 16 ? 2 : N / 8,    // and how often for a tile, in a block of one or (where n > 16) two warps
        PAD = N <= 16 ? 8 : N == 32 ? 4 : 0,
        ROW = 2 * CHANNELS + PAD,       // words of a token's (delta, delta u)
    };
    At at;
    Direction<T> in;
    Prompts<T> prompts;
    const T* xz;
    T *out, *y;
    float* states;                  // of this direction and image
    u32 l, e, width;                // of x_dbl
    u32 dir, warp, warps, channel;  // the warp's first channel
    u32 tiles, first;               // token of step 0
    u32 row, end;                   // the image's first row, and where its u ends
    bool sums_in_shared;
    // Offsets into shared memory: of this direction's B and C of two tiles; of this warp's (delta, delta u); and of y.
    // A tile's y is where both directions find it, [tiles TILE CHANNELS], or where there is no room for that it is the
    // warp's own. The rows of a tile are in the order of the walk that wrote them.
    u32 bc, tokens, sums;
    // What `stage` needs, loaded one tile early, and what `finish` needs.
    Raw<T, RUN> next_u, next_delta, next_prompt, z;
    Raw<T, FOUR> next_bc[FETCH];
    float bias[RUN], skip[RUN];
    float rate[PAIR][STATES], state[PAIR][STATES];

    // Writes A log2(e) of this lane's channels and states to `rate`, or zeros beyond the last channel.
    __device__ __forceinline__ void decay_rates() {
#pragma unroll
        for (int k = 0; k < PAIR; k++) {
            const u32 c = channel + (at.channel() ^ k);
            float a_log[STATES] = {};
            if (c < e) load<STATES>(in.a_log + static_cast<size_t>(c) * N + at.part * STATES, a_log);
#pragma unroll
            for (int j = 0; j < STATES; j++) rate[k][j] = c < e ? -LOG2_E * expf(a_log[j]) : 0.0f;
        }
    }

    // The token of a step of the walk. The reverse walk starts at the end of the last tile, which may lie beyond the
    // last token. So both walks have the same tiles, and as their number is even never the same one at the same time.
    __device__ __forceinline__ u32 token(u32 step) const { return dir ? first - step : step; }

    // The number of the tile in memory.
    __device__ __forceinline__ u32 tile_of(u32 tile) const { return dir ? tiles - 1 - tile : tile; }

    // True in the half of the walk where the other direction has been before.
    __device__ __forceinline__ bool second(u32 tile) const { return tile >= tiles / 2; }

    // True where the tile has tokens.
    __device__ __forceinline__ bool some(u32 tile) const { return tile_of(tile) * TILE < l; }

    // The token and the first channel that this thread stages and finishes.
    __device__ __forceinline__ u32 staged_token() const { return at.lane / 4; }
    __device__ __forceinline__ u32 run() const { return at.lane % 4 * RUN; }

    __device__ __forceinline__ u32 staged_at(u32 tile) const {
        return (row + token(tile * TILE + staged_token())) * e + channel + run();
    }

    __device__ __forceinline__ bool exists(u32 place) const { return place < end && channel + run() < e; }

    // The place of a pair of channels in a token's row, by which no two lanes of an access use one bank.
    static __device__ __forceinline__ u32 order(u32 pair) { return pair ^ pair >> 3; }

    // The same for a channel of y.
    static __device__ __forceinline__ u32 order(u32 step, u32 channel) { return channel ^ step % 2 * 4; }

    __device__ __forceinline__ u32 bc_of(u32 tile) const { return bc + tile % 2 * (2 * TILE * COLUMNS); }

    __device__ __forceinline__ u32 sums_of(u32 tile) const {
        return sums + (sums_in_shared ? tile_of(tile) * (TILE * CHANNELS) : 0);
    }

    __device__ __forceinline__ void fetch(u32 tile) {
        const u32 from = staged_at(tile);
        if (exists(from)) {
            next_u.load(in.u + from);
            next_delta.load(in.delta + from);
            if (prompts.given()) next_prompt.load(prompts.of(dir) + from);
        }
        const bool aligned = (width - COLUMNS) % FOUR == 0;
#pragma unroll
        for (int k = 0; k < FETCH; k++) {
            const u32 task = k * warps + warp, i = (task * WARP + at.lane) * FOUR;
            const u32 t = token(tile * TILE + i / COLUMNS);
            if (task < TILE * COLUMNS / (WARP * FOUR) && t < l) {
                const T* from = in.x_dbl + ((row + t) * width + width - COLUMNS + i % COLUMNS);
                if (aligned) next_bc[k].load(from);
                else next_bc[k].gather(from);
            }
        }
    }

    // Turns what was fetched into what the walk reads. Tokens before the first that exists have u = 0 and leave the
    // states at zero. After the last one nothing is read or written any more.
    __device__ __forceinline__ void stage(u32 tile) {
#pragma unroll
        for (int k = 0; k < FETCH; k++) {
            const u32 task = k * warps + warp;
            if (task < TILE * COLUMNS / (WARP * FOUR)) {
                float* to = words(bc_of(tile) + (task * WARP + at.lane) * FOUR);
                store_four(to, next_bc[k][0], next_bc[k][1], next_bc[k][2], next_bc[k][3]);
            }
        }
        float y[RUN] = {};
        if (second(tile)) {
            if (sums_in_shared) {
                load_sums(sums_of(tile), TILE - 1 - staged_token(), y);
                __syncwarp();
            } else {
                const u32 from = staged_at(tile);
                if (exists(from)) load<RUN>(out + from, y);
            }
        }
        if (prompts.given()) stage_channels<true>(y);
        else stage_channels<false>(y);
        store_sums(sums_of(tile), staged_token(), y);
    }

    template <bool PROMPTS>
    __device__ __forceinline__ void stage_channels(float (&y)[RUN]) {
        const u32 to = tokens + staged_token() * ROW;
#pragma unroll
        for (int i = 0; i < RUN; i += 2) {
            float2 of[2];
#pragma unroll
            for (int k = 0; k < 2; k++) {
                float t, u = next_u[i + k];
                if (PROMPTS) u += next_prompt[i + k];
                const float delta = softplus(next_delta[i + k] + bias[i + k], t);
                of[k] = make_float2(delta, delta * u);
                y[i + k] = fmaf(skip[i + k], u, y[i + k]);
            }
            store_four(words(to + 4 * order((run() + i) / 2)), of[0].x, of[0].y, of[1].x, of[1].y);
        }
    }

    __device__ __forceinline__ void load_sums(u32 from, u32 step, float (&y)[RUN]) const {
        enum { VECTOR = RUN < 4 ? RUN : 4 };
#pragma unroll
        for (int i = 0; i < RUN; i += VECTOR) {
            float part[VECTOR];
            load<VECTOR>(words(from + step * CHANNELS + order(step, run() + i)), part);
#pragma unroll
            for (int k = 0; k < VECTOR; k++) y[i + k] = part[k];
        }
    }

    __device__ __forceinline__ void store_sums(u32 to, u32 step, const float (&y)[RUN]) const {
        enum { VECTOR = RUN < 4 ? RUN : 4 };
#pragma unroll
        for (int i = 0; i < RUN; i += VECTOR) {
            float part[VECTOR];
#pragma unroll
            for (int k = 0; k < VECTOR; k++) part[k] = y[i + k];
            store<VECTOR>(words(to + step * CHANNELS + order(step, run() + i)), part);
        }
    }

    // Walks the tokens of a tile, all offsets in which are constants, and adds what the states give to y.
    __device__ __forceinline__ void walk(u32 tile) {
        const float* bc = words(bc_of(tile) + at.part * STATES);
        const u32 pair = tokens + 4 * order(at.pair);
        const float *own = words(pair + 2 * at.flip), *other = words(pair + 2 * (at.flip ^ 1));
        float* sum[2];
#pragma unroll
        for (int odd = 0; odd < 2; odd++) sum[odd] = words(sums_of(tile) + order(odd, at.channel()));
        float y[TILE];
#pragma unroll
        for (int i = 0; i < TILE; i++) y[i] = sum[i % 2][i * CHANNELS];
#pragma unroll
        for (int i = 0; i < TILE; i++) y[i] = step(bc + i * COLUMNS, own + i * ROW, other + i * ROW, i, y[i]);
        if (At::GROUP == 2 || at.part < 2) {
#pragma unroll
            for (int i = 0; i < TILE; i++) sum[i % 2][i * CHANNELS] = y[i];
        }
    }

    // Takes the states of this lane through one token. The result is y, summed over the group, of register 0's channel.
    __device__ __forceinline__ float step(const float* bc, const float* own, const float* other, int i, float before) {
        float b[STATES], c[STATES], y[PAIR];
        load<STATES>(bc, b);
        load<STATES>(bc + N, c);
#pragma unroll
        for (int k = 0; k < PAIR; k++) {
            const float2 d = *reinterpret_cast<const float2*>(k ? other : own);
#pragma unroll
            for (int j = 0; j < STATES; j++) {
                const float x = d.x * rate[k][j];
                const float decay = polynomial(i, k, j) ? exp2_polynomial(x) : exp2_approx(x);
                state[k][j] = fmaf(decay, state[k][j], d.y * b[j]);
                const bool starts = j == 0 && (k == 1 || At::GROUP > 2);
                y[k] = starts ? state[k][j] * c[j] : fmaf(state[k][j], c[j], j ? y[k] : before);
            }
        }
        float sum = y[0] + __shfl_xor_sync(0xFFFFFFFFu, y[1], 1);
#pragma unroll
        for (int far = 2; far < At::GROUP; far *= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, far);
        return At::GROUP > 2 ? sum + before : sum;
    }

    // The exponentials that the multiply-add pipes compute.
    static __device__ __forceinline__ constexpr bool polynomial(int i, int k, int j) { return false; }

    // The direction that comes to a token first leaves its y. The second, which has added its own, halves and gates.
    __device__ __forceinline__ void finish(u32 tile) const {
        const u32 to = staged_at(tile);
        float y[RUN];
        load_sums(sums_of(tile), staged_token(), y);
        if (!exists(to)) return;
        if (second(tile)) {
            if (this->y) store<RUN>(this->y + to, y);
#pragma unroll
            for (int i = 0; i < RUN; i++) {
                const float e = exp2_approx(-LOG2_E * z[i]);
                y[i] *= z[i] * reciprocal(fmaf(2.0f, e, 2.0f));
            }
        }
        store<RUN>(out + to, y);
    }

    // Writes the states in the order of backward, whose lanes have quarters of them: [PAIR e/2 n], in which a channel's
    // odd quarters are where its neighbour's even ones are.
    __device__ __forceinline__ void keep_states(u32 tile) const {
        const u32 chunk = token(tile * TILE) / CHUNK, pair = channel / PAIR + at.pair;
        if (chunk * CHUNK >= l || pair * PAIR >= e) return;
        float* to = states + static_cast<size_t>(chunk) * (e * N) + pair * N + at.part * STATES;
#pragma unroll
        for (int k = 0; k < PAIR; k++) {
#pragma unroll
            for (int j = 0; j < STATES; j += 4) {
                const float four[4] = {state[k][j], state[k][j + 1], state[k][j + 2], state[k][j + 3]};
                const u32 plane = STATES == 4 ? k : (k ^ at.flip ^ j / 4);
                store<4>(to + plane * (e / PAIR * N) + j, four);
            }
        }
    }

    __device__ __forceinline__ void walk_all() {
        const bool busy = channel < e;
        if (some(0)) fetch(0);
#pragma unroll 1
        for (u32 tile = 0; tile < tiles; tile++) {
            if (tile == tiles / 2) __syncthreads();
            if (some(tile)) stage(tile);
            __syncthreads();
            if (tile + 1 < tiles && some(tile + 1)) fetch(tile + 1);
            if (!busy) continue;
            if (states && tile % (CHUNK / TILE) == 0) keep_states(tile);
            if (!some(tile)) continue;
            if (second(tile)) {
                const u32 from = staged_at(tile);
                if (exists(from)) z.load(xz + (2 * from - (channel + run()) + e));
            }
            walk(tile);
            __syncwarp();
            if (second(tile) || !sums_in_shared) finish(tile);
            __syncwarp();
        }
    }
};
