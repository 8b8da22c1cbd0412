/** The client side of the admin API: what the commands of the CLI talk to a running supervisor with. */
import { join } from 'node:path'
import * as z from 'zod'
import { EndedOrphans, EventView, Plan, type PlanRequest, ReloadResult, Status } from '../../shared/api.ts'
import { type Answer, orders } from '../../shared/orders.ts'
import { ErrorReply } from '../../shared/protocol.ts'
import type { Orders } from '../core/ports.ts'
import { createSocketClient, SocketError } from './socketClient.ts'

/** No process serves the admin socket at `socketPath`. `serving`: which workers serve without a supervisor; empty when none do. */
export class NoSupervisorError extends Error {
  override readonly name = 'NoSupervisorError'

  constructor(
    readonly socketPath: string,
    { cause, serving = '' }: { cause?: unknown; serving?: string } = {},
  ) {
    super(
      serving === ''
        ? `no supervisor answers on ${socketPath}; start one with "tsnsrv-sup start --config <file>", ` +
            'or say where it runs with the --run-dir, --state-dir or --config that it was started with'
        : `no supervisor answers on ${socketPath}, but ${serving}. ` +
            'Take over: "tsnsrv-sup start --config <file>". End them: "tsnsrv-sup stop --workers"',
      { cause },
    )
  }
}

/** The supervisor answered with an error; `reason` is the word for programs, `status` that of HTTP. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError'

  constructor(
    readonly status: number,
    readonly reason: string,
    message: string,
  ) {
    super(message)
  }
}

export interface AdminClient extends Orders {
  status(): Promise<Status>
  /** What has happened lately to one service or shard, or to all. The latest first. */
  events(of: { service: string } | { shard: number } | Record<string, never>): Promise<EventView[]>
  /** Hands over the status now and after each change. Resolves when the supervisor ends or `signal` is aborted. */
  watch(onStatus: (status: Status) => void, signal: AbortSignal): Promise<void>
  reload(): Promise<ReloadResult>
  plan(request: PlanRequest): Promise<Plan>
  /** Asks it to stop; it has exited when `watch` resolves. */
  stop(options: { leaveWorkers: boolean }): Promise<void>
  /** Ends the workers that no supervisor follows. Resolves with the result for each. */
  endOrphans(options: { timeoutMs: number }): Promise<EndedOrphans>
  close(): void
}

/** A reload reads files and asks for auth keys, so it may take its time. */
const RELOAD_TIMEOUT_MS = 60_000
const MAX_STATUS_BYTES = 64 * 1024 * 1024

/** The admin socket of the supervisor that runs in `runDir`. */
export const adminSocketPath = (runDir: string): string => join(runDir, 'supervisor.sock')

/** All calls reject with NoSupervisorError, RefusedError or SocketError. */
export function createAdminClient(runDir: string): AdminClient {
  const socketPath = adminSocketPath(runDir)
  const client = createSocketClient(socketPath)

  async function call(method: string, path: string, options: { timeoutMs?: number; body?: unknown } = {}): Promise<unknown> {
    const { status, body } = await client.request(method, path, options).catch(explain)
    if (status < 300) return body
    const refused = ErrorReply.safeParse(body)
    if (refused.success) throw new RefusedError(status, refused.data.reason, refused.data.message)
    throw new SocketError('BAD_REPLY', `${socketPath} answered ${method} ${path} with status ${status} and no reason`)
  }

  function explain(error: unknown): never {
    const absent = error instanceof SocketError && (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')
    throw absent ? new NoSupervisorError(socketPath, { cause: error }) : error
  }

  return {
    status: async () => Status.parse(await call('GET', '/v1/status')),
    events: async (of) => {
      const path = 'service' in of ? `/services/${of.service}` : 'shard' in of ? `/shards/${String(of.shard)}` : ''
      return z.array(EventView).parse(await call('GET', `/v1/events${path}`))
    },
    watch: (onStatus, signal) => {
      const onLine = (value: unknown) => onStatus(Status.parse(value))
      return client.lines('/v1/watch', onLine, signal, { maxLineBytes: MAX_STATUS_BYTES }).catch(explain)
    },
    reload: async () => ReloadResult.parse(await call('POST', '/v1/reload', { timeoutMs: RELOAD_TIMEOUT_MS })),
    plan: async (request) => Plan.parse(await call('POST', '/v1/plan', { timeoutMs: RELOAD_TIMEOUT_MS, body: request })),
    order: async (verb, given) => {
      const query = new URLSearchParams(Object.entries(given).map(([name, value]): [string, string] => [name, String(value)]))
      return orders[verb].answers.parse(await call('POST', `/v1/${verb}?${query.toString()}`)) as Answer<typeof verb>
    },
    stop: async ({ leaveWorkers }) => {
      await call('POST', `/v1/stop?leaveWorkers=${String(leaveWorkers)}`)
    },
    endOrphans: async ({ timeoutMs }) => EndedOrphans.parse(await call('POST', '/v1/end-orphans', { timeoutMs })),
    close: () => client.close(),
  }
}
