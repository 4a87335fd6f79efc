/*
 * What the native bench tools share: time, an incremental HTTP/1.1 message parser for both
 * directions, and sockets. One thread, no allocation per message.
 */
#ifndef AFFIDAVIT_BENCH_COMMON_H
#define AFFIDAVIT_BENCH_COMMON_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A message whose head is longer is treated as malformed. */
#define HEAD_BYTES_MAX 8192

static inline uint64_t now_nanos(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static inline void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

enum message_state {
  IN_HEAD,
  IN_LENGTH,
  IN_CHUNK_SIZE,
  IN_CHUNK,
  IN_CHUNK_END,
  IN_TRAILER,
  IN_UNTIL_CLOSE,
  COMPLETE,
  MALFORMED
};

/* One HTTP message as it arrives. Requests have no body unless they announce one. */
struct message {
  enum message_state state;
  bool is_response, chunked, closes;
  int status;
  uint64_t remaining, body_bytes;
  size_t head_bytes, line_bytes;
  char head[HEAD_BYTES_MAX + 1];
};

typedef void (*body_sink)(void *context, const char *bytes, size_t count);

static inline void message_reset(struct message *m, bool is_response) {
  m->state = IN_HEAD;
  m->is_response = is_response;
  m->chunked = m->closes = false;
  m->status = 0;
  m->remaining = m->body_bytes = 0;
  m->head_bytes = m->line_bytes = 0;
}

/* The value of a header in the head, or NULL. `name` in lower case with its colon. */
static inline const char *message_header(const struct message *m, const char *name) {
  size_t length = strlen(name);
  for (const char *line = strstr(m->head, "\r\n"); line; line = strstr(line, "\r\n")) {
    line += 2;
    if (strncasecmp(line, name, length) == 0) {
      line += length;
      while (*line == ' ') line++;
      return line;
    }
  }
  return NULL;
}

static inline void message_begin_body(struct message *m) {
  const char *value = message_header(m, "transfer-encoding:");
  m->chunked = value && strncasecmp(value, "chunked", 7) == 0;
  value = message_header(m, "connection:");
  m->closes = value && strncasecmp(value, "close", 5) == 0;
  if (m->is_response) m->status = atoi(m->head + 9);
  value = message_header(m, "content-length:");
  if (m->chunked) {
    m->state = IN_CHUNK_SIZE;
  } else if (value) {
    m->remaining = strtoull(value, NULL, 10);
    m->state = m->remaining ? IN_LENGTH : COMPLETE;
  } else {
    bool bodiless = !m->is_response || m->status == 204 || m->status == 304;
    m->state = bodiless ? COMPLETE : IN_UNTIL_CLOSE;
  }
}

/* Appends to the head until its blank line; returns how many bytes it took. */
static inline size_t message_take_head(struct message *m, const char *bytes, size_t count) {
  size_t room = HEAD_BYTES_MAX - m->head_bytes, take = count < room ? count : room;
  memcpy(m->head + m->head_bytes, bytes, take);
  size_t from = m->head_bytes > 3 ? m->head_bytes - 3 : 0;
  m->head_bytes += take;
  m->head[m->head_bytes] = 0;
  char *end = memmem(m->head + from, m->head_bytes - from, "\r\n\r\n", 4);
  if (!end) {
    if (m->head_bytes == HEAD_BYTES_MAX) m->state = MALFORMED;
    return take;
  }
  size_t excess = m->head_bytes - (size_t)(end + 4 - m->head);
  end[2] = 0;
  message_begin_body(m);
  return take - excess;
}

/* One byte of a chunk-size or trailer line. */
static inline void message_take_line_byte(struct message *m, char byte) {
  if (byte == '\r') return;
  if (byte != '\n') {
    int digit = byte >= '0' && byte <= '9'   ? byte - '0'
                : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
                : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                             : -1;
    if (m->state == IN_CHUNK_SIZE && digit >= 0) m->remaining = m->remaining * 16 + (uint64_t)digit;
    m->line_bytes++;
    return;
  }
  if (m->state == IN_CHUNK_END) m->state = IN_CHUNK_SIZE;
  else if (m->state == IN_CHUNK_SIZE) m->state = m->remaining ? IN_CHUNK : IN_TRAILER;
  else if (m->line_bytes == 0) m->state = COMPLETE;
  m->line_bytes = 0;
}

/* Feeds bytes; returns how many were used. Stops at COMPLETE, so the rest is the next message. */
static inline size_t message_feed(struct message *m, const char *bytes, size_t count,
                                  body_sink sink, void *context) {
  size_t at = 0;
  while (at < count && m->state != COMPLETE && m->state != MALFORMED) {
    if (m->state == IN_HEAD) {
      at += message_take_head(m, bytes + at, count - at);
    } else if (m->state == IN_LENGTH || m->state == IN_CHUNK || m->state == IN_UNTIL_CLOSE) {
      size_t take = count - at;
      if (m->state != IN_UNTIL_CLOSE && take > m->remaining) take = m->remaining;
      if (sink) sink(context, bytes + at, take);
      m->body_bytes += take;
      at += take;
      if (m->state == IN_UNTIL_CLOSE) continue;
      m->remaining -= take;
      if (m->remaining == 0) m->state = m->state == IN_CHUNK ? IN_CHUNK_END : COMPLETE;
    } else {
      message_take_line_byte(m, bytes[at++]);
    }
  }
  return at;
}

static inline struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static inline void set_no_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static inline int compare_u32(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

/* Durations in units of 10 ns, all kept: percentiles are exact. */
struct samples {
  uint32_t *values;
  size_t count, room;
};

static inline void samples_add(struct samples *s, uint64_t nanos) {
  if (s->count == s->room) {
    s->room = s->room ? s->room * 2 : 1 << 16;
    s->values = realloc(s->values, s->room * sizeof *s->values);
    if (!s->values) fail("out of memory for samples");
  }
  uint64_t value = nanos / 10;
  s->values[s->count++] = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static inline double samples_at(const struct samples *s, double quantile) {
  if (s->count == 0) return 0;
  size_t index = (size_t)(quantile * (double)s->count);
  return s->values[index < s->count ? index : s->count - 1] / 100.0;
}

/* Prints `"name":{"count":…,"p50":…}` with microseconds. Sorts the samples. */
static inline void samples_print(const char *name, struct samples *s) {
  if (s->count) qsort(s->values, s->count, sizeof *s->values, compare_u32);
  printf("\"%s\":{\"count\":%zu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",
         name, s->count, samples_at(s, .5), samples_at(s, .9), samples_at(s, .99),
         samples_at(s, .999), samples_at(s, 1));
}

/* The value of a `key=value` argument, or `otherwise`. */
static inline const char *argument(int argc, char **argv, const char *key, const char *otherwise) {
  size_t length = strlen(key);
  for (int i = 1; i < argc; i++) {
    if (strncmp(argv[i], key, length) == 0 && argv[i][length] == '=') return argv[i] + length + 1;
  }
  return otherwise;
}

#endif
