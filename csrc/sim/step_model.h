/* step_model: how long one step of the simulated engine takes. The law, in ms:
 *
 *   alpha + beta * decodes + kv * decode_context
 *         + [gamma + delta * prefill_tokens + attention * prefill_attention, if it has prefill tokens]
 *
 * times a factor that is drawn for each step (lognormal, mean 1). In a step without prefill tokens `decodes`
 * is raised to the next of the graph sizes, when there are any: the engine then runs a recorded graph of that
 * size. Constant data and pure functions.
 */
#ifndef VLLMPERF_SIM_STEP_MODEL_H
#define VLLMPERF_SIM_STEP_MODEL_H

#include <stdint.h>

enum { STEP_GRAPH_SIZES = 256 };

struct step_model {
    double alpha_ms;     /* of every step */
    double beta_ms;      /* per sequence that decodes */
    double gamma_ms;     /* of a step that has prefill tokens */
    double delta_ms;     /* per prefill token */
    double kv_ms;        /* per token of context that a decode reads */
    double attention_ms; /* per pair of a prefill token and a token that it looks at, itself too */
    double noise;        /* standard deviation of the factor; 0 = none */
    uint64_t seed;
    int n_graph_sizes;
    int32_t graph_sizes[STEP_GRAPH_SIZES]; /* ascending */
};

/* What one step has to compute. */
struct step_work {
    int64_t decodes, prefill_tokens, decode_context, prefill_attention;
};

/* Pairs of token and looked-at token when `tokens` follow on a context of `computed`. */
int64_t step_attention(int64_t computed, int64_t tokens);

/* The decodes that are paid for: the graph's size, or their number when they fit in none. */
int64_t step_padded(const struct step_model *model, const struct step_work *work);

/* Duration in ns, at least 1; `number` of the step chooses the noise. */
int64_t step_model_ns(const struct step_model *model, const struct step_work *work, int64_t number);

#endif
