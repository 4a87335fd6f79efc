/*
 * The bench's stand-in for Claude: POST /v1/messages answers 1 KB of JSON, or an SSE stream when
 * the request has `"stream":true` in its first kilobyte. One thread, epoll.
 *
 *   upstream PORT            prints `ready PORT`; PORT 0 takes a free one
 *   GET /control?deltas=N&interval_us=N      shape of the streams that start from now on
 *   GET /stats                               what was received, as JSON
 *
 * Every delta carries the CLOCK_MONOTONIC nanosecond at which it was written (`"t=<20 digits>`),
 * so that the load generator can tell how long each chunk was under way.
 */
#include "common.h"
#include <sys/epoll.h>
#include <sys/timerfd.h>

#define CONNECTIONS_MAX 65536
#define PREFIX_BYTES 1024
#define OUT_BYTES_MAX (1u << 20)

struct connection {
  int fd;
  struct message request;
  char prefix[PREFIX_BYTES + 1];
  size_t prefix_bytes;
  char *out;
  size_t out_bytes, out_room;
  int deltas_left;
  bool queued, corked;
  uint64_t due;
  struct connection *previous, *next;
};

static int epoll_fd, timer_fd;
static struct connection *connections[CONNECTIONS_MAX];
/* Open streams in order of their next delta: all have one interval, so it is a plain queue. */
static struct connection *first_due, *last_due;
static int deltas = 20;
static uint64_t interval_nanos;
static uint64_t request_count, stream_count, body_byte_count;
static char json_body[1025];

static void queue_remove(struct connection *c) {
  if (c->previous) c->previous->next = c->next;
  else if (first_due == c) first_due = c->next;
  if (c->next) c->next->previous = c->previous;
  else if (last_due == c) last_due = c->previous;
  c->previous = c->next = NULL;
  c->queued = false;
}

static void queue_append(struct connection *c) {
  c->previous = last_due;
  c->next = NULL;
  if (last_due) last_due->next = c;
  else first_due = c;
  last_due = c;
  c->queued = true;
}

static void drop(struct connection *c) {
  if (c->queued) queue_remove(c);
  connections[c->fd] = NULL;
  close(c->fd);
  free(c->out);
  free(c);
}

static void watch(struct connection *c, bool writable) {
  struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.fd = c->fd};
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

/* Sends now what the socket takes and keeps the rest; false when the connection is gone. */
static bool send_bytes(struct connection *c, const char *bytes, size_t count) {
  size_t sent = 0;
  if (c->out_bytes == 0 && !c->corked) {
    ssize_t n = send(c->fd, bytes, count, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return false;
    sent = n > 0 ? (size_t)n : 0;
    if (sent == count) return true;
    watch(c, true);
  }
  size_t rest = count - sent;
  if (c->out_bytes + rest > OUT_BYTES_MAX) return false;
  if (c->out_bytes + rest > c->out_room) {
    c->out_room = (c->out_bytes + rest) * 2;
    c->out = realloc(c->out, c->out_room);
    if (!c->out) fail("out of memory");
  }
  memcpy(c->out + c->out_bytes, bytes + sent, rest);
  c->out_bytes += rest;
  return true;
}

/* Sends what a burst collected, as one write: a burst reaches a proxy in few reads. */
static bool uncork(struct connection *c) {
  c->corked = false;
  ssize_t sent = send(c->fd, c->out, c->out_bytes, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return false;
  if (sent < 0) sent = 0;
  c->out_bytes -= (size_t)sent;
  memmove(c->out, c->out + sent, c->out_bytes);
  if (c->out_bytes > 0) watch(c, true);
  return true;
}

/* Sends one SSE event as one HTTP chunk. */
static bool send_event(struct connection *c, const char *name, const char *data) {
  char event[1024], chunk[1100];
  int length = snprintf(event, sizeof event, "event: %s\ndata: %s\n\n", name, data);
  int total = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", (unsigned)length, event);
  return send_bytes(c, chunk, (size_t)total);
}

static bool send_delta(struct connection *c) {
  char data[256];
  snprintf(data, sizeof data,
           "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\","
           "\"text\":\"t=%020" PRIu64 " what it says \"}}",
           now_nanos());
  c->deltas_left--;
  return send_event(c, "content_block_delta", data);
}

static bool end_stream(struct connection *c) {
  return send_event(c, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}") &&
         send_event(c, "message_delta",
                    "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
                    "\"stop_sequence\":null},\"usage\":{\"output_tokens\":57}}") &&
         send_event(c, "message_stop", "{\"type\":\"message_stop\"}") &&
         send_bytes(c, "0\r\n\r\n", 5);
}

static bool begin_stream(struct connection *c) {
  char head[512];
  int length = snprintf(head, sizeof head,
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                        "cache-control: no-cache\r\nrequest-id: req_%024" PRIu64 "\r\n"
                        "transfer-encoding: chunked\r\n\r\n",
                        ++stream_count);
  c->corked = interval_nanos == 0;
  bool alive =
      send_bytes(c, head, (size_t)length) &&
      send_event(c, "message_start",
                 "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_01AbCdEfGhIjKlMnOpQrStUv\","
                 "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\","
                 "\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,"
                 "\"usage\":{\"input_tokens\":211,\"cache_creation_input_tokens\":0,"
                 "\"cache_read_input_tokens\":0,\"output_tokens\":1}}}") &&
      send_event(c, "content_block_start",
                 "{\"type\":\"content_block_start\",\"index\":0,"
                 "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}") &&
      send_event(c, "ping", "{\"type\":\"ping\"}");
  c->deltas_left = deltas;
  if (interval_nanos) {
    c->due = now_nanos() + interval_nanos;
    queue_append(c);
    return alive;
  }
  while (alive && c->deltas_left > 0) alive = send_delta(c);
  return alive && end_stream(c) && uncork(c);
}

static bool send_json(struct connection *c, const char *body, size_t bytes) {
  char answer[2048];
  int length = snprintf(answer, sizeof answer,
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                        "request-id: req_%024" PRIu64 "\r\n"
                        "anthropic-organization-id: 3f0c6a2e-0b52-4a2b-9a51-7f6f7c0f5c11\r\n"
                        "content-length: %zu\r\n\r\n%s",
                        request_count, bytes, body);
  return send_bytes(c, answer, (size_t)length);
}

static uint64_t query_number(const char *query, const char *key, uint64_t otherwise) {
  const char *found = strstr(query, key);
  return found ? strtoull(found + strlen(key), NULL, 10) : otherwise;
}

static bool answer(struct connection *c) {
  char *head = c->request.head;
  if (strncmp(head, "GET /control?", 13) == 0) {
    deltas = (int)query_number(head, "deltas=", (uint64_t)deltas);
    interval_nanos = query_number(head, "interval_us=", interval_nanos / 1000) * 1000;
    return send_json(c, "{}", 2);
  }
  if (strncmp(head, "GET /stats", 10) == 0) {
    char body[256];
    int length = snprintf(body, sizeof body,
                          "{\"requests\":%" PRIu64 ",\"streams\":%" PRIu64 ",\"bodyBytes\":%" PRIu64
                          "}",
                          request_count, stream_count, body_byte_count);
    return send_json(c, body, (size_t)length);
  }
  request_count++;
  body_byte_count += c->request.body_bytes;
  if (strstr(c->prefix, "\"stream\":true")) return begin_stream(c);
  return send_json(c, json_body, sizeof json_body - 1);
}

static void keep_prefix(void *context, const char *bytes, size_t count) {
  struct connection *c = context;
  size_t room = PREFIX_BYTES - c->prefix_bytes, take = count < room ? count : room;
  memcpy(c->prefix + c->prefix_bytes, bytes, take);
  c->prefix_bytes += take;
  c->prefix[c->prefix_bytes] = 0;
}

static void on_readable(struct connection *c) {
  static char buffer[1 << 18];
  ssize_t count = recv(c->fd, buffer, sizeof buffer, 0);
  if (count < 0 && errno == EAGAIN) return;
  if (count <= 0) return drop(c);
  for (size_t at = 0; at < (size_t)count;) {
    at += message_feed(&c->request, buffer + at, (size_t)count - at, keep_prefix, c);
    if (c->request.state == MALFORMED) return drop(c);
    if (c->request.state != COMPLETE) continue;
    if (!answer(c)) return drop(c);
    message_reset(&c->request, false);
    c->prefix_bytes = 0;
    c->prefix[0] = 0;
  }
}

static void on_writable(struct connection *c) {
  ssize_t sent = send(c->fd, c->out, c->out_bytes, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno != EAGAIN) drop(c);
    return;
  }
  c->out_bytes -= (size_t)sent;
  memmove(c->out, c->out + sent, c->out_bytes);
  if (c->out_bytes == 0) watch(c, false);
}

/* Writes each delta that is due and sets the timer for the next one. */
static void advance_streams(void) {
  uint64_t now = now_nanos();
  while (first_due && first_due->due <= now) {
    struct connection *c = first_due;
    queue_remove(c);
    bool alive = send_delta(c);
    if (alive && c->deltas_left > 0) {
      c->due += interval_nanos;
      queue_append(c);
    } else if (!alive || !end_stream(c)) {
      drop(c);
    }
    now = now_nanos();
  }
  struct itimerspec when = {0};
  if (first_due) {
    when.it_value.tv_sec = (time_t)(first_due->due / 1000000000ull);
    when.it_value.tv_nsec = (long)(first_due->due % 1000000000ull);
  }
  timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void accept_all(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    struct connection *c = fd < CONNECTIONS_MAX ? calloc(1, sizeof *c) : NULL;
    if (!c) {
      close(fd);
      continue;
    }
    c->fd = fd;
    message_reset(&c->request, false);
    connections[fd] = c;
    set_no_delay(fd);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  }
}

static void build_json(void) {
  const char *head = "{\"id\":\"msg_01AbCdEfGhIjKlMnOpQrStUv\",\"type\":\"message\","
                     "\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":["
                     "{\"type\":\"text\",\"text\":\"";
  const char *tail = "\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{"
                     "\"input_tokens\":211,\"cache_creation_input_tokens\":0,"
                     "\"cache_read_input_tokens\":0,\"output_tokens\":57}}";
  const char *words = "The ledger keeps every record in order and signs what it holds. ";
  size_t fill = sizeof json_body - 1 - strlen(head) - strlen(tail);
  strcpy(json_body, head);
  for (size_t i = 0; i < fill; i++) json_body[strlen(head) + i] = words[i % strlen(words)];
  strcpy(json_body + strlen(head) + fill, tail);
}

int main(int argc, char **argv) {
  build_json();
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = loopback(argc > 1 ? atoi(argv[1]) : 0);
  socklen_t size = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, size) != 0) fail("bind");
  if (listen(listener, 4096) != 0) fail("listen");
  getsockname(listener, (struct sockaddr *)&address, &size);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
  event.data.fd = timer_fd;
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event);
  printf("ready %d\n", ntohs(address.sin_port));
  fflush(stdout);

  struct epoll_event events[256];
  for (;;) {
    int count = epoll_wait(epoll_fd, events, 256, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        accept_all(listener);
      } else if (fd == timer_fd) {
        uint64_t expirations;
        if (read(timer_fd, &expirations, sizeof expirations) < 0) continue;
      } else {
        if (connections[fd] && events[i].events & EPOLLOUT) on_writable(connections[fd]);
        if (connections[fd] && events[i].events & ~(unsigned)EPOLLOUT) on_readable(connections[fd]);
      }
    }
    advance_streams();
  }
}
