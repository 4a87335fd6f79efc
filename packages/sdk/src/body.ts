/**
 * Request bodies as capture needs them, without changing what is sent: what is in memory already is
 * captured whole, what can be read twice is digested from a second reading, and a one-way stream is
 * digested while it is being sent.
 *
 * @module
 */
import { createHash, hash, type Hash } from 'node:crypto'

/** What is known of a body before it is sent. */
export type RequestBody =
  /** All of it. */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Only its digest and size. `parts`: of a form, whose wire form is made when it is sent. */
  | { readonly kind: 'digest'; readonly digest: BodyDigest; readonly parts: boolean }
  /** Nothing yet: send `stream` in its place, and ask `digest` when the exchange is over. */
  | { readonly kind: 'stream'; readonly stream: ReadableStream<Uint8Array>; digest(): BodyDigest }

export interface BodyDigest {
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
}

/** Larger blobs are digested piece by piece and not read as JSON. */
const blobBytesMax = 32 * 1024 * 1024

/** Reads a `fetch` body of any kind as far as that changes nothing. */
export async function readRequestBody(body: unknown): Promise<RequestBody> {
  if (body === null || body === undefined) return bytesBody(new Uint8Array(0))
  if (typeof body === 'string') return bytesBody(Buffer.from(body, 'utf8'))
  if (body instanceof URLSearchParams) return bytesBody(Buffer.from(body.toString(), 'utf8'))
  if (body instanceof ArrayBuffer) return bytesBody(new Uint8Array(body))
  if (ArrayBuffer.isView(body)) {
    return bytesBody(new Uint8Array(body.buffer, body.byteOffset, body.byteLength))
  }
  if (body instanceof Blob) return readBlob(body)
  if (body instanceof FormData) {
    return { kind: 'digest', digest: await digestForm(body), parts: true }
  }
  if (body instanceof ReadableStream) return digestWhileRead(body)
  if (isAsyncIterable(body)) return digestWhileRead(streamOf(body))
  // What is left `fetch` turns into text (`String(body)`), and so do we.
  return bytesBody(Buffer.from(String(body), 'utf8'))
}

function bytesBody(bytes: Uint8Array): RequestBody {
  return { kind: 'bytes', bytes }
}

async function readBlob(blob: Blob): Promise<RequestBody> {
  if (blob.size <= blobBytesMax) return bytesBody(new Uint8Array(await blob.arrayBuffer()))
  const digest = createHash('sha256')
  return { kind: 'digest', digest: await addBlob(digest, blob), parts: false }
}

async function addBlob(digest: Hash, blob: Blob): Promise<BodyDigest> {
  for await (const chunk of blob.stream()) digest.update(chunk)
  return { bytes: blob.size, sha256: digest.digest('hex') }
}

/**
 * Digest over the parts of a form: for each part the JSON array of its name, file name, type, size
 * and hex SHA-256, one line each. The boundary, which `fetch` invents, is not part of it.
 */
async function digestForm(form: FormData): Promise<BodyDigest> {
  const lines: string[] = []
  let bytes = 0
  for (const [name, value] of form) {
    const isFile = typeof value !== 'string'
    const part = isFile ? await addBlob(createHash('sha256'), value) : digestText(value)
    const file = isFile ? [value.name, value.type] : [null, null]
    lines.push(JSON.stringify([name, ...file, part.bytes, part.sha256]))
    bytes += part.bytes
  }
  return { bytes, sha256: hash('sha256', `${lines.join('\n')}\n`, 'hex') }
}

function digestText(text: string): BodyDigest {
  return { bytes: Buffer.byteLength(text), sha256: hash('sha256', text, 'hex') }
}

/** A stream of the same chunks, read only when it is read, counted and hashed on their way. */
function digestWhileRead(source: ReadableStream<unknown>): RequestBody {
  const reader = source.getReader()
  const running = createHash('sha256')
  let bytes = 0
  let done: BodyDigest | undefined
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { value, done: isDone } = await reader.read()
        if (isDone) return controller.close()
        // `fetch` refuses chunks that are not bytes; so the refusal stays with `fetch`.
        const chunk = value as Uint8Array
        if (value instanceof Uint8Array && done === undefined) {
          bytes += value.length
          running.update(value)
        }
        controller.enqueue(chunk)
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  return {
    kind: 'stream',
    stream,
    digest: () => (done ??= { bytes, sha256: running.digest('hex') }),
  }
}

/** A stream that reads `source` only when it is read. */
export function streamOf<Chunk>(source: AsyncIterable<Chunk>): ReadableStream<Chunk> {
  const iterator = source[Symbol.asyncIterator]()
  return new ReadableStream<Chunk>(
    {
      async pull(controller) {
        const { value, done } = await iterator.next()
        if (done === true) controller.close()
        else controller.enqueue(value)
      },
      async cancel() {
        await iterator.return?.()
      },
    },
    { highWaterMark: 0 },
  )
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}
