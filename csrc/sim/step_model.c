/* Owns the law of a step's duration.
 * Does not know which requests are in the step (scheduler.c). */
#include "sim/step_model.h"

#include <math.h>

#include "sim/dist.h"

static const double NS_PER_MS_F = 1e6;
enum { FOR_STEPS = 16 }; /* purpose of random numbers */

int64_t step_attention(int64_t computed, int64_t tokens) {
    return tokens * computed + tokens * (tokens + 1) / 2;
}

int64_t step_padded(const struct step_model *model, const struct step_work *work) {
    if (work->prefill_tokens) return work->decodes;
    for (int i = 0; i < model->n_graph_sizes; i++)
        if (model->graph_sizes[i] >= work->decodes) return model->graph_sizes[i];
    return work->decodes;
}

/* ms without noise. */
static double step_law(const struct step_model *model, const struct step_work *work) {
    double ms = model->alpha_ms + model->beta_ms * (double)step_padded(model, work) +
                model->kv_ms * (double)work->decode_context;
    if (work->prefill_tokens == 0) return ms;
    return ms + model->gamma_ms + model->delta_ms * (double)work->prefill_tokens +
           model->attention_ms * (double)work->prefill_attention;
}

static double step_draw_noise(const struct step_model *model, int64_t number) {
    if (model->noise <= 0) return 1;
    struct random random = random_for(model->seed, (uint64_t)number, FOR_STEPS);
    double variance = log1p(model->noise * model->noise);
    return exp(random_normal(&random) * sqrt(variance) - variance / 2);
}

int64_t step_model_ns(const struct step_model *model, const struct step_work *work, int64_t number) {
    double ns = step_law(model, work) * NS_PER_MS_F * step_draw_noise(model, number);
    return ns < 1 ? 1 : (int64_t)(ns + 0.5);
}
