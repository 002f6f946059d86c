/* Owns what arrived bytes mean for a request on plain http: head, body, end, redirect, another try.
 * Does not read sockets (plain.c does), does not know what a body says (response.c does). */
#include "engine/plain_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plain_send.h"

/* ---- ends ---- */

static void plain_end(struct connection *c, bool keep, enum outcome outcome, const char *why) {
    struct slot *slot = c->slot;
    connection_release(c, keep);
    transport_end(slot, outcome, why);
}

/* A kept connection that its server had closed before the request came: the request goes out once more on a
 * new one, as libcurl and browsers do, and that is counted. */
static bool try_again(struct connection *c) {
    struct slot *slot = c->slot;
    struct plain *p = c->plain;
    if (c->got_bytes || !c->reused) return false;
    char *url = c->url;
    c->url = NULL;
    slot->response.record.retries++;
    slot->connected = false;
    connection_release(c, false);
    plain_send(p, slot, url, true);
    return true;
}

static void input_failed(struct connection *c, int error) {
    enum outcome outcome = socket_is_local_fault(error) ? OUTCOME_local_fault : OUTCOME_reset;
    if (!try_again(c)) plain_end(c, false, outcome, strerror(error));
}

/* ---- redirects ---- */

/* Of one request: aiohttp, requests and clients on httpx stop at 10 to 30. */
enum { MOST_REDIRECTS = 10 };

static bool is_redirect(int status) {
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Could this stand in a request line? A Location as long as its array was cut. */
static bool is_sound(const struct framing *f) {
    size_t n = 0;
    for (const char *at = f->location; *at; at++, n++)
        if ((unsigned char)*at <= ' ' || *at == 127) return false;
    return n > 0 && n < sizeof f->location - 1;
}

static bool has_scheme(const char *location) {
    size_t n = strcspn(location, ":/?#");
    return n > 0 && location[n] == ':';
}

/* How much of the base's path stays in front of a relative location. */
static size_t kept_of(const char *path, const char *location) {
    size_t n = strcspn(path, "?#");
    if (location[0] == '/') return 0;
    if (location[0] == '?' || location[0] == '#') return n;
    while (n > 0 && path[n - 1] != '/') n--;
    return n;
}

/* The absolute address that a Location means, without a fragment, allocated; NULL when it is none of http. */
static char *plain_resolve(const struct connection *c, const char *location) {
    struct request_url parts;
    const char *base = c->url ? c->url : c->plain->t->config->url;
    bool is_whole = has_scheme(location), is_host = strncmp(location, "//", 2) == 0;
    if (!request_url(is_whole ? location : base, &parts)) return NULL;
    size_t size = strlen(base) + strlen(location) + 16;
    char *url = malloc(size);
    if (!url) return NULL;
    int kept = (int)kept_of(parts.path, location);
    if (is_whole || is_host)
        snprintf(url, size, "%s%s", is_host ? "http:" : "", location);
    else
        snprintf(url, size, "http://%s%.*s%s%s", parts.authority, kept, parts.path,
                 kept == 0 && location[0] != '/' ? "/" : "", location);
    url[strcspn(url, "#")] = 0;
    return url;
}

/* Names are looked up before the run: another host counts only as a numeric address. */
static bool can_reach(const struct connection *c, const char *url) {
    struct request_url parts;
    struct socket_address to;
    if (!request_is_elsewhere(&c->plain->request, url)) return true;
    return request_url(url, &parts) && socket_address(parts.host, parts.port, &to) &&
           transport_may_connect(c->plain->t, (const struct sockaddr *)&to.address);
}

/* Where the request goes on, allocated; NULL when the redirect is none, is not wanted, or leads nowhere. */
static char *next_url(const struct connection *c) {
    bool may_follow =
        c->plain->t->config->follow_redirects && c->slot->response.record.redirects < MOST_REDIRECTS;
    if (!may_follow || !is_redirect(c->framing.status) || !is_sound(&c->framing)) return NULL;
    char *url = plain_resolve(c, c->framing.location);
    if (url && can_reach(c, url)) return url;
    free(url);
    return NULL;
}

/* 307 and 308 keep the method; the others make a GET of it, as clients have always done. */
static void plain_follow(struct connection *c, bool keep) {
    struct slot *slot = c->slot;
    struct plain *p = c->plain;
    char *url = c->next_url;
    c->next_url = NULL;
    slot->response.record.redirects++;
    slot->is_get = slot->is_get || (c->framing.status != 307 && c->framing.status != 308);
    slot->response.record.first_byte_ns = RECORD_NONE;
    connection_release(c, keep);
    plain_send(p, slot, url, false);
}

/* ---- whole or cut ---- */

static void plain_complete(struct connection *c) {
    const struct plain *p = c->plain;
    bool keep = c->framing.keeps_connection && !p->t->config->fresh_connections &&
                !request_is_elsewhere(&p->request, c->url) && c->sent == c->head_len + c->body_len &&
                framing_left_over(&c->framing) == 0;
    if (c->next_url)
        plain_follow(c, keep);
    else
        plain_end(c, keep, c->slot->undecodable ? OUTCOME_malformed : OUTCOME_completed, "");
}

static void input_ended(struct connection *c) {
    if (try_again(c)) return;
    if (!c->got_bytes)
        plain_end(c, false, OUTCOME_reset, "the server closed the connection without an answer");
    else if (framing_end_of_input(&c->framing) == FRAMING_END)
        plain_complete(c);
    else if (c->framing.status == 0)
        plain_end(c, false, OUTCOME_malformed, "the answer is no HTTP/1.1");
    else
        plain_end(c, false, OUTCOME_truncated,
                  "the server closed the connection before the end of the answer");
}

/* ---- the answer ---- */

static void plain_take_head(struct connection *c) {
    struct response *r = &c->slot->response;
    char message[sizeof c->framing.location + 32];
    c->next_url = next_url(c);
    if (c->next_url) {
        c->skips_body = true;
        return;
    }
    response_head(r, c->framing.status, c->framing.content_type[0] ? c->framing.content_type : NULL);
    if (is_redirect(c->framing.status)) {
        int n = snprintf(message, sizeof message, "redirected to %s", c->framing.location);
        response_error(r, message, (size_t)n);
        c->skips_body = true;
    }
    transport_take_coding(c->slot, c->framing.content_encoding);
}

/* False when the transfer was given up. */
static bool plain_take_body(struct connection *c, const char *bytes, size_t len) {
    struct slot *slot = c->slot;
    if (c->skips_body) return true;
    if (!transport_take_body(slot, bytes, len)) {
        plain_end(c, false, OUTCOME_malformed, transport_not_as_coded);
        return false;
    }
    if (!slot->response.is_stuck) return true;
    plain_end(c, false, OUTCOME_malformed, "");
    return false;
}

static void take_bytes(struct connection *c, const char *bytes, size_t len) {
    const char *body;
    size_t body_len;
    framing_feed(&c->framing, bytes, len);
    for (;;) {
        switch (framing_next(&c->framing, &body, &body_len)) {
        case FRAMING_HEAD:
            plain_take_head(c);
            break;
        case FRAMING_BODY:
            if (!plain_take_body(c, body, body_len)) return;
            break;
        case FRAMING_END:
            plain_complete(c);
            return;
        case FRAMING_BAD:
            plain_end(c, false, OUTCOME_malformed, c->framing.why);
            return;
        case FRAMING_MORE:
            return;
        }
    }
}

void plain_take_piece(const struct piece *piece) {
    struct connection *c = piece->connection;
    struct slot *slot = c->slot;
    if (!slot) { /* an idle one has nothing to say: it was closed, or does not keep to HTTP */
        connection_close(c);
        return;
    }
    slot->read = (struct read_stamp){piece->arrived_ns, piece->seen_ns, piece->number};
    if (piece->error) {
        input_failed(c, piece->error);
    } else if (piece->len == 0) {
        input_ended(c);
    } else {
        struct record *record = &slot->response.record;
        c->got_bytes = true;
        if (record->first_byte_ns == RECORD_NONE) record->first_byte_ns = piece->arrived_ns;
        take_bytes(c, piece->bytes, piece->len);
    }
}
