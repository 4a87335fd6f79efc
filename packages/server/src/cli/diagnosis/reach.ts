/**
 * Whether an upstream can be reached: a TCP connection, and TLS with a valid certificate where the
 * address says https. Nothing is sent: a request would need a key and might be charged.
 *
 * @module
 */
import { connect as connectTcp, isIP } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { type Diagnosis, fine, warning } from './diagnosis.ts'

/** Time for the whole connection. */
export const reachTimeoutMs = 5000

const advice =
  'Requests will be recorded and answered with 502 until it can be reached. Check name resolution, ' +
  'firewall and proxy; certificates of your own go into NODE_EXTRA_CA_CERTS.'

/** Connects to `url` and hangs up. */
export async function examineReach(name: string, url: string): Promise<Diagnosis> {
  const check = `upstream-${name}`
  const fault = await connectOnce(new URL(url))
  const { origin } = new URL(url)
  return fault === undefined
    ? fine(check, `${origin} answers`)
    : warning(check, `${origin} cannot be reached: ${fault}`, advice)
}

function connectOnce(url: URL): Promise<string | undefined> {
  const isTls = url.protocol === 'https:'
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const port = url.port === '' ? (isTls ? 443 : 80) : Number(url.port)
  return new Promise((resolve) => {
    const socket = isTls
      ? connectTls({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}) })
      : connectTcp({ host, port })
    const finish = (fault?: string) => {
      socket.destroy()
      resolve(fault)
    }
    socket.setTimeout(reachTimeoutMs, () => finish(`no answer within ${reachTimeoutMs} ms`))
    socket.once(isTls ? 'secureConnect' : 'connect', () => finish())
    socket.once('error', (error: Error & { code?: string }) => finish(error.code ?? error.message))
  })
}
