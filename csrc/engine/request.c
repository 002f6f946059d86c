/* Owns the text of a request's head.
 * Does not send it; does not know bodies. */
#include "engine/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "stream/text.h"

enum { HTTP_PORT = 80 };

/* ---- addresses ---- */

static bool split_host(struct request_url *parts) {
    const char *a = parts->authority, *close = strchr(a, ']');
    const char *colon = strrchr(close ? close : a, ':');
    bool in_brackets = a[0] == '[' && close;
    size_t n = colon ? (size_t)(colon - a) : strlen(a);
    if (in_brackets) a++, n = (size_t)(close - a);
    if (n == 0 || n >= sizeof parts->host) return false;
    memcpy(parts->host, a, n);
    parts->host[n] = 0;
    parts->port = colon && colon[1] ? atoi(colon + 1) : HTTP_PORT;
    return parts->port > 0 && parts->port < 65536;
}

bool request_url(const char *url, struct request_url *parts) {
    static const char scheme[] = "http://";
    if (strncasecmp(url, scheme, sizeof scheme - 1) != 0) return false;
    const char *begin = url + sizeof scheme - 1;
    size_t n = strcspn(begin, "/?#");
    parts->path = begin + n;
    for (const char *at; (at = memchr(begin, '@', n));) { /* user and password are the headers' business */
        n -= (size_t)(at + 1 - begin);
        begin = at + 1;
    }
    if (n == 0 || n >= sizeof parts->authority) return false;
    memcpy(parts->authority, begin, n);
    parts->authority[n] = 0;
    return split_host(parts);
}

/* ---- the head ---- */

static bool request_add(struct text *text, const char *more) {
    return text_add(text, more, strlen(more));
}

static bool add_line(struct text *text, const char *name, const char *value, const char *more) {
    return request_add(text, name) && request_add(text, value) && request_add(text, more) &&
           request_add(text, "\r\n");
}

/* Is this "Name: value" or "Name;" of that name? */
static bool is_header(const char *line, const char *name) {
    size_t n = strlen(name);
    return strncasecmp(line, name, n) == 0 && (line[n] == ':' || line[n] == ';');
}

static const char *header_named(const struct engine_config *config, const char *name) {
    for (size_t i = 0; i < config->n_headers; i++)
        if (is_header(config->headers[i], name)) return config->headers[i];
    return NULL;
}

/* As libcurl takes them: "Name: value"; "Name;" sends an empty value, "Name:" none of that name. */
static bool request_add_header(struct text *text, const char *line) {
    size_t n = strlen(line), name = strcspn(line, ":;");
    bool is_empty = name + 1 >= n;
    if (is_empty && line[name] == ':') return true;
    if (is_empty) return text_add(text, line, name) && request_add(text, ":\r\n");
    return request_add(text, line) && request_add(text, "\r\n");
}

static char *end_of(struct text *text, bool ok) {
    if (ok && text_add(text, "", 1)) return text->bytes;
    free(text->bytes);
    return NULL;
}

/* Host stands first, also one that is given. */
static char *host_line(const struct engine_config *config, const char *authority) {
    struct text text = {0};
    const char *given = header_named(config, "host");
    return end_of(&text, given ? request_add_header(&text, given) : add_line(&text, "Host: ", authority, ""));
}

static char *more_lines(const struct engine_config *config, bool elsewhere) {
    struct text text = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < config->n_headers; i++) {
        const char *line = config->headers[i];
        bool is_secret = is_header(line, "authorization") || is_header(line, "cookie");
        if (!is_header(line, "host") && !(elsewhere && is_secret)) ok = request_add_header(&text, line);
    }
    return end_of(&text, ok);
}

bool request_init(struct request *request, const struct engine_config *config) {
    struct request_url parts;
    memset(request, 0, sizeof *request);
    if (!request_url(config->url, &parts)) return false;
    size_t path_len = strcspn(parts.path, "#");
    request->port = parts.port;
    request->host = strdup(parts.host);
    request->path = malloc(path_len + 2);
    request->headers = header_named(config, "accept") ? "" : "Accept: */*\r\n";
    request->more = more_lines(config, false);
    request->more_elsewhere = more_lines(config, true);
    request->host_line = host_line(config, parts.authority);
    request->config = config;
    bool ok =
        request->host && request->path && request->more && request->more_elsewhere && request->host_line;
    if (ok)
        snprintf(request->path, path_len + 2, "%s%.*s", parts.path[0] == '/' ? "" : "/", (int)path_len,
                 parts.path);
    return ok;
}

void request_free(struct request *request) {
    free(request->host_line);
    free(request->host);
    free(request->path);
    free(request->more);
    free(request->more_elsewhere);
    memset(request, 0, sizeof *request);
}

void request_id(const struct engine_config *config, int64_t index, char text[REQUEST_ID_BYTES]) {
    snprintf(text, REQUEST_ID_BYTES, config->uuid_request_ids ? "%012llx" : "%lld", (long long)index);
}

bool request_is_elsewhere(const struct request *request, const char *url) {
    struct request_url there, here;
    if (!url || !request_url(url, &there) || !request_url(request->config->url, &here)) return false;
    return strcasecmp(there.host, here.host) != 0 || there.port != here.port;
}

static bool add_length(struct text *text, int64_t body_len) {
    char length[32];
    snprintf(length, sizeof length, "%lld", (long long)body_len);
    return body_len < 0 || add_line(text, "Content-Length: ", length, "");
}

/* Like "x-session-id: run-7"; another host has no business with it. */
static bool add_session(struct text *text, const struct engine_config *config, int64_t session) {
    char number[32];
    if (session < 0 || !config->session_header[0]) return true;
    snprintf(number, sizeof number, "%lld", (long long)session);
    return add_line(text, config->session_header, number, "");
}

size_t request_head(const struct request *request, const char *url, int64_t index, int64_t session,
                    int64_t body_len, char **head, size_t *cap) {
    char id[REQUEST_ID_BYTES];
    struct request_url parts;
    struct text text = {*head, 0, *cap};
    bool moved = url && request_url(url, &parts), elsewhere = request_is_elsewhere(request, url);
    const char *path = moved ? parts.path : request->path;
    request_id(request->config, index, id);
    bool ok =
        request_add(&text, body_len < 0 ? "GET " : "POST ") &&
        add_line(&text, path[0] == '/' ? "" : "/", path, " HTTP/1.1") &&
        (elsewhere ? add_line(&text, "Host: ", parts.authority, "") : request_add(&text, request->host_line));
    ok = ok && request_add(&text, request->headers);
    if (ok && !request->config->no_request_ids)
        ok = add_line(&text, "x-request-id: ", request->config->request_id_prefix, id);
    ok = ok && (elsewhere || add_session(&text, request->config, session));
    ok = ok && request_add(&text, elsewhere ? request->more_elsewhere : request->more) &&
         add_length(&text, body_len) && request_add(&text, "\r\n");
    *head = text.bytes;
    *cap = text.cap;
    return ok ? text.len : 0;
}
