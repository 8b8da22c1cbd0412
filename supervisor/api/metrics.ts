/** The Prometheus endpoint: the supervisor's metrics and those of all workers, on one page. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Operator } from '../core/ports.ts'
import { mergeExpositions } from './mergeExpositions.ts'
import { createSupervisorMetrics } from './supervisorMetrics.ts'

export interface MetricsServer {
  /** Where it really listens: the port is not 0 any more. */
  readonly addr: string
  close(): Promise<void>
}

const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
const ADDR = /^(?:\[(?<ipv6>[^\]]+)\]|(?<host>[^:]*)):(?<port>\d{1,5})$/

/**
 * Serves GET /metrics and GET /healthz (200, and 503 once it stops: one service in trouble is no ill health) on `addr`: "127.0.0.1:9099", "[::1]:9099", or ":9099" for
 * all interfaces. Values are read at the scrape; nothing runs between scrapes. Rejects with one sentence when it cannot listen.
 */
export async function startMetricsServer({ addr, operator }: { addr: string; operator: Operator }): Promise<MetricsServer> {
  const { ipv6, host = ipv6, port } = ADDR.exec(addr)?.groups ?? {}
  if (port === undefined || Number(port) > 65535)
    throw new Error(`prometheusAddr "${addr}": want host:port, as in "127.0.0.1:9099" or "[::1]:9099"`)

  const render = createSupervisorMetrics()
  let scrape: Promise<string> | undefined
  const metrics = async () => mergeExpositions([await render(operator.status()), ...(await operator.workerMetrics())])

  const server = createServer((request, response) => {
    request.resume()
    const reply = (status: number, type: string, body: string) => {
      response.writeHead(status, { 'Content-Type': type }).end(request.method === 'HEAD' ? '' : body)
    }
    const path = request.url?.split('?', 1)[0]
    if (request.method !== 'GET' && request.method !== 'HEAD') reply(405, 'text/plain', 'only GET\n')
    else if (path === '/healthz') {
      const { phase } = operator.status()
      reply(phase === 'stopping' ? 503 : 200, 'text/plain', `${phase}\n`)
    } else if (path === '/metrics') {
      // Scrapes that come together share one round over the workers.
      scrape ??= metrics().finally(() => {
        scrape = undefined
      })
      scrape.then(
        (text) => reply(200, CONTENT_TYPE, text),
        (error: unknown) => reply(500, 'text/plain', `${error instanceof Error ? error.message : String(error)}\n`),
      )
    } else reply(404, 'text/plain', 'there is /metrics and /healthz\n')
  })

  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve)
    // Stays for good: an error while serving (no descriptor left to accept with) costs a scrape and must not end the supervisor.
    server.on('error', (error: NodeJS.ErrnoException) => {
      reject(new Error(`cannot serve metrics on prometheusAddr ${addr}: ${explain(error)}`, { cause: error }))
    })
    server.listen({ port: Number(port), ...(host ? { host } : {}) })
  })

  return {
    addr: format(server.address() as AddressInfo),
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

function explain(error: NodeJS.ErrnoException): string {
  if (error.code === 'EADDRINUSE') return 'the address is in use by another program; choose another one, or "off"'
  if (error.code === 'EACCES') return 'no permission to listen there; ports below 1024 need a privilege'
  if (error.code === 'EADDRNOTAVAIL') return 'this host does not have that address'
  if (error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN') return 'the host name cannot be resolved'
  return error.message
}

const format = ({ address, family, port }: AddressInfo) => `${family === 'IPv6' ? `[${address}]` : address}:${port}`
