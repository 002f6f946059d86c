/* The second server of scripts/bench/rivals: one loop that waits and writes. It shares no code with the
 * simulator. Owns what it sends and the file that says when; it knows no faults and no rules of the API.
 *   plain_server TTFT_MS ITL_MS TRUTH_FILE
 * The file has the simulator's columns, as far as scripts/bench reads them: the kernel's stamp of the
 * request's last byte, and the clock just before each write of a token. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MAX_REQUEST = 65536, MAX_TOKENS = 4096 };
#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS 1e6

#define MODELS                                                                                               \
    "{\"object\":\"list\",\"data\":[{\"id\":\"sim\",\"object\":\"model\",\"owned_by\":\"plain\",\"max_"      \
    "model_len\":32768}]}"
#define CHUNK                                                                                                \
    "data: {\"id\":\"cmpl-%ld\",\"object\":\"text_completion\",\"created\":1,\"model\":\"sim\",\"choices\":"

/* in: what has come of the next request. While it is answered: sent of tokens are out, the next one is due.
 */
struct connection {
    int fd;
    char in[MAX_REQUEST];
    size_t len;
    int64_t arrived_real_ns, due_ns;
    int64_t written_ns[MAX_TOKENS];
    int sent, tokens;
    long number;
    size_t token_len;
    char token[512];
    struct connection *next;
};

/* All streams wait equally long, so who comes first is due first: a queue for first tokens, one for the
 * others. */
static struct queue { struct connection *head, *tail; } firsts, others;

static int64_t ttft_ns, itl_ns;
static FILE *truth;
static long requests;
static int loop;
static volatile sig_atomic_t is_over;

static int64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void push(struct queue *queue, struct connection *c) {
    c->next = NULL;
    if (queue->head)
        queue->tail->next = c;
    else
        queue->head = c;
    queue->tail = c;
}

static struct queue *earliest(void) {
    if (!firsts.head || !others.head) return firsts.head ? &firsts : &others;
    return firsts.head->due_ns < others.head->due_ns ? &firsts : &others;
}

/* All of it or nothing more: the socket has room for a whole answer of a client that is late. */
static bool send_all(int fd, const char *text, size_t len) {
    return send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

/* More bytes of a request, and the kernel's stamp of the last of them. */
static bool receive(struct connection *c) {
    char control[128];
    struct iovec room = {.iov_base = c->in + c->len, .iov_len = MAX_REQUEST - 1 - c->len};
    struct msghdr message = {
        .msg_iov = &room, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(c->fd, &message, 0);
    if (got <= 0) return false;
    c->len += (size_t)got;
    c->in[c->len] = 0;
    c->arrived_real_ns = now_ns(CLOCK_REALTIME); /* unless the kernel has a stamp */
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h)) {
        struct timespec t;
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_TIMESTAMPNS) continue;
        memcpy(&t, CMSG_DATA(h), sizeof t);
        c->arrived_real_ns = (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
    }
    return true;
}

static size_t body_length(const char *head, const char *end) {
    for (const char *line = head; line && line < end; line = strstr(line, "\r\n")) {
        line += line != head ? 2 : 0;
        if (strncasecmp(line, "content-length:", 15) == 0) return strtoul(line + 15, NULL, 10);
        line += strcspn(line, "\r");
    }
    return 0;
}

/* The body of a request that has come as a whole; NULL: not yet. */
static const char *whole_request(const struct connection *c) {
    const char *end = strstr(c->in, "\r\n\r\n");
    return end && c->len >= (size_t)(end + 4 - c->in) + body_length(c->in, end) ? end + 4 : NULL;
}

static int tokens_asked(const char *body) {
    const char *key = strstr(body, "\"max_tokens\":");
    int tokens = key ? atoi(key + strlen("\"max_tokens\":")) : 16;
    return tokens < 1 ? 1 : tokens > MAX_TOKENS ? MAX_TOKENS : tokens;
}

static bool answer(int fd, const char *status, const char *body) {
    char text[1024];
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       status, strlen(body), body);
    return send_all(fd, text, (size_t)len);
}

static void write_truth(const struct connection *c) {
    int64_t end_ns = now_ns(CLOCK_MONOTONIC), ahead_ns = now_ns(CLOCK_REALTIME) - end_ns;
    fprintf(truth,
            "{\"path\":\"/v1/"
            "completions\",\"arrived_real_ns\":%ld,\"real_minus_mono_ns\":%ld,\"end_mono_ns\":%ld,\"written_"
            "mono_ns\":[",
            (long)c->arrived_real_ns, (long)ahead_ns, (long)end_ns);
    for (int i = 0; i < c->sent; i++) fprintf(truth, i ? ",%ld" : "%ld", (long)c->written_ns[i]);
    fputs("]}\n", truth);
}

/* A piece of a chunked body. */
static void frame(char *to, size_t room, const char *data) {
    snprintf(to, room, "%zx\r\n%s\r\n", strlen(data), data);
}

static void make_token(struct connection *c, const char *finish) {
    char data[400];
    snprintf(data, sizeof data,
             CHUNK "[{\"index\":0,\"text\":\" word\",\"logprobs\":null,\"finish_reason\":%s}]}\n\n",
             c->number, finish);
    frame(c->token, sizeof c->token, data);
    c->token_len = strlen(c->token);
}

static bool send_end(const struct connection *c) {
    char data[400], text[512];
    snprintf(data, sizeof data,
             CHUNK "[],\"usage\":{\"prompt_tokens\":16,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n"
                   "data: [DONE]\n\n",
             c->number, c->tokens, c->tokens + 16);
    frame(text, sizeof text - 8, data);
    strcat(text, "0\r\n\r\n");
    return send_all(c->fd, text, strlen(text));
}

static void forget(struct connection *c) {
    close(c->fd);
    free(c);
}

static void begin_stream(struct connection *c, int tokens) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    c->due_ns = now_ns(CLOCK_MONOTONIC) + ttft_ns;
    c->number = ++requests;
    c->sent = 0;
    c->tokens = tokens;
    make_token(c, "null");
    send_all(c->fd, head, sizeof head - 1);
    push(&firsts, c);
}

/* The token that is due, and the end of the answer with the last one. */
static void send_next(struct connection *c) {
    if (c->sent == c->tokens - 1) make_token(c, "\"length\"");
    c->written_ns[c->sent++] = now_ns(CLOCK_MONOTONIC);
    bool is_open = send_all(c->fd, c->token, c->token_len);
    bool is_last = c->sent == c->tokens;
    if (is_open && is_last) is_open = send_end(c);
    if (is_last || !is_open) write_truth(c);
    c->due_ns += itl_ns;
    if (is_open && !is_last) push(&others, c);
    if (is_last) c->tokens = 0;
    if (!is_open) forget(c);
}

static void send_due(void) {
    for (;;) {
        struct queue *queue = earliest();
        struct connection *c = queue->head;
        if (!c || c->due_ns > now_ns(CLOCK_MONOTONIC)) return;
        queue->head = c->next;
        send_next(c);
    }
}

static bool respond(struct connection *c, const char *body) {
    if (strncmp(c->in, "POST /v1/completions ", 21) == 0) {
        begin_stream(c, tokens_asked(body));
        return true;
    }
    if (strncmp(c->in, "GET /v1/models ", 15) == 0) return answer(c->fd, "200 OK", MODELS);
    if (strncmp(c->in, "GET /health ", 12) == 0) return answer(c->fd, "200 OK", "{}");
    return answer(c->fd, "404 Not Found", "{\"error\":{\"message\":\"not here\",\"code\":404}}");
}

static void read_from(struct connection *c) {
    bool is_open = receive(c);
    if (!is_open && c->tokens) { /* in a queue: send_next notices */
        epoll_ctl(loop, EPOLL_CTL_DEL, c->fd, NULL);
        return;
    }
    const char *body = is_open ? whole_request(c) : NULL;
    if (body) {
        is_open = respond(c, body);
        c->len = 0;
    }
    if (!is_open) forget(c);
}

static void start(int fd) {
    int on = 1;
    struct connection *c = calloc(1, sizeof *c);
    if (!c) exit(1);
    c->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

static void run(int listener) {
    struct epoll_event ready[256], event = {.events = EPOLLIN, .data.ptr = NULL};
    loop = epoll_create1(0);
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    while (!is_over) {
        struct connection *c = earliest()->head;
        int64_t left_ns = c ? c->due_ns - now_ns(CLOCK_MONOTONIC) : NS_PER_S;
        if (left_ns < 0) left_ns = 0;
        struct timespec wait = {.tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S};
        int n = epoll_pwait2(loop, ready, 256, &wait, NULL);
        for (int i = 0; i < n; i++)
            if (ready[i].data.ptr)
                read_from(ready[i].data.ptr);
            else
                start(accept(listener, NULL, NULL));
        send_due();
    }
}

static int listen_anywhere(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on); /* connections inherit it */
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0 || listen(fd, 4096) != 0) exit(1);
    getsockname(fd, (struct sockaddr *)&at, &len);
    printf("listening on http://127.0.0.1:%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static void end(int number) {
    (void)number;
    is_over = 1;
}

int main(int argc, char **argv) {
    if (argc != 4 || !(truth = fopen(argv[3], "w"))) return 2;
    ttft_ns = (int64_t)(atof(argv[1]) * NS_PER_MS);
    itl_ns = (int64_t)(atof(argv[2]) * NS_PER_MS);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1UL);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = end}, NULL);
    run(listen_anywhere());
    return fclose(truth) == 0 ? 0 : 1;
}
