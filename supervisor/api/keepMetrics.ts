import type { Operator } from '../core/ports.ts'
import { type MetricsServer, startMetricsServer } from './metrics.ts'

/** The other program may release the address at any time. */
const RETRY_MS = 5000

/**
 * Serves metrics, and tries again while the system refuses the address: a taken address must not keep the services from running.
 * `onProblem` gets the reason after each failed attempt, and an empty text once metrics are served. Resolves after the first attempt.
 * `addr` is where metrics are served; undefined while they are not. Rejects only when `addr` is not an address.
 */
export async function keepMetrics({
  addr,
  operator,
  onProblem,
  retryMs = RETRY_MS,
}: {
  addr: string
  operator: Operator
  onProblem: (problem: string) => void
  retryMs?: number
}): Promise<{ readonly addr: string | undefined; close(): Promise<void> }> {
  let server: MetricsServer | null = null
  let timer: NodeJS.Timeout | undefined
  let isClosed = false

  async function attempt(): Promise<void> {
    try {
      server = await startMetricsServer({ addr, operator })
      onProblem('')
    } catch (error) {
      const { message, cause } = error as Error
      // An error of the system is the cause of the error here; a bad address has none.
      if (cause === undefined) throw error
      onProblem(`${message}. Name another with --prometheus-addr; until then the services run without, and it is tried again`)
      if (!isClosed) timer = setTimeout(() => void attempt(), retryMs)
    }
    if (isClosed) await server?.close()
  }

  await attempt()
  return {
    get addr() {
      return server?.addr
    },
    async close() {
      isClosed = true
      clearTimeout(timer)
      await server?.close()
    },
  }
}
