/* Owns the peek that brings the stamp before libcurl reads. Does not read the bytes themselves. */
#include "engine/receive_stamp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/clock.h"
#include "stats/record.h"

/* MSG_TRUNC makes TCP count the bytes without copying them, so the peek costs one call whatever waits. */
int64_t receive_stamp_ns(int fd, char *peeked, bool *was_reset) {
    char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec piece = {peeked, RECEIVE_STAMP_BYTES};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t waiting = recvmsg(fd, &message, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (waiting <= 0) {
        *was_reset |= waiting < 0 && errno == ECONNRESET; /* told once: libcurl will only see an end */
        return RECORD_NONE;
    }
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SO_TIMESTAMPNS) return RECORD_NONE;
    struct timespec stamp;
    memcpy(&stamp, CMSG_DATA(head), sizeof stamp);
    return (int64_t)stamp.tv_sec * NS_PER_S + stamp.tv_nsec;
}
