/* text_api: /tokenize and /detokenize with the simulator's rule for tokens (words.h). Pure functions: a body
 * in, a body and its HTTP status out. Without memory `out` says so.
 */
#ifndef VLLMPERF_SIM_TEXT_API_H
#define VLLMPERF_SIM_TEXT_API_H

#include "sim/buf.h"
#include "sim/sim.h"

int text_tokenize(struct buf *out, const struct sim_config *config, const char *body, size_t len);
int text_detokenize(struct buf *out, const char *body, size_t len);

#endif
