/**
 * Every way in which the simulator can answer, by name. A mode is chosen per request: by the header
 * `x-simulate-mode`, by words in the last user text, by the control endpoint, or by the default.
 *
 * @module
 */

const catalogue = {
  ok: 'a plain answer; a tool call if the request forces one',
  thinking: 'thinking with a signature, then the answer',
  redacted_thinking: 'a redacted thinking block, then the answer',
  tool_use: 'asks for one tool: Bash `echo` if offered, else the first tool',
  parallel_tools: 'text and two tool calls in one turn',
  spawn_agent: 'asks for the Agent tool; the final answer follows its result',
  server_tools: 'a web search that runs at the provider, with cited results',
  citations: 'text with citations of a document',
  multi_model: 'a fallback hop: two models answer, usage has iterations',
  refusal: 'stop_reason refusal with stop_details',
  max_tokens: 'the answer is cut by max_tokens',
  stop_sequence: 'the answer ends at a stop sequence',
  pause_turn: 'stop_reason pause_turn',
  context_exceeded: 'stop_reason model_context_window_exceeded',
  partial_tool_json: 'a tool call whose JSON is cut by max_tokens',
  empty_content: 'a complete message without content blocks',
  multibyte: 'text of two-, three- and four-byte characters',
  huge: 'an answer of 10 MB, or of x-simulate-bytes',
  unknown_fields: 'event types, block types and fields that nobody knows yet',
  pings: 'a ping before and after every event',
  cumulative: 'several message_delta events with growing usage',

  error_400: 'invalid_request_error',
  error_401: 'authentication_error',
  error_402: 'billing_error',
  error_403: 'permission_error',
  error_404: 'not_found_error',
  error_409: 'conflict_error',
  error_413: 'request_too_large',
  error_422: 'invalid_request_error',
  error_429: 'rate_limit_error with retry-after',
  error_500: 'api_error',
  error_503: 'api_error, retryable',
  error_504: 'timeout_error',
  error_529: 'overloaded_error',
  refuse_451: 'a refusal by policy: 451 and x-should-retry false',
  refuse_503: 'a refusal by a gateway: 503 and x-should-retry false',
  error_html: '502 with an HTML body, as a load balancer sends it',

  mid_error: 'an overloaded_error event in the middle of a stream',
  mid_permission: 'a permission_error event in the middle of a stream',
  early_error: 'an error event as the first event of a stream',
  crlf: 'stream lines that end in CR LF',
  cr: 'stream lines that end in CR',
  bom: 'a stream that begins with a byte order mark',
  multi_data: 'events whose JSON spans several data lines',
  no_event_names: 'events without event lines, and comment lines between them',
  garbage: 'a valid stream with bytes between its events that are no valid event',
  garbage_only: 'bytes that are no stream at all',
  no_stop: 'a stream that ends cleanly after message_delta',

  cut: 'a stream reset by the peer half-way; JSON requests are answered well',
  cut_any: 'like cut, and JSON answers are reset half-way too',
  end_early: 'a stream that ends cleanly half-way; JSON requests are answered well',
  reset: 'the connection is reset before any answer',
  truncated: 'a body that lacks its second half: the peer closes, without a reset',
  slow_first_byte: 'the answer begins late',
  slow_drip: 'every event comes late',
  never_end: 'message_stop was sent, but the stream stays open; JSON requests are answered well',
  hang: 'no answer at all, until the caller gives up',
  empty_body: 'status 200 and no body',
  no_content: 'status 204',
  gzip: 'the body is gzip-coded, whatever was asked for',
  duplicate_headers: 'header names that repeat, in several spellings',
  informational: 'responses 102 and 103 before the answer',
  close_delimited: 'a body that ends where the connection ends',
  trailers: 'a chunked body with a trailer',
  redirect: 'status 307 with a location',
  early_413: 'refused and closed before the request body is read',
} as const satisfies Record<string, string>

/** Name of a mode. */
export type Mode = keyof typeof catalogue

/** Every mode, in the order of the catalogue. */
export const modes: readonly Mode[] = Object.keys(catalogue).filter(isMode)

/** What `mode` does, in one line. */
export function summaryOf(mode: Mode): string {
  return catalogue[mode]
}

/** Reads the name of a mode; a bare status such as `429` means `error_429`. */
export function parseMode(text: string): Mode | undefined {
  const name = text.trim().toLowerCase().replaceAll('-', '_')
  const full = /^[45]\d\d$/.test(name) ? `error_${name}` : name
  return isMode(full) ? full : undefined
}

function isMode(name: string): name is Mode {
  return Object.hasOwn(catalogue, name)
}

/** A mode with the settings that a caller may give along with it. */
export interface ModeSetting {
  readonly mode: Mode
  /** Bytes of each piece of the body; `frame` is an event at a time, `whole` is one piece. */
  readonly chunkBytes?: Chunking
  /** Size of a `huge` answer. */
  readonly bodyBytes?: number
}

/** How a body is cut into pieces. */
export type Chunking = number | 'frame' | 'whole'

const triggers: readonly (readonly [RegExp, Mode])[] = [
  [/\bUSE_TOOL\b/, 'tool_use'],
  [/\bSPAWN_AGENT\b/, 'spawn_agent'],
]

/** The mode that words in `text` ask for: `USE_TOOL`, `SPAWN_AGENT` or `SIMULATE:<mode>`. */
export function triggeredMode(text: string): Mode | undefined {
  const named = /\bSIMULATE:([A-Za-z0-9_-]+)/.exec(text)?.[1]
  if (named !== undefined) return parseMode(named)
  return triggers.find(([pattern]) => pattern.test(text))?.[1]
}
