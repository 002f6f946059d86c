/* plain_send: requests on their way out, on plain http. Belongs to the transport's thread.
 */
#ifndef VLLMPERF_PLAIN_SEND_H
#define VLLMPERF_PLAIN_SEND_H

#include "engine/plain_connection.h"

/* The request of the slot goes out on a connection: a kept one unless it must be fresh. `url`: of a redirect,
 * the connection takes it over; else NULL. May end the transfer at once. */
void plain_send(struct plain *plain, struct slot *slot, char *url, bool fresh);

/* Its connection stands: its request begins. It has room again: the rest goes out. */
void plain_send_on(struct connection *connection);
void plain_send_rest(struct connection *connection);

/* No connection for this slot, by an errno: ends the transfer. */
void plain_connect_failed(struct slot *slot, int error);

#endif
