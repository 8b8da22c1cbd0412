/** The Prometheus endpoint: the supervisor's metrics and those of all workers, on one page. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Status } from '../../shared/api.ts'
import { inWords } from '../../shared/systemErrors.ts'
import { type Exposition, mergeExpositions, parseExposition, renderExposition, renderOpenMetrics } from '../core/exposition.ts'
import type { Operator } from '../core/ports.ts'
import { discoverServices, listServices, summarize } from '../operate/lists.ts'
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

const TEXT = 'text/plain; version=0.0.4; charset=utf-8'
const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
/** Fast, and a tenth of the bytes: the names repeat. */
const gzipped = promisify(gzip)
const GZIP = { level: 1 }
const ADDR = /^(?:\[(?<ipv6>[^\]]+)\]|(?<host>[^:]*)):(?<port>\d{1,5})$/

/**
 * Serves GET /metrics, the lists of services, and GET /healthz (200, and 503 once it stops: one service in trouble is no ill health) on `addr`: "127.0.0.1:9099", "[::1]:9099", or ":9099" for
 * all interfaces. Values are read at the scrape; nothing runs between scrapes. Rejects with one sentence when it cannot listen.
 */
export async function startMetricsServer({ addr, operator }: { addr: string; operator: Operator }): Promise<MetricsServer> {
  const { ipv6, host = ipv6 ?? '', port } = ADDR.exec(addr)?.groups ?? {}
  if (port === undefined || Number(port) > 65535)
    throw new Error(`prometheusAddr "${addr}": want host:port, as in "127.0.0.1:9099" or "[::1]:9099"`)

  const { render } = createSupervisorMetrics()
  let scrape: Promise<Page> | undefined
  const metrics = async () => {
    // First, as it tells which workers answer.
    const texts = await operator.workerMetrics()
    return createPage(mergeExpositions([await render(operator.status()), ...texts].map(parseExposition)))
  }

  const server = createServer(LIMITS, (request, response) => {
    const { path, problem } = readRequest(request, host)
    if (problem) reply(request, response, ...problem)
    else if (path === '/healthz') {
      const { phase } = operator.status()
      reply(request, response, phase === 'stopping' ? 503 : 200, `${phase}\n`)
    } else if (path !== undefined && path in LISTS) {
      response.setHeader('Content-Type', 'application/json')
      reply(request, response, 200, `${JSON.stringify(LISTS[path]?.(operator.status(), Date.now()))}\n`)
    } else {
      // Scrapes that come together share one round over the workers.
      scrape ??= metrics().finally(() => {
        scrape = undefined
      })
      scrape.then(
        (page) => void replyMetrics(request, response, page),
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
  const paths = ['/metrics', '/healthz', ...Object.keys(LISTS)]
  return path !== undefined && paths.includes(path) ? { path } : { problem: [404, `there is ${paths.join(', ')}\n`] }
}

/** For dashboards and service discovery: see shared/api.ts. */
const LISTS: Readonly<Record<string, (status: Status, now: number) => unknown>> = {
  '/api/summary': summarize,
  '/api/services': listServices,
  '/api/sd': discoverServices,
}

/** What one scrape has found, in each format that somebody asks for. It is rendered once for all that ask together. */
interface Page {
  plain(format: Format): string
  compressed(format: Format): Promise<Buffer>
}

type Format = 'text' | 'open'

function createPage(exposition: Exposition): Page {
  const texts: Partial<Record<Format, string>> = {}
  const small: Partial<Record<Format, Promise<Buffer>>> = {}
  const plain = (format: Format) => (texts[format] ??= (format === 'open' ? renderOpenMetrics : renderExposition)(exposition))
  return { plain, compressed: (format) => (small[format] ??= gzipped(plain(format), GZIP)) }
}

/** Answers in the format that the scraper prefers, compressed if it likes. */
async function replyMetrics(request: IncomingMessage, response: ServerResponse, page: Page): Promise<void> {
  const { accept = '', 'accept-encoding': encodings = '' } = request.headers
  const isOpen = accept.includes('application/openmetrics-text')
  const format = isOpen ? 'open' : 'text'
  response.setHeader('Content-Type', isOpen ? OPEN_METRICS : TEXT).setHeader('Vary', 'Accept, Accept-Encoding')
  if (!encodings.includes('gzip')) {
    reply(request, response, 200, page.plain(format))
    return
  }
  response.setHeader('Content-Encoding', 'gzip')
  reply(request, response, 200, await page.compressed(format))
}

function reply({ method, headers }: IncomingMessage, response: ServerResponse, status: number, body: string | Buffer): void {
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
