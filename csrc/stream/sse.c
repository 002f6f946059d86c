/* Owns the state of one event stream: the unfinished line and the unfinished event.
 * Does not read sockets; looks into the data only to tell two events that no blank line parts. */
#include "stream/sse.h"

#include <stdlib.h>
#include <string.h>

#include "stream/delta.h"
#include "stream/text.h"

struct sse {
    const char *piece; /* the input that is left */
    size_t left, max_bytes;
    const char *next_lf, *next_cr; /* in the piece; its end when there is none; NULL = not looked for */
    struct text line;              /* start of a line whose end has not come yet */
    struct text data, type;        /* of the event being built, when it had to be copied */
    struct text next_type; /* an event field that came after data: of this event, or of one that follows */
    struct text given;     /* data of the event given out, while the next one is being built already */
    const char *data_view; /* the only data line so far, still in the piece */
    size_t data_view_len;
    uint64_t lines; /* data lines read */
    int bom;        /* bytes of a leading byte order mark seen so far; -1 = past it */
    bool has_data, is_one_line, has_next_type, skip_lf, ended, end_done;
    enum sse_status broken; /* SSE_TOO_LONG or SSE_NO_MEMORY, for good */
};

struct sse *sse_new(size_t max_bytes) {
    struct sse *s = calloc(1, sizeof *s);
    if (s) s->max_bytes = max_bytes;
    return s;
}

void sse_free(struct sse *s) {
    if (!s) return;
    free(s->line.bytes);
    free(s->data.bytes);
    free(s->type.bytes);
    free(s->next_type.bytes);
    free(s->given.bytes);
    free(s);
}

static void drop_event(struct sse *s) {
    s->data.len = s->type.len = s->next_type.len = 0;
    s->data_view = NULL;
    s->has_data = s->has_next_type = false;
}

void sse_reset(struct sse *s) {
    s->piece = NULL;
    s->left = s->line.len = 0;
    s->bom = 0;
    s->skip_lf = s->ended = s->end_done = false;
    s->broken = SSE_MORE;
    drop_event(s);
}

void sse_trim(struct sse *s, size_t max_bytes) {
    struct text *all[] = {&s->line, &s->data, &s->type, &s->next_type, &s->given};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) text_trim(all[i], max_bytes);
}

uint64_t sse_lines(const struct sse *s) {
    return s->lines;
}

void sse_feed(struct sse *s, const char *bytes, size_t len) {
    s->piece = bytes;
    s->left = len;
    s->next_lf = s->next_cr = NULL;
}

void sse_end(struct sse *s) {
    s->ended = true;
}

static bool sse_add(struct sse *s, struct text *to, const char *from, size_t len) {
    bool fits = to->len + len <= s->max_bytes;
    if (fits && text_add(to, from, len)) return true;
    s->broken = fits ? SSE_NO_MEMORY : SSE_TOO_LONG;
    return false;
}

static const char *next_of(const struct sse *s, const char **found, char wanted) {
    if (!*found || *found < s->piece) {
        const char *at = memchr(s->piece, wanted, s->left);
        *found = at ? at : s->piece + s->left;
    }
    return *found;
}

/* The first CR or LF of the piece, or NULL. Two memchr beat a loop over bytes; what they found is remembered,
 * so that a stream with only one of the two is not searched to its end on every line. */
static const char *sse_line_end(struct sse *s) {
    if (s->left == 0) return NULL;
    const char *lf = next_of(s, &s->next_lf, '\n'), *cr = next_of(s, &s->next_cr, '\r');
    const char *first = cr < lf ? cr : lf;
    return first < s->piece + s->left ? first : NULL;
}

/* A view would die with the piece (or with the line buffer): copy it. */
static bool keep_view(struct sse *s) {
    if (!s->data_view) return true;
    const char *view = s->data_view;
    s->data_view = NULL;
    return sse_add(s, &s->data, view, s->data_view_len);
}

static void sse_swap(struct text *a, struct text *b) {
    struct text kept = *a;
    *a = *b;
    *b = kept;
}

static struct view data_so_far(const struct sse *s) {
    struct view data = {s->data_view ? s->data_view : s->data.bytes,
                        s->data_view ? s->data_view_len : s->data.len};
    if (!data.at) data.at = "";
    return data;
}

static void sse_fill(const struct sse *s, struct sse_event *event) {
    struct view data = data_so_far(s);
    *event = (struct sse_event){.data = data.at,
                                .data_len = data.len,
                                .type = s->type.bytes ? s->type.bytes : "",
                                .type_len = s->type.len,
                                .line = s->lines};
}

/* Another data line follows: give out the one before if it is an event by itself. An event field between the
 * two belongs to the second. */
static bool sse_split(struct sse *s, struct sse_event *event) {
    struct view data = data_so_far(s);
    if (!s->has_data || !s->is_one_line || !delta_is_whole(data.at, data.len)) return false;
    sse_fill(s, event);
    event->split = true;
    sse_swap(&s->data, &s->given);
    sse_swap(&s->type, &s->next_type);
    s->data.len = s->next_type.len = 0;
    s->data_view = NULL;
    s->has_data = s->has_next_type = false;
    return true;
}

static void sse_join(struct sse *s, const char *value, size_t len) {
    s->is_one_line = !s->has_data;
    if (!s->has_data) {
        s->has_data = true;
        s->data_view = value;
        s->data_view_len = len;
        return;
    }
    if (keep_view(s) && sse_add(s, &s->data, "\n", 1)) sse_add(s, &s->data, value, len);
}

/* True when the line before was an event. */
static bool take_data(struct sse *s, const char *value, size_t len, struct sse_event *event) {
    if (len > s->max_bytes) {
        s->broken = SSE_TOO_LONG;
        return false;
    }
    bool got = sse_split(s, event);
    s->lines++;
    sse_join(s, value, len);
    return got;
}

static void take_type(struct sse *s, const char *value, size_t len) {
    struct text *type = s->has_data ? &s->next_type : &s->type;
    s->has_next_type = s->has_data;
    type->len = 0;
    sse_add(s, type, value, len);
}

static bool is_field(const char *line, size_t name_len, const char *name) {
    return strlen(name) == name_len && memcmp(line, name, name_len) == 0;
}

/* id and retry have no meaning without reconnecting; they and unknown fields are skipped. Servers exist
 * (llama.cpp until 2025) that write `error: {…}` for an event of that type. True when the line shows that the
 * one before was an event. */
static bool sse_take_line(struct sse *s, const char *line, size_t len, struct sse_event *event) {
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : len;
    const char *value = colon ? colon + 1 : line + len;
    size_t value_len = (size_t)(line + len - value);
    if (value_len && *value == ' ') value++, value_len--;
    if (is_field(line, name_len, "data")) return take_data(s, value, value_len, event);
    if (is_field(line, name_len, "event")) take_type(s, value, value_len);
    if (!is_field(line, name_len, "error")) return false;
    take_type(s, "error", 5);
    return take_data(s, value, value_len, event);
}

/* A blank line: true when there is an event to give out. */
static bool sse_dispatch(struct sse *s, struct sse_event *event) {
    bool got = s->has_data;
    if (s->has_next_type) sse_swap(&s->type, &s->next_type);
    if (got) sse_fill(s, event);
    drop_event(s);
    return got;
}

/* Skip a byte order mark at the very start, even a split one; true when the start has been dealt with. */
static bool past_bom(struct sse *s) {
    static const char mark[] = "\xef\xbb\xbf";
    while (s->bom >= 0 && s->left) {
        if (*s->piece != mark[s->bom]) {
            bool ok = s->bom == 0 || sse_add(s, &s->line, mark, (size_t)s->bom); /* it only looked like one */
            s->bom = -1;
            return ok;
        }
        s->piece++, s->left--;
        if (++s->bom == 3) s->bom = -1;
    }
    return s->bom < 0;
}

/* Take the next whole line out of the piece: 1 = *line is it, 0 = none, the rest is kept, -1 = broken. */
static int sse_next_line(struct sse *s, const char **line, size_t *len) {
    if (s->skip_lf && s->left) {
        if (*s->piece == '\n') s->piece++, s->left--;
        s->skip_lf = false;
    }
    const char *end = sse_line_end(s);
    if (!end) {
        bool kept = keep_view(s) && sse_add(s, &s->line, s->piece, s->left);
        s->left = 0;
        return kept ? 0 : -1;
    }
    *line = s->piece;
    *len = (size_t)(end - s->piece);
    if (s->line.len) {
        if (!sse_add(s, &s->line, *line, *len)) return -1;
        *line = s->line.bytes;
        *len = s->line.len;
    }
    s->skip_lf = *end == '\r';
    s->left -= (size_t)(end + 1 - s->piece);
    s->piece = end + 1;
    return 1;
}

/* One line; true when it gave an event. The line buffer is used up, so a view into it is copied. */
static bool one_line(struct sse *s, const char *line, size_t len, struct sse_event *event) {
    if (len == 0) return sse_dispatch(s, event);
    bool buffered = s->line.len > 0, got = false;
    if (len > s->max_bytes)
        s->broken = SSE_TOO_LONG;
    else if (line[0] != ':')
        got = sse_take_line(s, line, len, event);
    if (buffered && s->data_view) keep_view(s);
    s->line.len = 0;
    return got;
}

/* The input is over: an unfinished line counts as a line, an unfinished event as an event. */
static enum sse_status last_event(struct sse *s, struct sse_event *event) {
    if (!s->ended || s->end_done) return SSE_MORE;
    if (s->line.len && one_line(s, s->line.bytes, s->line.len, event) && !s->broken) return SSE_EVENT;
    s->end_done = true;
    if (s->broken) return s->broken;
    if (!sse_dispatch(s, event)) return SSE_MORE;
    event->cut = true;
    return SSE_EVENT;
}

/* What nearly all events are: one data line, with its blank line in the same piece, between line feeds. */
static bool plain_event(struct sse *s, struct sse_event *event) {
    bool is_start = !s->has_data && !s->skip_lf && s->bom < 0 && s->line.len == 0 && s->type.len == 0;
    if (!is_start || s->left < sizeof "data:\n" || memcmp(s->piece, "data:", 5) != 0) return false;
    const char *lf = next_of(s, &s->next_lf, '\n'), *cr = next_of(s, &s->next_cr, '\r');
    const char *end = s->piece + s->left, *value = s->piece + 5;
    if (cr < lf || end - lf < 2 || lf[1] != '\n' || (size_t)(lf - s->piece) > s->max_bytes) return false;
    value += value < lf && *value == ' ';
    *event =
        (struct sse_event){.data = value, .data_len = (size_t)(lf - value), .type = "", .line = ++s->lines};
    s->piece = lf + 2;
    s->left = (size_t)(end - s->piece);
    return true;
}

enum sse_status sse_next(struct sse *s, struct sse_event *event) {
    const char *line;
    size_t len;
    if (!s->broken && plain_event(s, event)) return SSE_EVENT;
    while (!s->broken && past_bom(s)) {
        int got = sse_next_line(s, &line, &len);
        if (got < 0) break;
        if (got == 0) return last_event(s, event);
        if (one_line(s, line, len, event) && !s->broken) return SSE_EVENT;
    }
    if (s->broken) s->left = 0;
    return s->broken ? s->broken : last_event(s, event);
}
