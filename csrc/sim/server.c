/* Owns the thread and the loop: timers first, then sockets, then sleep to the next timer.
 * Does not accept connections (listener.c), nor read or write them (conn.c). */
#include "sim/server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "engine/epoll_ns.h"
#include "sim/account.h"
#include "sim/answer.h"
#include "sim/api.h"
#include "sim/listener.h"
#include "sim/replica.h"

/* Bounds of what one turn does, so that under overload reading, writing and accepting all go on. */
enum { TIMERS_PER_TURN = 512, EVENTS_PER_TURN = 256 };
/* A timer that is due this soon is waited for awake: sleeping and waking would take longer than that. Sockets
 * are looked at at least this often meanwhile. */
#define AWAKE_NS (10 * 1000)
#define LOOK_NS  (50 * 1000)
/* Waking takes this long: a sleep that is long enough ends so much earlier, and the rest is spent awake. */
#define WAKE_NS       (80 * 1000)
#define LONG_SLEEP_NS (1 * NS_PER_MS)
#define CPU_CLOCK_NS  (100 * NS_PER_MS) /* how often the thread's CPU time is published */
struct server {
    struct sim sim;
    struct sim_config config;
    struct sim_counters counters;
    _Atomic bool ready;
    pthread_mutex_t lock; /* held while it is started or stopped */
    pthread_t thread;
    _Atomic bool running;
    _Atomic int port;
    int stop_fd;
    struct listener listener;
    int64_t cpu_published_ns, looked_ns; /* the latter: at the sockets */
    bool woke_early;
    bool no_pwait2; /* see epoll_ns.h */
};

void sim_config_free(struct sim_config *config) {
    free(config->host);
    free(config->model);
    free(config->version);
    free(config->truth_path);
    free(config->faults);
    *config = (struct sim_config){0};
}

struct server *server_new(struct sim_config *config) {
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        sim_config_free(config);
        return NULL;
    }
    pthread_mutex_init(&server->lock, NULL);
    server->config = *config;
    server->ready = true;
    server->listener.fd = server->stop_fd = server->sim.epoll_fd = -1;
    return server;
}

/* ---- the loop ---- */

static void run_timer(struct server *server, struct wheel_timer *timer) {
    struct conn *conn;
    switch ((enum timer_kind)timer->kind) {
    case TIMER_LISTEN:
        listener_on_timer(&server->listener);
        return;
    case TIMER_STEP:
        batch_on_timer((struct batching *)(void *)timer);
        return;
    case TIMER_ANSWER:
        conn = ((struct answer *)(void *)timer)->conn;
        answer_on_timer((struct answer *)(void *)timer);
        break;
    case TIMER_CONN:
    default:
        conn = (struct conn *)(void *)timer;
        conn_on_timer(conn);
        break;
    }
    conn_settle(conn);
}

static void server_run_timers(struct server *server) {
    struct sim *sim = &server->sim;
    struct wheel_timer *timer;
    for (int i = 0; i < TIMERS_PER_TURN && (timer = wheel_take(sim->wheel, clock_mono_ns())) != NULL; i++) {
        bool step = timer->kind == TIMER_STEP; /* it may be gone afterwards */
        run_timer(server, timer);
        if (step) break; /* it wrote much, and the next one should know who came meanwhile */
    }
    replicas_end_turn(sim);
}

static int64_t time_to_next(struct server *server, int64_t now) {
    int64_t next = wheel_next_ns(server->sim.wheel);
    if (next > now + NS_PER_S) return NS_PER_S;
    return next > now ? next - now : 0;
}

static void handle_event(struct server *server, const struct epoll_event *event) {
    if (event->data.ptr == &server->listener) {
        listener_accept(&server->listener);
        return;
    }
    struct conn *conn = event->data.ptr;
    if (event->events & EPOLLOUT) conn_on_writable(conn);
    if (event->events & ~(uint32_t)EPOLLOUT) conn_on_readable(conn);
    conn_settle(conn);
}

static void publish_cpu(struct server *server, int64_t now) {
    if (now - server->cpu_published_ns < CPU_CLOCK_NS) return;
    server->cpu_published_ns = now;
    counter_set(&server->counters.cpu_ns, clock_ns(CLOCK_THREAD_CPUTIME_ID));
}

/* One turn; false when the server was told to stop. */
static bool server_turn(struct server *server) {
    struct epoll_event events[EVENTS_PER_TURN];
    bool go_on = true;
    server_run_timers(server);
    int64_t now = clock_mono_ns(), wait_ns = time_to_next(server, now);
    bool stay_awake = wait_ns <= (server->woke_early ? 2 * WAKE_NS : AWAKE_NS);
    if (stay_awake && now - server->looked_ns < LOOK_NS) return true;
    publish_cpu(server, now);
    if (!stay_awake) server->woke_early = wait_ns > LONG_SLEEP_NS;
    int64_t sleep_ns = stay_awake ? 0 : wait_ns - server->woke_early * WAKE_NS;
    int n = epoll_wait_ns(server->sim.epoll_fd, events, EVENTS_PER_TURN, sleep_ns, &server->no_pwait2);
    server->looked_ns = clock_mono_ns();
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == &server->stop_fd)
            go_on = false;
        else
            handle_event(server, &events[i]);
    }
    return go_on;
}

static void *server_run(void *argument) {
    struct server *server = argument;
    prctl(PR_SET_NAME, "vllmperf-sim");
    prctl(PR_SET_TIMERSLACK, 1);
    while (server_turn(server)) {
    }
    while (server->sim.conns) {
        conn_abort(server->sim.conns, false, "server_stopped");
        conn_settle(server->sim.conns);
    }
    counter_set(&server->counters.cpu_ns, clock_ns(CLOCK_THREAD_CPUTIME_ID));
    return NULL;
}

/* ---- start and stop ---- */

static const struct conn_user answerer = {.request = api_handle,
                                          .bad_request = api_bad_request,
                                          .written = account_written,
                                          .unblocked = answer_unblocked,
                                          .ended = answer_end};

static int open_truth(struct server *server, char *error, size_t error_size) {
    const char *path = server->config.truth_path;
    if (*path == '\0') return 0;
    server->sim.truth = truth_open(path);
    if (server->sim.truth) return 0;
    int number = errno;
    snprintf(error, error_size, "cannot write the truth file %s: %s", path, strerror(number));
    return number;
}

static int open_engines(struct server *server, char *error, size_t error_size) {
    const struct sim_config *config = &server->config;
    int64_t cache = (int64_t)config->scheduler.num_gpu_blocks * config->scheduler.block_size;
    if (config->batching && config->max_model_len > cache) {
        snprintf(error, error_size, "the KV cache holds fewer tokens than max_model_len, %lld",
                 (long long)config->max_model_len);
        return EINVAL;
    }
    if (replicas_open(&server->sim, answer_on_token)) return 0;
    snprintf(error, error_size, "cannot start the simulated engine: %s", strerror(ENOMEM));
    return ENOMEM;
}

static int open_loop(struct server *server, char *error, size_t error_size) {
    struct sim *sim = &server->sim;
    sim->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    sim->wheel = wheel_new(clock_mono_ns());
    sim->input = malloc(SIM_INPUT_BYTES);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &server->stop_fd};
    if (sim->epoll_fd >= 0 && server->stop_fd >= 0 && sim->wheel && sim->input &&
        epoll_ctl(sim->epoll_fd, EPOLL_CTL_ADD, server->stop_fd, &event) == 0)
        return 0;
    int number = errno;
    snprintf(error, error_size, "cannot start the simulated server: %s", strerror(number));
    return number;
}

/* Signals are for the threads of the program around us. */
static int server_start_thread(struct server *server, char *error, size_t error_size) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&server->thread, NULL, server_run, server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number) snprintf(error, error_size, "cannot start a thread: %s", strerror(number));
    return number;
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static int server_close_all(struct server *server) {
    struct sim *sim = &server->sim;
    int error = 0;
    if (sim->truth && !truth_close(sim->truth)) error = errno;
    listener_close(&server->listener);
    close_fd(&server->stop_fd);
    close_fd(&sim->epoll_fd);
    replicas_close(sim);
    wheel_free(sim->wheel);
    free(sim->input);
    buf_free(&sim->event);
    buf_free(&sim->out);
    *sim = (struct sim){.epoll_fd = -1};
    server->port = 0;
    return error;
}

static void reset_counters(struct sim_counters *counters) {
#define X(name) counter_set(&counters->name, 0);
    SIM_COUNTERS(X)
#undef X
}

static int server_start_locked(struct server *server, char *error, size_t error_size) {
    if (server->running) {
        snprintf(error, error_size, "the simulated server is running already");
        return EALREADY;
    }
    server->sim = (struct sim){
        .config = &server->config, .counters = &server->counters, .ready = &server->ready, .epoll_fd = -1};
    reset_counters(&server->counters);
    int number = open_loop(server, error, error_size);
    if (number == 0) number = open_engines(server, error, error_size);
    if (number == 0) number = listener_open(&server->listener, &server->sim, &answerer, error, error_size);
    if (number == 0) number = open_truth(server, error, error_size);
    if (number == 0) {
        server->port = listener_port(&server->listener);
        listener_start(&server->listener);
        number = server_start_thread(server, error, error_size);
    }
    if (number) server_close_all(server);
    server->running = number == 0;
    return number;
}

int server_start(struct server *server, char *error, size_t error_size) {
    pthread_mutex_lock(&server->lock);
    int number = server_start_locked(server, error, error_size);
    pthread_mutex_unlock(&server->lock);
    return number;
}

static int server_stop_locked(struct server *server) {
    if (!server->running) return 0;
    uint64_t one = 1;
    if (write(server->stop_fd, &one, sizeof one) != sizeof one) return errno;
    pthread_join(server->thread, NULL);
    server->running = false;
    return server_close_all(server);
}

int server_stop(struct server *server) {
    pthread_mutex_lock(&server->lock);
    int number = server_stop_locked(server);
    pthread_mutex_unlock(&server->lock);
    return number;
}

bool server_is_running(const struct server *server) {
    return server->running;
}

void server_free(struct server *server) {
    if (server == NULL) return;
    server_stop(server);
    sim_config_free(&server->config);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

void server_forget(struct server *server) {
    listener_forget(&server->listener);
    sim_config_free(&server->config);
    free(server);
}

void server_set_ready(struct server *server, bool ready) {
    server->ready = ready;
}

int server_port(const struct server *server) {
    return server->port;
}
const struct sim_counters *server_counters(const struct server *server) {
    return &server->counters;
}
