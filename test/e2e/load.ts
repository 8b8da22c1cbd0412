/** A steady load on services over the tailnet, by way of the lab's gateway. */
import { EventEmitter, once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { type Lab, serviceURL } from '../../demo/lab.ts'
import { connectByProxy } from './pebble.ts'

export interface Failure {
  readonly service: string
  readonly problem: string
  /** Epoch ms. */
  readonly from: number
  readonly to: number
}

interface LoadResult {
  readonly ok: number
  /** What went wrong, one line each: transport errors and answers other than 200. */
  readonly failed: readonly Failure[]
  readonly slowestMs: number
  readonly p99Ms: number
}

export interface Load {
  /** Resolves once so many more requests have been answered, whatever the answer. */
  answers(count: number): Promise<void>
  stop(): Promise<LoadResult>
}

/** How a request gets to a service. Rejects when there is no answer, or another than 200. */
type Ask = (lab: Lab, service: string, path: string, agent: Agent) => Promise<void>

/** Sends `perSecond` requests to the services in turn until stop() is called, which settles when the last has ended. */
export function startLoad(lab: Lab, services: readonly string[], perSecond: number, path = '/whoami', ask: Ask = get): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: 200 })
  const pending = new Set<Promise<void>>()
  const failed: Failure[] = []
  let ok = 0
  const tookMs: number[] = []
  let sent = 0
  const answered = new EventEmitter()
  const timer = setInterval(() => {
    const service = services[sent++ % services.length] ?? ''
    const startedAt = performance.now()
    const fail = (problem: string) => {
      const to = Date.now()
      failed.push({ service, problem, from: to - (performance.now() - startedAt), to })
    }
    const one = ask(lab, service, path, agent)
      .then(() => {
        ok++
      })
      .catch((error: unknown) => {
        fail(String(error))
      })
      .finally(() => {
        tookMs.push(performance.now() - startedAt)
        pending.delete(one)
        answered.emit('one')
      })
    pending.add(one)
  }, 1000 / perSecond)
  return {
    async answers(count) {
      for (let i = 0; i < count; i++) await once(answered, 'one', { signal: AbortSignal.timeout(60_000) })
    },
    async stop() {
      clearInterval(timer)
      await Promise.all(pending)
      agent.destroy()
      tookMs.sort((a, b) => a - b)
      return { ok, failed, slowestMs: tookMs.at(-1) ?? 0, p99Ms: tookMs[Math.ceil(tookMs.length * 0.99) - 1] ?? 0 }
    },
  }
}

/** Asks over a tailnet connection of its own. */
export async function getAnew(lab: Lab, service: string, path: string): Promise<void> {
  const signal = AbortSignal.timeout(20_000)
  const socket = await connectByProxy(lab, `${service}:80`, signal)
  try {
    const asked = request({ createConnection: () => socket, path, headers: { host: service }, signal })
    asked.end()
    const [response] = (await once(asked, 'response')) as [IncomingMessage]
    await readAnswer(response)
  } finally {
    socket.destroy()
  }
}

/** Asks by way of the lab's gateway, which keeps its connections. */
async function get(lab: Lab, service: string, path: string, agent: Agent): Promise<void> {
  const { host } = new URL(serviceURL(lab, service))
  const asked = request({ host: '127.0.0.1', port: lab.gatewayPort, path, headers: { host }, agent, timeout: 20_000 })
  asked.on('timeout', () => asked.destroy(new Error('no answer within 20 s')))
  asked.end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  await readAnswer(response)
}

/** Reads all of it. Whoever answered in place of the service says why. */
async function readAnswer(response: IncomingMessage): Promise<void> {
  const body = await text(response)
  if (response.statusCode !== 200) throw new Error(`status ${String(response.statusCode)}: ${body.trim()}`)
}
