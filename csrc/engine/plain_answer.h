/* plain_answer: what the bytes of a connection mean for its request. Belongs to the transport's thread.
 */
#ifndef VLLMPERF_PLAIN_ANSWER_H
#define VLLMPERF_PLAIN_ANSWER_H

#include "engine/plain_connection.h"

/* The piece is the next of its connection, which is open. May end or repeat the transfer. */
void plain_take_piece(const struct piece *piece);

#endif
