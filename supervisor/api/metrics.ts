/** The Prometheus endpoint: the supervisor's metrics and those of all workers, on one page. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inWords } from '../../shared/systemErrors.ts'
import { mergeExpositions, parseExposition, renderExposition } from '../core/exposition.ts'
import type { Operator } from '../core/ports.ts'
import { boundConnections } from './boundConnections.ts'
import { isKnownHost } from './knownHost.ts'
import { createSupervisorMetrics } from './supervisorMetrics.ts'

export interface MetricsServer {
  /** Where it really listens: the port is not 0 any more. */
  readonly addr: string
  close(): Promise<void>
}

/** Anybody who reaches the address may connect: what each may hold, and for how long. */
const MOST_CONNECTIONS = 128
const LIMITS = { maxHeaderSize: 8 * 1024, headersTimeout: 5000, requestTimeout: 10_000, keepAliveTimeout: 5000 }
/** A connection without a byte either way, such as of a scraper that does not read. */
const SILENCE_MS = 10_000

const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
const ADDR = /^(?:\[(?<ipv6>[^\]]+)\]|(?<host>[^:]*)):(?<port>\d{1,5})$/

/**
 * Serves GET /metrics and GET /healthz (200, and 503 once it stops: one service in trouble is no ill health) on `addr`: "127.0.0.1:9099", "[::1]:9099", or ":9099" for
 * all interfaces. Values are read at the scrape; nothing runs between scrapes. Rejects with one sentence when it cannot listen.
 */
export async function startMetricsServer({ addr, operator }: { addr: string; operator: Operator }): Promise<MetricsServer> {
  const { ipv6, host = ipv6 ?? '', port } = ADDR.exec(addr)?.groups ?? {}
  if (port === undefined || Number(port) > 65535)
    throw new Error(`prometheusAddr "${addr}": want host:port, as in "127.0.0.1:9099" or "[::1]:9099"`)

  const render = createSupervisorMetrics()
  let scrape: Promise<string> | undefined
  const metrics = async () => {
    // First, as it tells which workers answer.
    const texts = await operator.workerMetrics()
    return renderExposition(mergeExpositions([await render(operator.status()), ...texts].map(parseExposition)))
  }

  const server = createServer(LIMITS, (request, response) => {
    const { path, problem } = readRequest(request, host)
    if (problem) reply(request, response, ...problem)
    else if (path === '/healthz') {
      const { phase } = operator.status()
      reply(request, response, phase === 'stopping' ? 503 : 200, `${phase}\n`)
    } else {
      // Scrapes that come together share one round over the workers.
      scrape ??= metrics().finally(() => {
        scrape = undefined
      })
      scrape.then(
        (text) => {
          response.setHeader('Content-Type', CONTENT_TYPE)
          reply(request, response, 200, text)
        },
        (error: unknown) => {
          reply(request, response, 500, `${inWords(error)}\n`)
        },
      )
    }
  })
  server.timeout = SILENCE_MS
  boundConnections(server, MOST_CONNECTIONS)

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

/** The path of a request, or why it gets nothing. `host` is the one that the server was told to listen on. */
function readRequest(
  { method, url, headers }: IncomingMessage,
  host: string,
): { path?: string; problem?: [status: number, body: string] } {
  if (!isKnownHost(headers.host, host)) {
    return {
      problem: [421, 'no such host here: ask by IP address or by a name without dots, or set prometheusAddr to NAME:PORT\n'],
    }
  }
  if (method !== 'GET' && method !== 'HEAD') return { problem: [405, 'only GET and HEAD\n'] }
  const path = url?.split('?', 1)[0]
  return path === '/metrics' || path === '/healthz' ? { path } : { problem: [404, 'there is /metrics and /healthz\n'] }
}

function reply({ method, headers }: IncomingMessage, response: ServerResponse, status: number, body: string): void {
  if (status === 405) response.setHeader('Allow', 'GET, HEAD')
  if (!response.hasHeader('Content-Type')) response.setHeader('Content-Type', 'text/plain; charset=utf-8')
  // A body means nothing here, and nobody waits for its end.
  if (headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined) response.shouldKeepAlive = false
  response.writeHead(status).end(method === 'HEAD' ? '' : body)
}

function explain(error: NodeJS.ErrnoException): string {
  if (error.code === 'EADDRINUSE') return `${inWords(error)}; choose another one, or "off"`
  return error.code === 'EACCES' ? `${inWords(error)} to listen there; ports below 1024 need a privilege` : inWords(error)
}

const format = ({ address, family, port }: AddressInfo) => `${family === 'IPv6' ? `[${address}]` : address}:${port}`
