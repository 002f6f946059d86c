/* receive_stamp: when the kernel took in what waits on a socket. Any thread may call.
 */
#ifndef VLLMPERF_RECEIVE_STAMP_H
#define VLLMPERF_RECEIVE_STAMP_H

#include <stdbool.h>
#include <stdint.h>

enum { RECEIVE_STAMP_BYTES = 256 * 1024 }; /* of the buffer `peeked`; what is in it means nothing */

/* CLOCK_REALTIME of the newest byte that waits on this TCP socket (with SO_TIMESTAMPNS), RECORD_NONE when
 * nothing waits or the kernel does not say. was_reset turns true when the peer has reset the connection. */
int64_t receive_stamp_ns(int fd, char *peeked, bool *was_reset);

#endif
