/**
 * JSON over HTTP/1.1 on a Unix socket: what the worker protocol and the admin API have in common. Checking the shape of a
 * body is the caller's; here it is only JSON.
 */
import { Agent, type IncomingMessage, type RequestOptions, request as openRequest } from 'node:http'
import { inWords } from '../../shared/systemErrors.ts'

/**
 * - `ENOENT`, `ECONNREFUSED`, `EACCES`: nobody could be reached (no socket, a socket that nobody serves, no permission)
 * - `DISCONNECTED`: the other side went away before its answer was complete
 * - `TIMEOUT`: no complete answer in time, or a stream that fell silent
 * - `BAD_REPLY`: the answer is not what the protocol promises
 * - `CLOSED`: this client was closed
 * - `IO`: anything else the system reports
 */
export type SocketErrorCode = 'ENOENT' | 'ECONNREFUSED' | 'EACCES' | 'DISCONNECTED' | 'TIMEOUT' | 'BAD_REPLY' | 'CLOSED' | 'IO'

/** Why a call on a Unix socket failed; `message` names the socket. */
export class SocketError extends Error {
  override readonly name = 'SocketError'

  constructor(
    readonly code: SocketErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

export interface SocketClient {
  /** One exchange. Any status is an answer; `body` is undefined when the reply has none. Rejects with SocketError. */
  request(
    method: string,
    path: string,
    options?: { body?: unknown; timeoutMs?: number },
  ): Promise<{ status: number; body: unknown }>
  /** GET of a text, such as metrics. Rejects with SocketError, also when the status is not 200. */
  text(path: string, timeoutMs?: number): Promise<string>
  /**
   * GET of a stream of JSON lines, each handed to `onLine`. Resolves when the server ends the stream or `signal` is aborted;
   * rejects with SocketError, or with what `onLine` threw. `idleTimeoutMs` (none by default) bounds the silence between bytes.
   */
  lines(path: string, onLine: (value: unknown) => void, signal: AbortSignal, options?: LinesOptions): Promise<void>
  /** Fails every pending call with CLOSED and gives the sockets back. */
  close(): void
}

interface LinesOptions {
  idleTimeoutMs?: number
  /** A longer line is a broken peer, not data. */
  maxLineBytes?: number
}

const DEFAULT_TIMEOUT_MS = 10_000
const MAX_BODY_BYTES = 64 * 1024 * 1024
const MAX_LINE_BYTES = 4 * 1024 * 1024
const NEWLINE = 0x0a
const SAFE_TO_REPEAT = new Set(['GET', 'PUT', 'DELETE'])

/** A client of the server on `socketPath`. Connects when first used, and again whenever it must. */
export function createSocketClient(socketPath: string): SocketClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 4, maxFreeSockets: 2 })
  const pending = new Set<AbortController>()
  let closed = false

  /** Runs one call under its own abort signal, so that time-out and close() reach it wherever it stands. */
  async function call<T>(work: (abort: AbortController) => Promise<T>): Promise<T> {
    if (closed) throw new SocketError('CLOSED', `the client of ${socketPath} is closed`)
    const abort = new AbortController()
    pending.add(abort)
    try {
      return await work(abort)
    } catch (error) {
      throw abort.signal.aborted ? abort.signal.reason : describeError(error, socketPath)
    } finally {
      pending.delete(abort)
    }
  }

  /** One exchange with a body read to its end, bounded in time and size. */
  async function exchange(
    method: string,
    path: string,
    payload: string | undefined,
    timeoutMs: number,
  ): Promise<[number, string]> {
    return call(async (abort) => {
      const timer = setTimeout(
        () => abort.abort(new SocketError('TIMEOUT', `no answer from ${socketPath} to ${method} ${path} within ${timeoutMs} ms`)),
        timeoutMs,
      )
      try {
        const options = { socketPath, agent, method, path, signal: abort.signal }
        const reply = await send(options, payload)
        return [reply.statusCode ?? 0, await readText(reply, socketPath)]
      } finally {
        clearTimeout(timer)
      }
    })
  }

  return {
    async request(method, path, { body, timeoutMs = DEFAULT_TIMEOUT_MS } = {}) {
      const payload = body === undefined ? undefined : JSON.stringify(body)
      const [status, text] = await exchange(method, path, payload, timeoutMs)
      return { status, body: text === '' ? undefined : parseJSON(text, `${method} ${path}`, socketPath) }
    },

    async text(path, timeoutMs = DEFAULT_TIMEOUT_MS) {
      const [status, text] = await exchange('GET', path, undefined, timeoutMs)
      if (status !== 200) throw unexpectedStatus(status, text, path, socketPath)
      return text
    },

    async lines(path, onLine, signal, { idleTimeoutMs, maxLineBytes = MAX_LINE_BYTES } = {}) {
      if (signal.aborted) return
      await call(async (abort) => {
        const onAbort = () => abort.abort()
        const fallSilent = () =>
          abort.abort(new SocketError('TIMEOUT', `${socketPath} was silent on ${path} for ${idleTimeoutMs} ms`))
        const idle = idleTimeoutMs === undefined ? undefined : setTimeout(fallSilent, idleTimeoutMs)
        signal.addEventListener('abort', onAbort, { once: true })
        try {
          // A stream holds its connection for good, so it gets one of its own and leaves the agent's to short calls.
          const reply = await send({ socketPath, agent: false, path, signal: abort.signal }, undefined)
          if (reply.statusCode !== 200) {
            throw unexpectedStatus(reply.statusCode ?? 0, await readText(reply, socketPath), path, socketPath)
          }
          const lines = createLineSplitter(maxLineBytes, `${path} of ${socketPath}`)
          for await (const chunk of reply as AsyncIterable<Buffer>) {
            idle?.refresh()
            for (const line of lines.push(chunk)) onLine(parseJSON(line, path, socketPath))
          }
          lines.end()
        } finally {
          clearTimeout(idle)
          signal.removeEventListener('abort', onAbort)
        }
      }).catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
    },

    close() {
      closed = true
      for (const abort of pending) abort.abort(new SocketError('CLOSED', `the client of ${socketPath} was closed`))
      agent.destroy()
    },
  }
}

/**
 * Sends a request and waits for the head of the reply. A kept connection may be closed by the server in the same moment as it
 * is used again; an idempotent request is then sent once more on a fresh connection (RFC 9110, 9.2.2), and any other is sent
 * on a fresh one from the start.
 */
async function send(options: RequestOptions, payload: string | undefined): Promise<IncomingMessage> {
  const mayUseKept = SAFE_TO_REPEAT.has(options.method ?? 'GET')
  const first = await attempt(mayUseKept ? options : { ...options, agent: false }, payload)
  if ('reply' in first) return first.reply
  if (!first.reusedSocket || !isDisconnect(first.error) || options.signal?.aborted) throw first.error
  const second = await attempt({ ...options, agent: false }, payload)
  if ('reply' in second) return second.reply
  throw second.error
}

type Attempt = { reply: IncomingMessage } | { error: Error; reusedSocket: boolean }

function attempt(options: RequestOptions, payload: string | undefined): Promise<Attempt> {
  return new Promise((resolve) => {
    const request = openRequest(options, (reply) => resolve({ reply }))
    request.on('error', (error) => resolve({ error, reusedSocket: request.reusedSocket }))
    if (payload !== undefined) {
      request.setHeader('Content-Type', 'application/json')
      request.setHeader('Content-Length', Buffer.byteLength(payload))
    }
    request.end(payload)
  })
}

async function readText(reply: IncomingMessage, socketPath: string): Promise<string> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of reply as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length
    if (sizeBytes > MAX_BODY_BYTES)
      throw new SocketError('BAD_REPLY', `a reply of ${socketPath} is larger than ${MAX_BODY_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Cuts a byte stream at newlines. Holds pieces and joins them once, so that a long line is not copied again with each chunk. */
function createLineSplitter(maxLineBytes: number, source: string) {
  let held: Buffer[] = []
  let heldBytes = 0
  return {
    *push(chunk: Buffer): Generator<string> {
      let from = 0
      for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
        held.push(chunk.subarray(from, end))
        const line = Buffer.concat(held).toString('utf8')
        held = []
        heldBytes = 0
        from = end + 1
        if (line.length > maxLineBytes) throw tooLong()
        yield line
      }
      held.push(chunk.subarray(from))
      heldBytes += chunk.length - from
      if (heldBytes > maxLineBytes) throw tooLong()
    },
    end(): void {
      if (heldBytes > 0) throw new SocketError('BAD_REPLY', `the stream ${source} ended in the middle of a line`)
    },
  }

  function tooLong(): SocketError {
    return new SocketError('BAD_REPLY', `a line of ${source} is longer than ${maxLineBytes} bytes`)
  }
}

function parseJSON(text: string, what: string, socketPath: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new SocketError('BAD_REPLY', `${socketPath} answered ${what} with something that is not JSON: ${excerpt(text)}`, {
      cause: error,
    })
  }
}

function unexpectedStatus(status: number, text: string, path: string, socketPath: string): SocketError {
  return new SocketError('BAD_REPLY', `${socketPath} answered GET ${path} with status ${status}: ${excerpt(text)}`)
}

function excerpt(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}

function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

function isDisconnect(error: unknown): boolean {
  return ['ECONNRESET', 'EPIPE', 'ECONNABORTED'].includes(errnoOf(error) ?? '')
}

/** Node's many words for a failed exchange, in ours. What did not come from the socket passes as it is. */
function describeError(error: unknown, socketPath: string): unknown {
  const errno = errnoOf(error)
  if (error instanceof SocketError || errno === undefined) return error
  const options = { cause: error }
  if (errno === 'ENOENT') return new SocketError('ENOENT', `there is no socket ${socketPath}`, options)
  if (errno === 'ECONNREFUSED') return new SocketError('ECONNREFUSED', `nobody serves the socket ${socketPath}`, options)
  if (errno === 'EACCES' || errno === 'EPERM')
    return new SocketError(
      'EACCES',
      `no permission to use the socket ${socketPath}; run this as the user of the supervisor, as with sudo`,
      options,
    )
  if (isDisconnect(error))
    return new SocketError('DISCONNECTED', `the process behind ${socketPath} closed the connection`, options)
  if (errno.startsWith('HPE_')) return new SocketError('BAD_REPLY', `${socketPath} does not speak HTTP (${errno})`, options)
  return new SocketError('IO', `${socketPath}: ${inWords(error)}`, options)
}
