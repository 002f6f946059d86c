/* Owns what went wrong with an answer: troubles, and the words for them. */
#include "engine/response_state.h"

void response_trouble(struct response *r, enum trouble trouble) {
    if (trouble > r->trouble) r->trouble = trouble;
}

void response_take_no_more(struct response *r, enum trouble why) {
    response_trouble(r, why);
    r->is_stuck = true;
}

void response_no_memory(struct response *r) {
    response_take_no_more(r, TROUBLE_NO_MEMORY);
}

static void set_error(struct response *r, const char *text, size_t len, enum error_source source) {
    if (len == 0) return;
    if (source != ERROR_BODY || r->error_source != ERROR_BODY) r->error.len = 0;
    size_t room = RESPONSE_ERROR_BYTES - r->error.len;
    if (text_add(&r->error, text, len < room ? len : room))
        r->error_source = source;
    else
        response_no_memory(r);
}

void response_guess(struct response *r, const char *text, size_t len) {
    if (r->error_source == ERROR_NONE) set_error(r, text, len, ERROR_GUESS);
}

void response_error(struct response *r, const char *message, size_t len) {
    if (r->error_source <= ERROR_GUESS) set_error(r, message, len, ERROR_MESSAGE);
}

void response_keep_body(struct response *r, const char *bytes, size_t len) {
    if (r->error_source != ERROR_MESSAGE) set_error(r, bytes, len, ERROR_BODY);
}

void response_name_binary(struct response *r) {
    static const char gzip[] = "the body is gzip, and no Content-Encoding says so",
                      other[] = "the body is binary";
    if (r->error_source != ERROR_BODY) return;
    if (r->error.len > 1 && memcmp(r->error.bytes, "\x1f\x8b", 2) == 0)
        set_error(r, gzip, sizeof gzip - 1, ERROR_MESSAGE);
    else if (memchr(r->error.bytes, '\0', r->error.len))
        set_error(r, other, sizeof other - 1, ERROR_MESSAGE);
}
