/**
 * The admin API of shared/api.ts on a Unix socket. Only processes of the same user (and root) reach it: that is its whole
 * access control, and why no browser can be made to call it.
 */
import { mkdirSync, statSync, unlinkSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import type { PlanRequest } from '../../shared/api.ts'
import { Flag, isVerb, orders, readParameters } from '../../shared/orders.ts'
import type { ErrorReply } from '../../shared/protocol.ts'
import { inWords } from '../../shared/systemErrors.ts'
import { ConfigError } from '../config/diagnostic.ts'
import { MOST_SOCKET_PATH_BYTES } from '../config/settings.ts'
import { type Operator, OrderError } from '../core/ports.ts'
import { unsafeDirectory } from '../core/privateDirectory.ts'
import { boundConnections } from './boundConnections.ts'
import { createWatchFeed } from './watchFeed.ts'

export interface AdminServer {
  /** Ends the streams and the calls in flight, and removes the socket. */
  close(): Promise<void>
}

const MOST_CONNECTIONS = 128
const LIMITS = { maxHeaderSize: 8 * 1024, headersTimeout: 10_000, requestTimeout: 60_000 }

/** Serves `operator` on `socketPath`. Rejects when another process answers there, or when the place is not a safe one. */
export async function startAdminServer({
  socketPath,
  operator,
}: {
  socketPath: string
  operator: Operator
}): Promise<AdminServer> {
  prepareDirectory(socketPath)
  if (await isAnswered(socketPath)) {
    throw new Error(`another supervisor answers on ${socketPath}; stop it first, or give this one a --run-dir of its own`)
  }
  const feed = createWatchFeed(operator)
  const readPlanRequest = createPlanReader()
  const server = createServer(LIMITS, (request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy()
      else sendError(response, error)
    })
  })

  boundConnections(server, MOST_CONNECTIONS)

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = '', queryText = ''] = (request.url ?? '').split('?', 2)
    const query = new URLSearchParams(queryText)
    const call = `${request.method ?? ''} ${path}`
    if (call !== 'POST /v1/plan') request.resume()
    const [, verb = ''] = /^POST \/v1\/([a-z-]+)$/.exec(call) ?? []
    if (isVerb(verb)) {
      sendJSON(response, 200, await operator.order(verb, read(query, orders[verb].takes)))
      return
    }
    const [, kind, of = ''] = /^GET \/v1\/events(?:\/(services|shards)\/([a-z0-9-]+))?$/.exec(call) ?? []
    if (call === 'GET /v1/events' || kind !== undefined) {
      read(query, {})
      sendJSON(
        response,
        200,
        operator.events(kind === undefined ? {} : kind === 'services' ? { service: of } : { shard: Number(of) }),
      )
      return
    }
    switch (call) {
      case 'GET /v1/status':
        read(query, {})
        sendJSON(response, 200, operator.status())
        return
      case 'GET /v1/watch':
        read(query, {})
        feed.add(response)
        return
      case 'POST /v1/reload':
        read(query, {})
        sendJSON(response, 200, await operator.reload())
        return
      case 'POST /v1/plan':
        read(query, {})
        sendJSON(response, 200, await operator.plan(await readPlanRequest(request)))
        return
      case 'POST /v1/end-orphans':
        read(query, {})
        sendJSON(response, 200, await operator.endOrphans())
        return
      case 'POST /v1/stop': {
        const { leaveWorkers } = read(query, { leaveWorkers: Flag })
        sendJSON(response, 202, {})
        operator.stop({ leaveWorkers: leaveWorkers === true })
        return
      }
      default: {
        const message = `there is no ${call}; see shared/api.ts and shared/orders.ts for what there is`
        sendJSON(response, 404, { reason: 'NotFound', message } satisfies ErrorReply)
      }
    }
  }

  await new Promise<void>((resolve, reject) => {
    // Stays for good: an error while serving (no descriptor left to accept with) must not end the supervisor.
    server.on('error', reject)
    server.once('listening', resolve)
    // listen() binds before it returns, so the narrow umask makes the socket 0600 from its first moment.
    const umask = process.umask(0o177)
    try {
      server.listen(socketPath)
    } finally {
      process.umask(umask)
    }
  })

  return {
    async close() {
      feed.close()
      const closed = new Promise<void>((resolve) =>
        server.close(() => {
          resolve()
        }),
      )
      // What was answered goes out before its connection is cut: a client that asked to stop hears the 202.
      setImmediate(() => server.closeAllConnections())
      await closed
    },
  }
}

/** The directory guards the socket: whoever can write to it could put his own in its place. */
function prepareDirectory(socketPath: string): void {
  if (Buffer.byteLength(socketPath) > MOST_SOCKET_PATH_BYTES) {
    throw new Error(
      `the path of the socket ${socketPath} is longer than ${MOST_SOCKET_PATH_BYTES} bytes; choose a shorter --run-dir`,
    )
  }
  const directory = dirname(socketPath)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const problem = unsafeDirectory(directory, statSync(directory), { flag: '--run-dir', user: process.geteuid?.() })
  if (problem !== '') throw new Error(problem)
}

/** Whether someone serves the socket. One that nobody serves is what a killed supervisor leaves behind: it is removed. */
async function isAnswered(socketPath: string): Promise<boolean> {
  const code = await new Promise<string | undefined>((resolve, reject) => {
    const socket = connect(socketPath)
    socket.once('connect', () => {
      socket.destroy()
      resolve(undefined)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(error.code)
      else reject(new Error(`cannot tell whether a supervisor answers on ${socketPath}: ${inWords(error)}`, { cause: error }))
    })
  })
  if (code === 'ECONNREFUSED') unlinkSync(socketPath)
  return code === undefined
}

function sendJSON(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body)
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }).end(text)
}

/** A configuration, which may be as big as a file of it may, with every character escaped. */
const MOST_BODY_BYTES = 6 * 16 * 1024 * 1024

/** Reads the bodies of all requests that come at a time: together they may be as big as one. */
function createPlanReader(): (request: IncomingMessage) => Promise<PlanRequest> {
  let heldBytes = 0
  return async (request) => {
    const chunks: Buffer[] = []
    let bytes = 0
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) {
        bytes += chunk.length
        heldBytes += chunk.length
        if (heldBytes > MOST_BODY_BYTES)
          throw new BadRequestError('the body is too big for a configuration, or too many come at once')
        chunks.push(chunk)
      }
      return await parsePlanRequest(Buffer.concat(chunks).toString())
    } finally {
      heldBytes -= bytes
    }
  }
}

async function parsePlanRequest(text: string): Promise<PlanRequest> {
  // Loaded only now: it comes with all the schemas of the API, which `start` need not hold in memory.
  const { PlanRequest } = await import('../../shared/api.ts')
  try {
    return PlanRequest.parse(JSON.parse(text))
  } catch {
    throw new BadRequestError('the body is no PlanRequest; see shared/api.ts')
  }
}

/** A query or body that does not say what it should. */
class BadRequestError extends Error {
  override readonly name = 'BadRequest'
}

function read(query: URLSearchParams, takes: Parameters<typeof readParameters>[1]): Readonly<Record<string, unknown>> {
  const result = readParameters(query, takes)
  if ('problem' in result) throw new BadRequestError(result.problem)
  return result.given
}

/** A refused configuration (422), an order that cannot be (409) and a bad query (400) are the caller's; all else is ours (500). */
function sendError(response: ServerResponse, error: unknown): void {
  const { name, message } = error instanceof Error ? error : new Error(String(error))
  const status =
    error instanceof ConfigError ? 422 : error instanceof OrderError ? 409 : error instanceof BadRequestError ? 400 : 500
  sendJSON(response, status, { reason: name, message } satisfies ErrorReply)
}
