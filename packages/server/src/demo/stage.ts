/**
 * Where a demo plays: a simulator and a gateway of its own in this process, or a gateway that runs
 * already, if there is a simulator behind it.
 *
 * @module
 */
import type { Config } from '../base/config.ts'
import { startGateway } from '../processes/gateway.ts'
import { simulatorServerName } from '../simulate/reply.ts'
import { startSimulator } from '../simulate/simulator.ts'

/** A gateway to send to. */
export interface Stage {
  readonly gatewayUrl: string
  /** Requests that the simulator received; `undefined` where it is another process's. */
  received(): number | undefined
  /** Ends what was started here; the ledger is then published. */
  close(): Promise<void>
}

/** Fast enough for a demo, slow enough that latencies show. */
const cadence = { firstByteMs: 40, partMs: 1 }

/** Starts a simulator and a gateway on free ports; the gateway writes where `config` says. */
export async function buildStage(config: Config, seed: string): Promise<Stage> {
  let received = 0
  const simulator = await startSimulator({
    seed,
    cadence,
    dripMs: 10,
    retryAfterMs: 50,
    record: 'none',
    onExchange: () => {
      received += 1
    },
  })
  try {
    const gateway = await startGateway({
      config: {
        ...config,
        gateway: {
          ...config.gateway,
          listen: '127.0.0.1:0',
          upstream: { ...config.gateway.upstream, anthropic: simulator.url },
        },
      },
    })
    return {
      gatewayUrl: gateway.url,
      received: () => received,
      async close() {
        await gateway.close()
        await simulator.close()
      },
    }
  } catch (error) {
    await simulator.close()
    throw error
  }
}

/** Uses the gateway at `gatewayUrl`, which runs already. */
export function rentStage(gatewayUrl: string): Stage {
  return { gatewayUrl, received: () => undefined, close: () => Promise.resolve() }
}

/**
 * Tells whether a simulator answers behind the gateway at `gatewayUrl`: `real` is anything else, and
 * a demo must not spend its money.
 */
export async function upstreamBehind(
  gatewayUrl: string,
): Promise<'simulator' | 'real' | 'unreachable'> {
  try {
    const response = await fetch(new URL('/v1/models', gatewayUrl), {
      headers: { 'x-api-key': 'simulated-credential', 'anthropic-version': '2023-06-01' },
      redirect: 'manual',
    })
    await response.arrayBuffer()
    return response.headers.get('server') === simulatorServerName ? 'simulator' : 'real'
  } catch {
    return 'unreachable'
  }
}
