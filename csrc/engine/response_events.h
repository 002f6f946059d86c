/* response_events: what events of an answer say. For the thread of the response.
 */
#ifndef VLLMPERF_RESPONSE_EVENTS_H
#define VLLMPERF_RESPONSE_EVENTS_H

#include "engine/response_state.h"

void events_take(struct response *r, const struct sse_event *event);

/* A plain JSON body. */
void events_take_body(struct response *r, const char *json, size_t len);

#endif
