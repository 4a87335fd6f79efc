/*
 * Raw-disk baseline: appends of one record to a pre-zeroed file through O_DSYNC, one at a time.
 * This is the least that any durable log can pay for one record on this disk.
 *
 *   disk file=PATH [seconds=2] [rate=0] [bytes=600]
 *
 * rate=0 writes back to back; rate=N starts N writes a second, as a lightly loaded server would.
 */
#include "common.h"

#define SEGMENT_BYTES (64u << 20)
#define RECORD_BYTES_MAX 65536

static int open_zeroed(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) fail(path);
  static char zeros[1 << 20];
  for (size_t at = 0; at < SEGMENT_BYTES; at += sizeof zeros) {
    if (pwrite(fd, zeros, sizeof zeros, (off_t)at) != sizeof zeros) fail("zeroing");
  }
  if (fsync(fd) != 0) fail("fsync");
  close(fd);
  fd = open(path, O_WRONLY | O_DSYNC);
  if (fd < 0) fail(path);
  return fd;
}

int main(int argc, char **argv) {
  const char *path = argument(argc, argv, "file", NULL);
  if (!path) return fprintf(stderr, "disk: file= is missing\n"), 2;
  double seconds = atof(argument(argc, argv, "seconds", "2"));
  double rate = atof(argument(argc, argv, "rate", "0"));
  size_t bytes = (size_t)atoi(argument(argc, argv, "bytes", "600"));
  if (bytes == 0 || bytes > RECORD_BYTES_MAX) return fprintf(stderr, "disk: bytes=1..65536\n"), 2;

  int fd = open_zeroed(path);
  static char record[RECORD_BYTES_MAX];
  memset(record, 'r', bytes);
  struct samples samples = {0};
  uint64_t start = now_nanos(), end = start + (uint64_t)(seconds * 1e9), due = start;
  off_t at = 0;
  for (uint64_t now = start; now < end; now = now_nanos()) {
    if (rate > 0) {
      due += (uint64_t)(1e9 / rate);
      struct timespec until = {(time_t)(due / 1000000000ull), (long)(due % 1000000000ull)};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    uint64_t before = now_nanos();
    if (pwrite(fd, record, bytes, at) != (ssize_t)bytes) fail("pwrite");
    samples_add(&samples, now_nanos() - before);
    at = at + 2 * (off_t)bytes > SEGMENT_BYTES ? 0 : at + (off_t)bytes;
  }
  double elapsed = (double)(now_nanos() - start) / 1e9;
  printf("{\"ops\":%zu,\"opsPerSecond\":%.0f,", samples.count, (double)samples.count / elapsed);
  samples_print("micros", &samples);
  printf("}\n");
  close(fd);
  unlink(path);
  return 0;
}
