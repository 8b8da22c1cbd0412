/** A steady load on services over the tailnet, by way of the lab's gateway. */
import { EventEmitter, once } from 'node:events'
import { Agent, request } from 'node:http'
import { type Lab, serviceURL } from '../../demo/lab.ts'

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
}

export interface Load {
  /** Resolves once so many more requests have been answered, whatever the answer. */
  answers(count: number): Promise<void>
  stop(): Promise<LoadResult>
}

/** Sends `perSecond` requests to the services in turn until stop() is called, which settles when the last has ended. */
export function startLoad(lab: Lab, services: readonly string[], perSecond: number, path = '/whoami'): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: 200 })
  const pending = new Set<Promise<void>>()
  const failed: Failure[] = []
  let ok = 0
  let slowestMs = 0
  let sent = 0
  const answered = new EventEmitter()
  const timer = setInterval(() => {
    const service = services[sent++ % services.length] ?? ''
    const startedAt = performance.now()
    const fail = (problem: string) => {
      const to = Date.now()
      failed.push({ service, problem, from: to - (performance.now() - startedAt), to })
    }
    const one = get(lab, service, path, agent)
      .then((status) => {
        if (status === 200) ok++
        else fail(`status ${String(status)}`)
      })
      .catch((error: unknown) => {
        fail(String(error))
      })
      .finally(() => {
        slowestMs = Math.max(slowestMs, performance.now() - startedAt)
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
      return { ok, failed, slowestMs }
    },
  }
}

function get(lab: Lab, service: string, path: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const { host } = new URL(serviceURL(lab, service))
    const asked = request(
      { host: '127.0.0.1', port: lab.gatewayPort, path, headers: { host }, agent, timeout: 20_000 },
      (response) => {
        response.resume()
        response.on('end', () => {
          resolve(response.statusCode ?? 0)
        })
        response.on('error', reject)
      },
    )
    asked.on('timeout', () => asked.destroy(new Error('no answer within 20 s')))
    asked.on('error', reject)
    asked.end()
  })
}
