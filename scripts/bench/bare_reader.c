/* The floor for scripts/bench/engine: opens N connections, sends one request on each, and reads with epoll and recv.
 * It neither parses nor stamps; it counts events by their blank lines. Not a part of vllmperf.
 *   bare_reader PORT STREAMS TOKENS REQUEST_BYTES_FILE  ->  prints "events cpu_seconds" */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static double cpu_s(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static int dial(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) exit(1);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int streams = atoi(argv[2]), open_streams = streams;
    long events = 0;
    static char request[65536], buffer[16384];
    FILE *file = fopen(argv[4], "r");
    if (!file) return 1;
    size_t len = fread(request, 1, sizeof request, file);
    fclose(file);
    int loop = epoll_create1(0);
    for (int i = 0; i < streams; i++) {
        int fd = dial(atoi(argv[1]));
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
        if (write(fd, request, len) != (ssize_t)len) return 1;
    }
    double before = cpu_s();
    struct epoll_event ready[256];
    while (open_streams > 0) {
        int n = epoll_wait(loop, ready, 256, 5000);
        if (n <= 0) break;
        for (int i = 0; i < n; i++) {
            ssize_t got = recv(ready[i].data.fd, buffer, sizeof buffer, 0);
            if (got <= 0) {
                close(ready[i].data.fd);
                open_streams--;
                continue;
            }
            for (char *at = buffer, *end = buffer + got; (at = memmem(at, (size_t)(end - at), "data: {", 7)); at += 7) events++;
            if (memmem(buffer, (size_t)got, "\r\n0\r\n\r\n", 7)) {
                close(ready[i].data.fd);
                open_streams--;
            }
        }
    }
    printf("%ld %f\n", events, cpu_s() - before);
    return 0;
}
