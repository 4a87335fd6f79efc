/*
 * The bench's load generator: POSTs one body over keep-alive connections and measures what comes
 * back. One thread, epoll. Prints one line of JSON.
 *
 *   load port=N body=FILE [path=/v1/messages] [headers=FILE] [connections=32] [rate=0]
 *        [seconds=3] [warmup=1] [pids=1,2] [drain=10]
 *
 * rate=0 is a closed loop: each connection sends its next request when the last one is answered.
 * rate=N is an open loop: requests are due at fixed times whatever the server does, and latency
 * counts from the due time, so that a stall is charged to every request that it delayed
 * (no coordinated omission). Connections then open on demand, up to `connections`.
 *
 * `################` in the body becomes a number that differs in every request.
 * Processor time is what the kernel counted for all threads of `pids` between warm-up and end.
 */
#include "common.h"
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#define CONNECTIONS_MAX 65536
#define NUMBER_DIGITS 16
#define TAIL_BYTES 64
#define STAMP_MARK "\"t="
#define STAMP_DIGITS 20

struct connection {
  int fd;
  bool busy, connecting, counted;
  struct message response;
  uint64_t due, sent_bytes, number;
  bool first_byte_seen;
  /* The end of the body, to see whether a stream was complete. */
  char tail[TAIL_BYTES];
  size_t tail_bytes;
  /* How much of a stamp has been seen, and its digits so far. */
  int stamp_state;
  uint64_t stamp;
};

static struct {
  int port;
  const char *path;
  int connections;
  double rate, seconds, warmup, drain;
  int pids[64], pid_count;
} options;

static int epoll_fd, timer_fd;
static struct connection *by_fd[CONNECTIONS_MAX];
static struct connection **idle;
static int idle_count, open_count;
/* The request, split around the number that makes each one different. */
static char *before, *after;
static size_t before_bytes, after_bytes;
static bool streaming;
static uint64_t *backlog;
static size_t backlog_first, backlog_count, backlog_room;
static uint64_t window_start, window_end, request_number, read_at;
static struct samples latencies, first_bytes, chunks;
static uint64_t completed, bad_status, cut_off, incomplete, body_byte_count, outstanding;

/* ---- processor time ---- */

static uint64_t process_cpu_nanos(int pid) {
  char path[320];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *tasks = opendir(path);
  if (!tasks) return 0;
  uint64_t sum = 0;
  for (struct dirent *task; (task = readdir(tasks));) {
    if (task->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, task->d_name);
    FILE *file = fopen(path, "r");
    uint64_t nanos = 0;
    if (file && fscanf(file, "%" SCNu64, &nanos) == 1) sum += nanos;
    if (file) fclose(file);
  }
  closedir(tasks);
  return sum;
}

static uint64_t cpu_nanos(void) {
  uint64_t sum = 0;
  for (int i = 0; i < options.pid_count; i++) sum += process_cpu_nanos(options.pids[i]);
  return sum;
}

/* ---- one exchange ---- */

static void exchange_done(struct connection *c, bool whole);
static void start_exchange(struct connection *c, uint64_t due);

static void scan_stamps(struct connection *c, const char *bytes, size_t count) {
  const int mark = (int)sizeof STAMP_MARK - 1;
  for (size_t i = 0; i < count; i++) {
    char byte = bytes[i];
    if (c->stamp_state < mark) {
      c->stamp_state = byte == STAMP_MARK[c->stamp_state] ? c->stamp_state + 1 : byte == '"';
      c->stamp = 0;
    } else {
      c->stamp = c->stamp * 10 + (uint64_t)(byte - '0');
      if (++c->stamp_state < mark + STAMP_DIGITS) continue;
      if (c->counted && read_at > c->stamp) samples_add(&chunks, read_at - c->stamp);
      c->stamp_state = 0;
    }
  }
}

static void take_body(void *context, const char *bytes, size_t count) {
  struct connection *c = context;
  if (!c->first_byte_seen) {
    c->first_byte_seen = true;
    if (c->counted) samples_add(&first_bytes, read_at - c->due);
  }
  if (!streaming) return;
  scan_stamps(c, bytes, count);
  size_t take = count < TAIL_BYTES ? count : TAIL_BYTES;
  size_t keep = c->tail_bytes + take > TAIL_BYTES ? TAIL_BYTES - take : c->tail_bytes;
  memmove(c->tail, c->tail + c->tail_bytes - keep, keep);
  memcpy(c->tail + keep, bytes + count - take, take);
  c->tail_bytes = keep + take;
}

static void close_connection(struct connection *c) {
  bool was_busy = c->busy;
  for (int i = 0; i < idle_count; i++) {
    if (idle[i] == c) idle[i--] = idle[--idle_count];
  }
  by_fd[c->fd] = NULL;
  close(c->fd);
  open_count--;
  if (was_busy) {
    outstanding--;
    if (c->counted) cut_off++;
  }
  free(c);
}

static struct connection *open_connection(void);

/* The server has closed or refused the connection. A closed loop goes on with another one. */
static void lose_connection(struct connection *c) {
  bool again = c->busy && options.rate <= 0 && now_nanos() < window_end;
  close_connection(c);
  if (again) start_exchange(open_connection(), now_nanos());
}

static struct connection *open_connection(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || fd >= CONNECTIONS_MAX) fail("socket");
  set_no_delay(fd);
  struct sockaddr_in address = loopback(options.port);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) {
    fail("connect");
  }
  struct connection *c = calloc(1, sizeof *c);
  if (!c) fail("out of memory");
  c->fd = fd;
  c->connecting = true;
  by_fd[fd] = c;
  open_count++;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  return c;
}

static void send_more(struct connection *c) {
  char number[NUMBER_DIGITS + 1];
  snprintf(number, sizeof number, "%0*" PRIu64, NUMBER_DIGITS, c->number);
  struct iovec parts[3] = {{before, before_bytes}, {number, NUMBER_DIGITS}, {after, after_bytes}};
  if (after_bytes == 0) parts[1].iov_len = 0;
  uint64_t total = before_bytes + parts[1].iov_len + after_bytes, skip = c->sent_bytes;
  for (int i = 0; i < 3; i++) {
    size_t cut = skip < parts[i].iov_len ? (size_t)skip : parts[i].iov_len;
    parts[i].iov_base = (char *)parts[i].iov_base + cut;
    parts[i].iov_len -= cut;
    skip -= cut;
  }
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
  ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return lose_connection(c);
  if (sent > 0) c->sent_bytes += (uint64_t)sent;
  struct epoll_event event = {.events = EPOLLIN | (c->sent_bytes < total ? EPOLLOUT : 0),
                              .data.fd = c->fd};
  if (c->sent_bytes < total || event.events != EPOLLIN || c->connecting) {
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
  }
}

static void start_exchange(struct connection *c, uint64_t due) {
  c->busy = true;
  c->due = due;
  c->counted = due >= window_start && due < window_end;
  c->number = ++request_number;
  c->sent_bytes = 0;
  c->first_byte_seen = false;
  c->tail_bytes = 0;
  c->stamp_state = 0;
  message_reset(&c->response, true);
  outstanding++;
  if (!c->connecting) send_more(c);
}

static void exchange_done(struct connection *c, bool whole) {
  c->busy = false;
  outstanding--;
  bool ended = !streaming || memmem(c->tail, c->tail_bytes, "message_stop", 12) != NULL;
  if (c->response.status != 200) bad_status += c->counted;
  else if (!whole || !ended) incomplete += c->counted;
  // A closed loop counts what ended in the window; an open loop what was due in it.
  bool in_window = options.rate > 0 ? c->counted : read_at >= window_start && read_at < window_end;
  if (in_window) {
    completed++;
    body_byte_count += c->response.body_bytes;
  }
  if (c->counted) samples_add(&latencies, read_at - c->due);
  if (!whole || c->response.closes) {
    close_connection(c);
    c = NULL;
  }
  if (read_at >= window_end) return;
  if (options.rate <= 0) {
    start_exchange(c ? c : open_connection(), now_nanos());
  } else if (backlog_count > 0) {
    uint64_t due = backlog[backlog_first];
    backlog_first = (backlog_first + 1) % backlog_room;
    backlog_count--;
    start_exchange(c ? c : open_connection(), due);
  } else if (c) {
    idle[idle_count++] = c;
  }
}

static void on_readable(struct connection *c) {
  static char buffer[1 << 18];
  ssize_t count = recv(c->fd, buffer, sizeof buffer, 0);
  read_at = now_nanos();
  if (count < 0 && errno == EAGAIN) return;
  if (count <= 0) {
    bool until_close = c->busy && c->response.state == IN_UNTIL_CLOSE && count == 0;
    if (until_close) {
      c->response.closes = true;
      return exchange_done(c, true);
    }
    return lose_connection(c);
  }
  message_feed(&c->response, buffer, (size_t)count, take_body, c);
  if (!c->busy || c->response.state == MALFORMED) return close_connection(c);
  if (c->response.state == COMPLETE) exchange_done(c, true);
}

static void on_writable(struct connection *c) {
  bool first = c->connecting;
  if (first) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = c->fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    c->connecting = false;
  }
  if (c->busy) send_more(c);
}

/* ---- the open loop ---- */

static void push_backlog(uint64_t due) {
  if (backlog_count == backlog_room) {
    size_t room = backlog_room ? backlog_room * 2 : 1024;
    uint64_t *grown = malloc(room * sizeof *grown);
    if (!grown) fail("out of memory");
    for (size_t i = 0; i < backlog_count; i++) {
      grown[i] = backlog[(backlog_first + i) % backlog_room];
    }
    free(backlog);
    backlog = grown;
    backlog_first = 0;
    backlog_room = room;
  }
  backlog[(backlog_first + backlog_count++) % backlog_room] = due;
}

/* Starts what is due; returns when the next request is due. */
static uint64_t start_due(uint64_t due) {
  uint64_t step = (uint64_t)(1e9 / options.rate);
  for (uint64_t now = now_nanos(); due <= now && due < window_end; due += step) {
    if (idle_count > 0) start_exchange(idle[--idle_count], due);
    else if (open_count < options.connections) start_exchange(open_connection(), due);
    else push_backlog(due);
  }
  return due;
}

static void set_timer(uint64_t at) {
  struct itimerspec when = {
      .it_value = {(time_t)(at / 1000000000ull), (long)(at % 1000000000ull)}};
  timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void poll_once(int timeout_ms) {
  struct epoll_event events[256];
  int count = epoll_wait(epoll_fd, events, 256, timeout_ms);
  for (int i = 0; i < count; i++) {
    int fd = events[i].data.fd;
    if (fd == timer_fd) {
      uint64_t expirations;
      if (read(timer_fd, &expirations, sizeof expirations) < 0) continue;
      continue;
    }
    if (by_fd[fd] && events[i].events & EPOLLOUT) on_writable(by_fd[fd]);
    if (by_fd[fd] && events[i].events & ~(unsigned)EPOLLOUT) on_readable(by_fd[fd]);
  }
}

/* ---- set-up ---- */

static char *read_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(path);
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  char *content = calloc(1, *bytes + 1);
  if (!content || fread(content, 1, *bytes, file) != *bytes) fail(path);
  fclose(file);
  return content;
}

static void build_request(const char *body_file, const char *header_file) {
  size_t body_bytes, header_bytes = 0;
  char *body = read_file(body_file, &body_bytes);
  char *headers = header_file ? read_file(header_file, &header_bytes) : "";
  streaming = strstr(body, "\"stream\":true") != NULL;
  char *mark = strstr(body, "################");
  size_t first = mark ? (size_t)(mark - body) : body_bytes;
  before = malloc(first + header_bytes + 1024);
  int head = sprintf(before,
                     "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n"
                     "content-type: application/json\r\ncontent-length: %zu\r\n%s\r\n",
                     options.path, options.port, body_bytes, headers);
  memcpy(before + head, body, first);
  before_bytes = (size_t)head + first;
  after = mark ? mark + NUMBER_DIGITS : body + body_bytes;
  after_bytes = body_bytes - first - (mark ? NUMBER_DIGITS : 0);
}

static void read_options(int argc, char **argv) {
  options.port = atoi(argument(argc, argv, "port", "0"));
  options.path = argument(argc, argv, "path", "/v1/messages");
  options.connections = atoi(argument(argc, argv, "connections", "32"));
  options.rate = atof(argument(argc, argv, "rate", "0"));
  options.seconds = atof(argument(argc, argv, "seconds", "3"));
  options.warmup = atof(argument(argc, argv, "warmup", "1"));
  options.drain = atof(argument(argc, argv, "drain", "10"));
  for (const char *pid = argument(argc, argv, "pids", ""); *pid && options.pid_count < 64;) {
    options.pids[options.pid_count++] = atoi(pid);
    pid = strchr(pid, ',') ? strchr(pid, ',') + 1 : "";
  }
  build_request(argument(argc, argv, "body", ""), argument(argc, argv, "headers", NULL));
  idle = calloc(CONNECTIONS_MAX, sizeof(struct connection *));
}

/* What was due and has no answer yet counts as having taken until now: it took longer. */
static uint64_t count_unfinished(void) {
  uint64_t unfinished = 0, now = now_nanos();
  for (int fd = 0; fd < CONNECTIONS_MAX; fd++) {
    struct connection *c = by_fd[fd];
    if (!c || !c->busy || !c->counted) continue;
    samples_add(&latencies, now - c->due);
    unfinished++;
  }
  for (size_t i = 0; i < backlog_count; i++) {
    uint64_t due = backlog[(backlog_first + i) % backlog_room];
    if (due < window_start) continue;
    samples_add(&latencies, now - due);
    unfinished++;
  }
  return unfinished;
}

static void print_result(double cpu_micros, double elapsed, uint64_t unfinished) {
  printf("{\"requests\":%" PRIu64 ",\"seconds\":%.3f,\"cpuMicros\":%.1f,"
         "\"errors\":{\"status\":%" PRIu64 ",\"cutOff\":%" PRIu64 ",\"incomplete\":%" PRIu64
         ",\"unfinished\":%" PRIu64 "},\"bodyBytes\":%" PRIu64 ",\"openConnections\":%d,",
         completed, elapsed, cpu_micros, bad_status, cut_off, incomplete, unfinished,
         body_byte_count, open_count);
  samples_print("latency", &latencies);
  printf(",");
  samples_print("firstByte", &first_bytes);
  printf(",");
  samples_print("chunk", &chunks);
  printf("}\n");
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = timer_fd};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event);

  uint64_t start = now_nanos(), due = start;
  window_start = start + (uint64_t)(options.warmup * 1e9);
  window_end = window_start + (uint64_t)(options.seconds * 1e9);
  if (options.rate <= 0) {
    for (int i = 0; i < options.connections; i++) start_exchange(open_connection(), start);
  }
  uint64_t cpu_start = 0, cpu_end = 0, cpu_start_at = 0, cpu_end_at = 0;
  uint64_t give_up = window_end + (uint64_t)(options.drain * 1e9);
  while (cpu_end_at == 0 || (outstanding > 0 && now_nanos() < give_up)) {
    if (options.rate > 0 && due < window_end) due = start_due(due);
    uint64_t now = now_nanos();
    if (cpu_start_at == 0 && now >= window_start) {
      cpu_start = cpu_nanos();
      cpu_start_at = now;
    }
    if (now >= window_end && cpu_end_at == 0) {
      cpu_end = cpu_nanos();
      cpu_end_at = now;
    }
    uint64_t next = cpu_start_at == 0 ? window_start : now < window_end ? window_end : give_up;
    if (options.rate > 0 && due < next) next = due;
    set_timer(next);
    poll_once(cpu_end_at ? 50 : -1);
  }
  print_result((double)(cpu_end - cpu_start) / 1e3, (double)(cpu_end_at - cpu_start_at) / 1e9,
               count_unfinished());
  return 0;
}
