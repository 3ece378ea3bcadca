/* A load client: CONNECTIONS keep-open GETs of PATH on 127.0.0.1:PORT, drained by epoll for SECONDS.
   `drain PORT CONNECTIONS WARMUP SECONDS PATH [HEADER...]` prints a line when all are connected, one when WARMUP seconds
   later counting begins, and at the end the clients still open, their bytes and events (blank lines). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc < 6) return 2;
  int port = atoi(argv[1]), wanted = atoi(argv[2]), open_count = 0;
  double warmup = atof(argv[3]), seconds = atof(argv[4]);
  struct rlimit limit = {65536, 65536};
  setrlimit(RLIMIT_NOFILE, &limit);
  char ask[8192];
  int n = snprintf(ask, sizeof ask, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n", argv[5], port);
  for (int i = 6; i < argc; i++) n += snprintf(ask + n, sizeof ask - n, "%s\r\n", argv[i]);
  n += snprintf(ask + n, sizeof ask - n, "\r\n");
  int poll = epoll_create1(0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  char *last = calloc(70000, 1);
  for (int i = 0; i < wanted; i++) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) || write(fd, ask, n) != n) break;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
    open_count++;
  }
  printf("connected %d\n", open_count);
  fflush(stdout);
  long bytes = 0, events = 0;
  static char buffer[1 << 16];
  struct epoll_event ready[512];
  double begin = now() + warmup;
  int counting = 0;
  for (double end = begin + seconds; now() < end;) {
    if (!counting && now() >= begin) {
      counting = 1, bytes = events = 0;
      printf("counting\n");
      fflush(stdout);
    }
    int hits = epoll_wait(poll, ready, 512, 50);
    for (int i = 0; i < hits; i++) {
      int fd = ready[i].data.fd;
      ssize_t got = recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) {
        if (got == 0 || errno != EAGAIN) epoll_ctl(poll, EPOLL_CTL_DEL, fd, NULL), close(fd), open_count--;
        continue;
      }
      bytes += got;
      for (ssize_t k = 0; k < got; k++) {
        if (buffer[k] == '\r') continue;
        int ends = buffer[k] == '\n' && last[fd] == '\n';
        events += ends;
        last[fd] = ends ? 0 : buffer[k]; /* the end of an HTTP chunk, which follows, is no second blank line */
      }
    }
  }
  printf("open %d bytes %ld events %ld\n", open_count, bytes, events);
  return 0;
}
