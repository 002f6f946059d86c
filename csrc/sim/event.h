/* event: an SSE event on its way to the connection: its lines, its framing as an HTTP chunk, and the faults
 * that only change how it is written (line ends, comments, cut or merged events). For the server's thread.
 * The bytes are in the buffers of sim; without memory the connection is aborted.
 */
#ifndef VLLMPERF_SIM_EVENT_H
#define VLLMPERF_SIM_EVENT_H

#include <stdbool.h>

#include "sim/answer_data.h"

/* Begin an event in sim->event; its JSON is added there by the caller. */
void event_begin(struct answer *answer);

/* End it. It is written now, or with `more` together with the next one; conn is told of `mark`.
 * false when the answer is over: it must not be touched any more. */
bool event_end(struct answer *answer, int32_t mark, bool more);

/* The tail of the stream: what was held back, [DONE], the end of the body. The answer is over, or soon. */
void event_end_stream(struct answer *answer);

#endif
