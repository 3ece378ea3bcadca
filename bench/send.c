/* The floor of a push: one send() of 500 bytes a client, 10 times a second. `send CLIENTS SECONDS` prints its port, waits for
   CLIENTS connections, then prints sends and CPU microseconds. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static long used(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000L + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  int clients = atoi(argv[1]), frames = atoi(argv[2]) * 10;
  struct rlimit limit = {65536, 65536};
  setrlimit(RLIMIT_NOFILE, &limit);
  int listener = socket(AF_INET, SOCK_STREAM, 0), *fds = calloc(clients, sizeof *fds);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 4096)) return 1;
  getsockname(listener, (struct sockaddr *)&at, &size);
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  char frame[500];
  for (int i = 0; i < clients; i++) {
    fds[i] = accept(listener, NULL, NULL);
    if (recv(fds[i], frame, sizeof frame, 0) < 0) return 1;
  }
  memset(frame, 'x', sizeof frame);
  memcpy(frame + sizeof frame - 2, "\n\n", 2);
  long sends = 0, before = used();
  for (int f = 0; f < frames; f++) {
    for (int i = 0; i < clients; i++) sends += send(fds[i], frame, sizeof frame, MSG_NOSIGNAL) > 0;
    usleep(100000);
  }
  printf("%ld %ld\n", sends, used() - before);
  return 0;
}
