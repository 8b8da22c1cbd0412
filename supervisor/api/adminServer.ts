/**
 * The admin API of shared/api.ts on a Unix socket. Only processes of the same user (and root) reach it: that is its whole
 * access control, and why no browser can be made to call it.
 */
import { mkdirSync, statSync, unlinkSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import type { ErrorReply } from '../../shared/protocol.ts'
import { ConfigError } from '../config/diagnostic.ts'
import type { Operator } from '../core/ports.ts'
import { createWatchFeed } from './watchFeed.ts'

export interface AdminServer {
  /** Ends the streams and the calls in flight, and removes the socket. */
  close(): Promise<void>
}

/** sun_path of sockaddr_un holds 108 bytes with the closing zero (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107

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
  const server = createServer((request, response) => {
    request.resume()
    handle(request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy()
      else sendError(response, error)
    })
  })

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = '', query = ''] = (request.url ?? '').split('?', 2)
    const call = `${request.method ?? ''} ${path}`
    switch (call) {
      case 'GET /v1/status':
        sendJSON(response, 200, operator.status())
        return
      case 'GET /v1/watch':
        feed.add(response)
        return
      case 'POST /v1/reload':
        sendJSON(response, 200, await operator.reload())
        return
      case 'POST /v1/stop': {
        const leaveWorkers = new URLSearchParams(query).get('leaveWorkers') ?? 'false'
        if (leaveWorkers !== 'true' && leaveWorkers !== 'false') {
          const message = `leaveWorkers is true or false, not "${leaveWorkers}"`
          sendJSON(response, 400, { reason: 'BadRequest', message } satisfies ErrorReply)
          return
        }
        sendJSON(response, 202, {})
        operator.stop({ leaveWorkers: leaveWorkers === 'true' })
        return
      }
      default: {
        const message = `there is no ${call}; see shared/api.ts for what there is`
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
  if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES) {
    throw new Error(
      `the path of the socket ${socketPath} is longer than ${MAX_SOCKET_PATH_BYTES} bytes; choose a shorter --run-dir`,
    )
  }
  const directory = dirname(socketPath)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const { mode, uid } = statSync(directory)
  if ((mode & 0o022) !== 0) {
    throw new Error(
      `${directory} is writable by other users, who could replace the socket in it; make it private: chmod 700 ${directory}`,
    )
  }
  const me = process.geteuid?.()
  if (me !== undefined && uid !== me && uid !== 0) {
    throw new Error(
      `${directory} belongs to another user (uid ${uid}), who could replace the socket in it; choose another --run-dir`,
    )
  }
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
      else reject(new Error(`cannot tell whether a supervisor answers on ${socketPath}: ${error.message}`, { cause: error }))
    })
  })
  if (code === 'ECONNREFUSED') unlinkSync(socketPath)
  return code === undefined
}

function sendJSON(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body)
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }).end(text)
}

/** A refused configuration is the caller's to mend (422); anything else is a fault of ours (500). */
function sendError(response: ServerResponse, error: unknown): void {
  const { name, message } = error instanceof Error ? error : new Error(String(error))
  sendJSON(response, error instanceof ConfigError ? 422 : 500, { reason: name, message } satisfies ErrorReply)
}
