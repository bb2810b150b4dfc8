// access ACTION ROOT LIST|FILE [N]: times file accesses below ROOT and prints one JSON object.
//   stat ROOT LIST THREADS     lstat of every name in LIST: microseconds an operation
//   read ROOT LIST THREADS     open, read to the end, close: microseconds an operation
//   sequential ROOT FILE       read from start to end in 128 KiB pieces: megabytes a second
//   random ROOT FILE COUNT     COUNT reads of 4 KiB at places that are the same in every run: microseconds an operation
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char **names;
static size_t count;
static int root;
static size_t next;
static int reading;

static void die(const char *what) {
  fprintf(stderr, "access: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void load(const char *list) {
  FILE *file = fopen(list, "r");
  if (!file) die(list);
  size_t room = 0;
  char *line = NULL;
  size_t size = 0;
  ssize_t length;
  while ((length = getline(&line, &size, file)) > 0) {
    line[length - 1] = 0;
    if (count == room) names = realloc(names, (room = room ? room * 2 : 4096) * sizeof *names);
    names[count++] = strdup(line);
  }
  fclose(file);
}

static void *work(void *unused) {
  static __thread char buffer[1 << 17];
  size_t i;
  while ((i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < count) {
    if (!reading) {
      struct stat s;
      if (fstatat(root, names[i], &s, AT_SYMLINK_NOFOLLOW)) die(names[i]);
      continue;
    }
    int fd = openat(root, names[i], O_RDONLY | O_NOFOLLOW);
    if (fd < 0) die(names[i]);
    ssize_t n;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) {
    }
    if (n < 0) die(names[i]);
    close(fd);
  }
  return unused;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: access stat|read|sequential|random ROOT LIST|FILE [N]\n");
    return 2;
  }
  root = open(argv[2], O_RDONLY | O_DIRECTORY);
  if (root < 0) die(argv[2]);
  int n = argc > 4 ? atoi(argv[4]) : 1;
  if (!strcmp(argv[1], "stat") || !strcmp(argv[1], "read")) {
    reading = argv[1][0] == 'r';
    load(argv[3]);
    pthread_t threads[64];
    if (n < 1 || n > 64) n = 1;
    double begin = now();
    for (int i = 0; i < n; i++) pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
    printf("{\"operations\":%zu,\"microseconds\":%.3f}\n", count, (now() - begin) * 1e6 / count);
    return 0;
  }
  int fd = openat(root, argv[3], O_RDONLY);
  if (fd < 0) die(argv[3]);
  struct stat s;
  if (fstat(fd, &s)) die(argv[3]);
  static char buffer[1 << 17];
  if (!strcmp(argv[1], "sequential")) {
    double begin = now();
    int64_t total = 0;
    ssize_t got;
    while ((got = read(fd, buffer, sizeof buffer)) > 0) total += got;
    if (got < 0) die(argv[3]);
    printf("{\"bytes\":%lld,\"megabytesPerSecond\":%.1f}\n", (long long)total, total / 1e6 / (now() - begin));
    return 0;
  }
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  uint64_t state = 88172645463325252ull;
  double begin = now();
  for (int i = 0; i < n; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    if (pread(fd, buffer, 4096, (off_t)(state % (uint64_t)(s.st_size / 4096)) * 4096) < 0) die(argv[3]);
  }
  printf("{\"operations\":%d,\"microseconds\":%.3f}\n", n, (now() - begin) * 1e6 / n);
  return 0;
}
