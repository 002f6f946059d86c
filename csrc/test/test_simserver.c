/* Owns a test of the whole simulated server from C: its thread, its memory, its counters, under the
 * sanitizers. Does not look at what it answers in detail: tests/sim does. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/refuse.h"
#include "test/run.h"

static bool batching;    /* which mode the servers have */
static int replicas = 1; /* how many engines; with several, prefix_aware chooses */
/* A client waits so long for more: as long as a busy machine may take, but where no answer is asked for. */
static struct timeval patience = {20, 0};

static struct scheduler_config small_engine(void) {
    return (struct scheduler_config){.max_num_seqs = 3,
                                     .max_num_batched_tokens = 16,
                                     .chunked_prefill = true,
                                     .prefix_caching = true,
                                     .block_size = 4,
                                     .num_gpu_blocks = 250,
                                     .model = {.alpha_ms = 0.2, .beta_ms = 0.01}};
}

static struct server *start(const char *fault) {
    char error[200];
    struct sim_config config = server_settings("1", "lognormal:0.2:0.1");
    free(config.truth_path);
    config.truth_path = strdup("/dev/null");
    config.eos_mean = 30;
    config.keep_alive_ns = NS_PER_S;
    config.head_ns = batching ? 0 : 300000;
    config.batching = batching;
    config.scheduler = small_engine();
    config.router = (struct router_config){.kind = ROUTER_prefix_aware, .n_replicas = replicas};
    config.metrics_form = replicas > 1 ? METRICS_FORM_RAY : METRICS_FORM_VLLM;
    config.limits.body_bytes = 4096;
    config.faults = calloc(1, sizeof(struct fault));
    if (fault) config.n_faults = fault_parse(config.faults, fault, strlen(fault), error, sizeof error);
    return start_server(config);
}

static int connect_to_port(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

static int connect_to(const struct server *server) {
    return connect_to_port(server_port(server));
}

/* Send a request and read until the end, an error or, with `until`, that text. Returns what came. */
static const char *ask(int fd, const char *head, const char *body, const char *until) {
    static char came[200000];
    size_t len = 0;
    char request[2000];
    int n = snprintf(request, sizeof request,
                     "%s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", head,
                     strlen(body), body);
    came[0] = '\0';
    if (send(fd, request, (size_t)n, MSG_NOSIGNAL) != n) return came;
    while (len < sizeof came - 1) {
        ssize_t more = recv(fd, came + len, sizeof came - 1 - len, 0);
        if (more <= 0) break;
        len += (size_t)more;
        came[len] = '\0';
        if (until && strstr(came, until)) break;
    }
    return came;
}

static const char completions[] = "POST /v1/completions HTTP/1.1";
static const char chat[] = "POST /v1/chat/completions HTTP/1.1";
static const char stream[] =
    "{\"prompt\":[1,2],\"stream\":true,\"max_tokens\":20,\"n\":2,\"logprobs\":1,\"echo\":true}";
static const char end[] = "\r\n0\r\n\r\n";

static void test_requests(void) {
    struct server *server = start(NULL);
    int fd = connect_to(server);
    CHECK("a stream ends", strstr(ask(fd, completions, stream, end), "[DONE]"));
    CHECK("a chat ends",
          strstr(ask(fd, chat, "{\"messages\":[{\"content\":\"a\"}],\"stream\":true}", end), "[DONE]"));
    CHECK("a body is whole",
          strstr(ask(fd, completions, "{\"prompt\":\"a\"}", "\"metrics\":null}"), "usage"));
    CHECK("a bad body is refused", strstr(ask(fd, completions, "{", "}}"), "400"));
    const char *metric = replicas > 1 ? "ReplicaId" : "vllm:";
    CHECK("metrics are given", strstr(ask(fd, "GET /metrics HTTP/1.1", "", metric), metric));
    CHECK("caches are reset", strstr(ask(fd, "POST /reset_prefix_cache HTTP/1.1", "", "\r\n\r\n"), "200 OK"));
    const struct sim_counters *counters = server_counters(server);
    CHECK("requests are counted", counters->requests == 4 && counters->finished == 3);
    ask(fd, completions, "{\"prompt\":\"a\",\"stream\":true,\"max_tokens\":900,\"ignore_eos\":true}", "data");
    close(fd); /* in the middle of an answer */
    fd = connect_to(server);
    ask(fd, completions, "{\"prompt\":\"a\",\"stream\":true,\"max_tokens\":900,\"ignore_eos\":true}", "data");
    server_free(server); /* in the middle of another */
    close(fd);
}

static void test_faults(void) {
    struct timeval long_enough = patience;
    patience = (struct timeval){0, 100 * 1000};
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        struct server *server = start(fault_table[kind].name);
        for (int i = 0; i < 2; i++) {
            int fd = connect_to(server);
            if (fd < 0) continue;
            ask(fd, i ? chat : completions,
                i ? "{\"messages\":[{\"content\":\"a\"}],\"stream\":true}" : stream, end);
            close(fd);
        }
        CHECK("a fault does no harm to the server", server_stop(server) == 0);
        server_free(server);
    }
    patience = long_enough;
}

/* ---- a child that holds the server's sockets, as one does between fork() and exec() ---- */

struct holder {
    pid_t pid;
    int let_go_fd;
};

/* The child holds all that is open here but `not_this`. */
static struct holder fork_holder(int not_this) {
    int pipes[2];
    char nothing;
    CHECK("there is a pipe", pipe(pipes) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(not_this);
        close(pipes[1]);
        _exit(read(pipes[0], &nothing, 1) == 0 ? 0 : 1);
    }
    CHECK("there is a child", pid > 0);
    close(pipes[0]);
    return (struct holder){pid, pipes[1]};
}

static void end_holder(struct holder holder) {
    close(holder.let_go_fd);
    waitpid(holder.pid, NULL, 0);
}

static void test_held_connection(void) {
    struct server *server = start(NULL);
    const struct sim_counters *counters = server_counters(server);
    int fd = connect_to(server);
    ask(fd, completions, "{\"prompt\":\"a\",\"stream\":true,\"max_tokens\":900,\"ignore_eos\":true}", "data");
    struct holder holder = fork_holder(fd);
    close(fd);
    while (counters->client_gone == 0) usleep(1000);
    fd = connect_to(server);
    CHECK("the loop has forgotten a connection that a child still holds",
          strstr(ask(fd, completions, stream, end), "[DONE]"));
    close(fd);
    end_holder(holder);
    server_free(server);
}

static void test_held_listener(void) {
    struct server *server = start("refuse:ms=20@at=2");
    int port = server_port(server);
    struct holder holder = fork_holder(-1);
    int first = connect_to_port(port);
    ask(first, "GET /health HTTP/1.1", "", "200");
    CHECK("a connection is refused though a child holds the socket", connect_to_port(port) < 0);
    int second;
    while ((second = connect_to_port(port)) < 0) usleep(1000);
    CHECK("it listens again", strstr(ask(second, "GET /health HTTP/1.1", "", "200"), "200"));
    close(first);
    close(second);
    end_holder(holder);
    holder = fork_holder(-1);
    server_stop(server);
    CHECK("nothing listens when it has stopped", connect_to_port(port) < 0);
    end_holder(holder);
    server_free(server);
}

static void test_start_and_stop(void) {
    char error[200] = "";
    struct server *server = start(NULL);
    CHECK("it does not start twice", server_start(server, error, sizeof error) == EALREADY && error[0]);
    CHECK("it stops", server_stop(server) == 0 && !server_is_running(server) && server_port(server) == 0);
    CHECK("it starts again", server_start(server, error, sizeof error) == 0 && server_port(server) > 0);
    server_free(server);
}

static void test_too_small_a_cache(void) {
    char error[200] = "";
    struct sim_config config = server_settings("1", "1");
    config.max_model_len = 1001;
    config.batching = true;
    config.scheduler = small_engine();
    struct server *server = server_new(&config);
    CHECK("an engine that could get stuck does not start",
          server_start(server, error, sizeof error) == EINVAL && strstr(error, "1001"));
    server_free(server);
}

/* Last, since nothing takes it back. */
static void test_old_seccomp_profile(void) {
    CHECK("seccomp refuses epoll_pwait2 from here on", refuse_epoll_pwait2());
    alarm(20);
    test_start_and_stop();
    test_requests();
    alarm(0);
}

int main(void) {
    for (int mode = 0; mode < 2; mode++) {
        batching = mode == 1;
        test_start_and_stop();
        test_requests();
        test_faults();
        test_held_connection();
        test_held_listener();
    }
    replicas = 3;
    test_requests();
    replicas = 1;
    test_too_small_a_cache();
    test_old_seccomp_profile();
    return t_done("simserver");
}
