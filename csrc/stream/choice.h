/* choice: reads one choice of a completions or chat object. Any thread may call. Owns nothing; what it fills
 * are views of the JSON.
 */
#ifndef VLLMPERF_STREAM_CHOICE_H
#define VLLMPERF_STREAM_CHOICE_H

#include "stream/delta.h"

/* Usage and errors beside those of the object: of the last choice with such an object, and of x_groq. */
struct aside {
    struct view usage, error; /* at NULL when there is none */
};
struct asides {
    bool any; /* else nothing here is set */
    struct aside choice, groq;
};

/* Before something is set. */
void asides_begin(struct asides *asides);

/* Read the element of "choices" at `at`; *choice is filled whatever it is. Returns the place behind it, or
 * NULL when it is no JSON. */
const char *choice_read(const char *at, const char *end, struct delta_choice *choice, struct asides *asides);

#endif
