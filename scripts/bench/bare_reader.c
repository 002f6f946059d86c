/* The floor for scripts/bench/accuracy and engine: an epoll loop that sends requests, reads and stamps each
 * read. It does not parse: it counts events by their first bytes, and knows the end of an answer by the last
 * chunk. Not a part of vllmperf. bare_reader PORT closed STREAMS REQUESTS TOKENS REQUEST_FILE STAMPS_FILE
 *   bare_reader PORT open REQUESTS_PER_S REQUESTS TOKENS REQUEST_FILE STAMPS_FILE
 * STAMPS_FILE: for each request 1 + TOKENS int64 of CLOCK_MONOTONIC ns: sent, then each event (0: did not
 * come). Prints how many events shared their read with another one. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 65536 };
#define NS_PER_S INT64_C(1000000000)

struct load {
    bool is_open;
    int port, streams, requests, tokens;
    int64_t gap_ns, start_ns;
    char body[65536];
    size_t body_len;
};

/* Of the request on each descriptor: where its next stamp goes, and how many are still to come. */
static struct {
    int64_t *next;
    int left;
} request[MAX_FDS];
static int64_t *table, idle_since_ns[MAX_FDS];
static int idle[MAX_FDS], n_idle, sent, done, loop;
static long shared;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int dial(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || fd >= MAX_FDS || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) exit(1);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
    return fd;
}

static void send_on(int fd, const struct load *load) {
    request[fd].next = table + (size_t)sent++ * (size_t)(1 + load->tokens);
    request[fd].left = load->tokens;
    *request[fd].next++ = now_ns();
    if (write(fd, load->body, load->body_len) != (ssize_t)load->body_len) exit(1);
}

/* The last one used, unless the server may be about to close it: it keeps an idle connection for 5 s. */
static void send_next(const struct load *load) {
    bool is_fresh = n_idle > 0 && now_ns() - idle_since_ns[idle[n_idle - 1]] < 4 * NS_PER_S;
    send_on(is_fresh ? idle[--n_idle] : dial(load->port), load);
}

static void put_away(int fd) {
    idle_since_ns[fd] = now_ns();
    idle[n_idle++] = fd;
}

/* The server has closed an idle connection. */
static void forget(int fd) {
    for (int i = 0; i < n_idle; i++) {
        if (idle[i] != fd) continue;
        idle[i] = idle[--n_idle];
        close(fd);
        return;
    }
    exit(1);
}

static void read_from(int fd, const struct load *load) {
    static char buffer[65536];
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    int64_t at_ns = now_ns();
    if (got <= 0) {
        forget(fd);
        return;
    }
    long events = 0;
    char *end = buffer + got;
    for (char *at = buffer; (at = memmem(at, (size_t)(end - at), "\"text\":", 7)); at += 7, events++)
        if (request[fd].left-- > 0) *request[fd].next++ = at_ns;
    if (events > 1) shared += events;
    if (!memmem(buffer, (size_t)got, "\r\n0\r\n\r\n", 7)) return;
    done++;
    put_away(fd);
    if (!load->is_open && sent < load->requests) send_next(load);
}

static struct timespec until_next(const struct load *load) {
    if (!load->is_open || sent == load->requests) return (struct timespec){.tv_sec = 5};
    int64_t left_ns = load->start_ns + sent * load->gap_ns - now_ns();
    if (left_ns < 0) left_ns = 0;
    return (struct timespec){.tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S};
}

static void run(struct load *load) {
    struct epoll_event ready[256];
    if (!load->is_open)
        for (int i = 0; i < load->streams; i++) put_away(dial(load->port));
    load->start_ns = now_ns();
    while (!load->is_open && sent < load->streams && sent < load->requests) send_next(load);
    while (done < load->requests) {
        struct timespec wait = until_next(load);
        int n = epoll_pwait2(loop, ready, 256, &wait, NULL);
        for (int i = 0; i < n; i++) read_from(ready[i].data.fd, load);
        while (load->is_open && sent < load->requests && now_ns() >= load->start_ns + sent * load->gap_ns)
            send_next(load);
    }
}

static size_t read_file(const char *path, char *to, size_t size) {
    FILE *file = fopen(path, "r");
    if (!file) exit(1);
    size_t len = fread(to, 1, size, file);
    fclose(file);
    return len;
}

int main(int argc, char **argv) {
    static struct load load;
    if (argc != 8) return 2;
    load.is_open = strcmp(argv[2], "open") == 0;
    load.port = atoi(argv[1]);
    load.streams = atoi(argv[3]);
    load.gap_ns = (int64_t)(1e9 / atof(argv[3]));
    load.requests = atoi(argv[4]);
    load.tokens = atoi(argv[5]);
    load.body_len = read_file(argv[6], load.body, sizeof load.body);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1UL);
    size_t cells = (size_t)load.requests * (size_t)(1 + load.tokens);
    table = calloc(cells, sizeof *table);
    loop = epoll_create1(0);
    run(&load);
    FILE *file = fopen(argv[7], "w");
    if (!file || fwrite(table, sizeof *table, cells, file) != cells || fclose(file) != 0) return 1;
    printf("%ld\n", shared);
    return 0;
}
