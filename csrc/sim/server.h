/* server: one simulated server: its thread, its listening socket, its event loop. Any thread may call; start
 * and stop wait for each other, and server_free must be the last call of all.
 */
#ifndef VLLMPERF_SIM_SERVER_H
#define VLLMPERF_SIM_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "sim/sim.h"

struct server; /* opaque */

/* Takes the configuration (memory and all) even when it fails, which is when out of memory: NULL. */
struct server *server_new(struct sim_config *config);

/* Listens and starts the thread. 0, or an errno with one line about it in error. */
int server_start(struct server *server, char *error, size_t error_size);

/* Ends all connections and the thread. 0, or the errno of what the truth file could not take. */
int server_stop(struct server *server);
bool server_is_running(const struct server *server);
void server_free(struct server *server); /* stops it first */

/* In a child process after fork(): the thread is not there, so only memory is given back. */
void server_forget(struct server *server);

/* Any thread, at any time. A new server is ready; one that is not answers 503 to all requests. */
void server_set_ready(struct server *server, bool ready);

int server_port(const struct server *server); /* 0 when it is not running */
const struct sim_counters *server_counters(const struct server *server);

void sim_config_free(struct sim_config *config);

#endif
