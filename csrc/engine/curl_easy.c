/* Owns one transfer of libcurl: its handle, what libcurl tells while it connects and reads, how it ends.
 * Does not know multis or the loop (curl.c does), nor what an answer means.
 *
 * libcurl reads by itself and does not say how many bytes of the wire a piece of the body took. So a look at
 * the socket just before gives a stamp and how many bytes it covers; what comes beyond them, or when libcurl
 * reads by a timer of its own, has no stamp of its own and counts as part of the same read. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "engine/curl_parts.h"
#include "engine/request.h"
#include "engine/socket.h"
#include "engine/transfer_options.h"
#include "engine/transfer_outcome.h"

/* The least that the wire adds to a piece of a body: a TLS 1.2 record with ChaCha20 has 21 bytes more. */
enum { TLS_BYTES = 21 };

/* ---- what libcurl tells ---- */

struct easy *easy_of(CURL *handle) {
    char *private = NULL;
    curl_easy_getinfo(handle, CURLINFO_PRIVATE, &private);
    return (struct easy *)(void *)private;
}

static bool was_sent_on(struct easy *easy) {
    long before = easy->redirects;
    curl_easy_getinfo(easy->handle, CURLINFO_REDIRECT_COUNT, &easy->redirects);
    return easy->redirects != before;
}

static curl_socket_t on_socket_open(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)purpose;
    struct easy *easy = context;
    struct transport *t = easy->slot->transport;
    if (!transport_may_connect(t, &address->addr)) {
        easy->local_error = EACCES;
        easy->was_led_astray = was_sent_on(easy);
        return CURL_SOCKET_BAD;
    }
    int on = 1, fd = socket_new(address->family, address->socktype, address->protocol);
    if (fd < 0) {
        easy->local_error = errno;
        return CURL_SOCKET_BAD;
    }
    loop_forget(t->loop, fd); /* libcurl's resolver had one of this number, and closed it without a word */
    easy->sockets_opened++;
    easy->began_ns = transport_now_ns(t);
    if (t->config->kernel_stamps) setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    return fd;
}

static int on_socket_close(void *context, curl_socket_t fd) {
    struct curl *curl = context;
    loop_watch(curl->t->loop, fd, 0);
    if ((size_t)fd < curl->n_fds) curl->by_fd[fd] = (struct watched){0};
    return close(fd);
}

/* The connection stands and the request goes out next. A second time in one request means that libcurl found
 * the reused connection dead and tries again on a new one without a word, unless it follows a redirect. */
static int on_connected(void *context, char *remote, char *local, int remote_port, int local_port) {
    (void)remote, (void)local, (void)remote_port, (void)local_port;
    struct easy *easy = context;
    struct slot *slot = easy->slot;
    slot->connected = true;
    easy->was_reset = false; /* a reset before this is that of the dead connection */
    if (easy->sockets_opened) transport_note_connection(slot->transport, easy->began_ns);
    if (easy->warming) return CURL_PREREQFUNC_OK;
    if (!was_sent_on(easy) && easy->sends > 0) slot->response.record.retries++;
    easy->sends++;
    if (easy->sockets_opened) slot->response.record.connected_ns = transport_now_ns(slot->transport);
    return CURL_PREREQFUNC_OK;
}

/* libcurl has read this much more. Where the stamp does not cover it, it came later than the stamp says, and
 * before now: it keeps the number of its read, so that it counts as sharing it. */
static void note_read(struct easy *easy, size_t len) {
    struct slot *slot = easy->slot;
    bool is_covered = slot->transport->config->kernel_stamps && easy->covered_bytes > 0;
    if (!is_covered || ((struct curl *)slot->transport->own)->reading != easy)
        slot->read.arrived_ns = slot->read.seen_ns = transport_now_ns(slot->transport);
    easy->covered_bytes -= (int64_t)len + TLS_BYTES;
}

/* libcurl decodes nothing by itself: of a body of gzip it would read the first member alone. */
static void note_coding(struct easy *easy, const char *line, size_t len) {
    static const char name[] = "content-encoding:";
    size_t skip = sizeof name - 1;
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) easy->content_encoding[0] = 0; /* another head begins */
    if (len < skip || strncasecmp(line, name, skip) != 0) return;
    while (skip < len && (line[skip] == ' ' || line[skip] == '\t')) skip++;
    while (len > skip && memchr(" \t\r\n", line[len - 1], 4)) len--;
    snprintf(easy->content_encoding, sizeof easy->content_encoding, "%.*s", (int)(len - skip), line + skip);
}

static size_t on_header(char *line, size_t size, size_t n, void *context) {
    struct easy *easy = context;
    if (easy->warming) return size * n;
    note_coding(easy, line, size * n);
    struct record *record = &easy->slot->response.record;
    note_read(easy, size * n);
    easy->covered_bytes += TLS_BYTES; /* several lines come in one record */
    if (record->first_byte_ns == RECORD_NONE) record->first_byte_ns = easy->slot->read.arrived_ns;
    return size * n;
}

void easy_read_head(struct easy *easy) {
    long status = 0;
    char *content_type = NULL, *location = NULL;
    struct response *r = &easy->slot->response;
    char message[600];
    curl_easy_getinfo(easy->handle, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy->handle, CURLINFO_CONTENT_TYPE, &content_type);
    curl_easy_getinfo(easy->handle, CURLINFO_REDIRECT_URL, &location);
    was_sent_on(easy);
    r->record.redirects = (int32_t)easy->redirects;
    response_head(r, status, content_type);
    transport_take_coding(easy->slot, easy->content_encoding);
    if (!location) return;
    int n = snprintf(message, sizeof message, "redirected to %.500s", location);
    response_error(r, message, (size_t)n);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *context) {
    struct easy *easy = context;
    struct response *r = &easy->slot->response;
    if (easy->warming) return size * n;
    note_read(easy, size * n);
    if (r->record.status == 0) easy_read_head(easy);
    easy->is_not_as_coded = !transport_take_body(easy->slot, bytes, size * n);
    /* libcurl reads on as long as there is something: the engine might never get to look at its clock */
    int64_t limit_ns = easy->slot->transport->config->total_timeout_ns;
    easy->is_late = easy->slot->read.seen_ns - easy->slot->sent_ns > limit_ns;
    bool gives_up = r->is_stuck || easy->is_late || easy->is_not_as_coded;
    return gives_up ? 0 : size * n;
}

/* ---- handles ---- */

static void set_callbacks(struct easy *easy, struct curl *curl) {
    CURL *handle = easy->handle;
    curl_easy_setopt(handle, CURLOPT_PRIVATE, easy);
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, easy->error);
    curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, on_socket_open);
    curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, easy);
    curl_easy_setopt(handle, CURLOPT_CLOSESOCKETFUNCTION, on_socket_close);
    curl_easy_setopt(handle, CURLOPT_CLOSESOCKETDATA, curl);
    curl_easy_setopt(handle, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(handle, CURLOPT_PREREQDATA, easy);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, easy);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, easy);
}

/* Each handle is pinned to one address of the name; another host, to which a redirect leads, is not. */
static bool pin_address(struct easy *easy, size_t number) {
    const struct transport *t = easy->slot->transport;
    if (t->config->n_addresses == 0) return true;
    const char *address = t->config->addresses[number % t->config->n_addresses];
    char entry[500];
    snprintf(entry, sizeof entry, "%s:%s:", ((struct curl *)t->own)->place, address);
    easy->connect_to = curl_slist_append(NULL, entry);
    return easy->connect_to != NULL;
}

static size_t id_text_size(const struct engine_config *config) {
    return strlen(config->request_id_prefix) + sizeof "x-request-id: " + REQUEST_ID_BYTES;
}

static size_t session_text_size(const struct engine_config *config) {
    return strlen(config->session_header) + REQUEST_ID_BYTES;
}

void easy_free(struct slot *slot) {
    struct easy *easy = slot->carrier;
    if (!easy) return;
    if (easy->in_transfer) curl_multi_remove_handle(easy->multi->handle, easy->handle);
    if (easy->handle) curl_easy_cleanup(easy->handle);
    curl_slist_free_all(easy->connect_to);
    free(easy->id_text);
    free(easy->session_text);
    free(easy);
    slot->carrier = NULL;
}

bool easy_init(struct slot *slot) {
    struct transport *t = slot->transport;
    struct curl *curl = t->own;
    struct easy *easy = calloc(1, sizeof *easy);
    slot->carrier = easy;
    if (!easy) return false;
    easy->slot = slot;
    easy->multi = &curl->multis[t->n_slots % curl->n_multis];
    easy->handle = curl_easy_init();
    easy->id_text = calloc(1, id_text_size(t->config));
    easy->session_text = calloc(1, session_text_size(t->config));
    easy->session_header = (struct curl_slist){easy->session_text, curl->headers};
    easy->id_header = (struct curl_slist){easy->id_text, curl->headers};
    if (!easy->handle || !easy->id_text || !easy->session_text || !pin_address(easy, t->n_slots))
        return false;
    set_callbacks(easy, curl);
    transfer_options(easy->handle, t->config, curl->share);
    curl_easy_setopt(easy->handle, CURLOPT_CONNECT_TO, easy->connect_to);
    easy_write_session(easy, NO_SESSION);
    return true;
}

/* ---- the headers ---- */

void easy_write_id(struct easy *easy, const char *id) {
    const struct engine_config *config = easy->slot->transport->config;
    snprintf(easy->id_text, id_text_size(config), "x-request-id: %s%s", config->request_id_prefix, id);
}

/* The list is the id's header, the session's and those of the run. */
void easy_write_session(struct easy *easy, int64_t session) {
    const struct transport *t = easy->slot->transport;
    struct curl_slist *rest = ((struct curl *)t->own)->headers;
    if (session >= 0 && t->config->session_header[0]) {
        snprintf(easy->session_text, session_text_size(t->config), "%s%lld", t->config->session_header,
                 (long long)session);
        rest = &easy->session_header;
    }
    easy->id_header.next = rest;
    curl_easy_setopt(easy->handle, CURLOPT_HTTPHEADER, t->config->no_request_ids ? rest : &easy->id_header);
}

/* ---- the end ---- */

/* The answer was the redirect. */
static void easy_tell_place(struct easy *easy) {
    char *url = NULL, message[600];
    curl_easy_getinfo(easy->handle, CURLINFO_EFFECTIVE_URL, &url);
    int n =
        snprintf(message, sizeof message, "redirected to %.500s, where this run may not go", url ? url : "");
    response_error(&easy->slot->response, message, (size_t)n);
}

void easy_end(struct easy *easy, CURLcode code) {
    struct slot *slot = easy->slot;
    long error = easy->local_error;
    if (slot->response.record.status == 0) easy_read_head(easy);
    if (easy->was_led_astray) easy_tell_place(easy);
    if (!error) curl_easy_getinfo(easy->handle, CURLINFO_OS_ERRNO, &error);
    enum outcome outcome =
        code == CURLE_OK ? OUTCOME_completed : transfer_outcome(code, (int)error, slot->connected);
    const char *why = easy->error[0] ? easy->error : curl_easy_strerror(code);
    /* after the peek that saw the reset, libcurl saw an orderly end */
    if (easy->was_reset) outcome = OUTCOME_reset, why = strerror(ECONNRESET);
    /* libcurl has no code of its own for a broken chunk, and words that its versions share only in part */
    if (code == CURLE_RECV_ERROR && strstr(easy->error, "chunk")) outcome = OUTCOME_malformed;
    /* what libcurl says of a head beyond its limit, 100 or 300 KB */
    if (code == CURLE_OUT_OF_MEMORY && slot->response.record.first_byte_ns != RECORD_NONE)
        outcome = OUTCOME_malformed, why = "the answer's head is longer than libcurl takes";
    if (outcome == OUTCOME_completed && slot->undecodable) outcome = OUTCOME_malformed;
    if (easy->is_not_as_coded) outcome = OUTCOME_malformed, why = transport_not_as_coded;
    if (easy->is_late) outcome = OUTCOME_total_timeout, why = "the request took longer than --total-timeout";
    if (outcome == OUTCOME_local_fault && error) why = strerror((int)error);
    transport_end(slot, outcome, why);
}
