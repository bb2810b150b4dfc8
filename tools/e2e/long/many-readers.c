// Reads one file of a folder in each of many threads: many-readers FOLDER COUNT. Prints "reading" when all threads have begun, and at the end how many reads worked and failed.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *folder;
static atomic_int begun, worked, failed;

static void *reader(void *argument) {
  char path[4096], byte;
  snprintf(path, sizeof path, "%s/%ld", folder, (long)argument);
  atomic_fetch_add(&begun, 1);
  int fd = open(path, O_RDONLY);
  if (fd >= 0 && read(fd, &byte, 1) == 1) atomic_fetch_add(&worked, 1);
  else atomic_fetch_add(&failed, 1);
  if (fd >= 0) close(fd);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  folder = argv[1];
  int count = atoi(argv[2]);
  pthread_t *threads = calloc(count, sizeof *threads);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 << 10);
  for (long i = 0; i < count; i++) {
    if (pthread_create(&threads[i], &attributes, reader, (void *)i) != 0) {
      perror("pthread_create");
      return 1;
    }
  }
  while (atomic_load(&begun) < count) usleep(1000);
  printf("reading\n");
  fflush(stdout);
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  printf("worked %d failed %d\n", worked, failed);
  return 0;
}
