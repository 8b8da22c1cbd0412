/**
 * The workers as processes and sockets: forks them, finds those that an earlier supervisor left, follows what each tells,
 * and passes calls on. Decides nothing.
 */
import { mkdirSync } from 'node:fs'
import { readFile, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import * as z from 'zod'
import {
  ErrorReply,
  Hello,
  OLDEST_PROTOCOL_VERSION,
  PROTOCOL_VERSION,
  ServiceStatus,
  WorkerEvent,
} from '../../shared/protocol.ts'
import type { ServiceSpec } from '../../shared/protocol.ts'
import type { Fleet } from '../core/ports.ts'
import type { Event, ProcessIdentity } from '../core/types.ts'
import { identify, isAlive, killProcess } from './processIdentity.ts'
import { type SocketClient, SocketError, createSocketClient } from './socketClient.ts'
import { logDirectory } from './stateFile.ts'

export interface FleetOptions {
  /** Path of tsnsrv-worker. */
  readonly binary: string
  readonly stateDir: string
  readonly runDir: string
  /** Arguments beside identity and paths: how each worker is tuned. Read at each spawn. */
  readonly workerArguments: () => readonly string[]
  /** How often a worker tells what its services have counted, at most. */
  readonly reportMs: number
  /** The supervisor's environment; workers are given only what is on their list. */
  readonly env: NodeJS.ProcessEnv
  readonly post: (event: Event) => void
}

/** A worker says "alive" every 10 s; when two are missing, the connection is looked at again. */
const SILENCE_MS = 25_000
const CALL_TIMEOUT_MS = 10_000
/** A worker directory without record is a worker that never came up: its fork takes milliseconds. */
const UNRECORDED = /^shard-(\d+)-/

/** What a worker may see of the environment: no secret, and what Go and tailscale read. */
const PASSED_ON =
  /^(PATH|HOME|LANG|TZ|TMPDIR|SSL_CERT_(FILE|DIR)|(HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy|GO(DEBUG|GC|MAXPROCS|MEMLIMIT|TRACEBACK)|TS_DEBUG_\w+|TS_NO_LOGS_NO_SUPPORT|TSNSRV_WORKER_DISABLE)$/

interface Link {
  readonly shard: number
  readonly client: SocketClient
  readonly stop: AbortController
  process: ProcessIdentity | null
  /** How it ended; empty while it lives, and for an adopted worker, which is nobody's child and tells nothing. */
  exit: string
  /** Settles once a child of this process has told how it ended. */
  reaped: Promise<void>
}

/** The fleet of the workers whose directories are in `runDir`. */
export function createFleet(options: FleetOptions): Fleet {
  const links = new Map<string, Link>()
  const directoryOf = (workerId: string) => join(options.runDir, workerId)

  function addLink(workerId: string, shard: number, process: ProcessIdentity | null): Link {
    const client = createSocketClient(join(directoryOf(workerId), 'worker.sock'))
    const link: Link = { shard, client, stop: new AbortController(), process, exit: '', reaped: Promise.resolve() }
    links.set(workerId, link)
    return link
  }

  function linkOf(workerId: string): Link {
    const link = links.get(workerId)
    if (!link) throw new Error(`worker ${workerId} has ended`)
    return link
  }

  /** Reads the worker's events, again and again as long as its process lives; tells when it is lost and when it has ended. */
  async function follow(workerId: string, link: Link): Promise<void> {
    const { signal } = link.stop
    const letGo = () => signal.aborted
    for (let pauseMs = 20; !letGo(); pauseMs = Math.min(1000, pauseMs * 1.5)) {
      const stream = { heard: false }
      let problem = 'ended the event stream'
      try {
        await link.client.lines(
          `/v1/events?everyMs=${options.reportMs}`,
          (line) => {
            stream.heard = true
            pauseMs = 20
            tell(workerId, link, understand(WorkerEvent, line))
          },
          signal,
          { idleTimeoutMs: SILENCE_MS },
        )
      } catch (error) {
        problem = (error as Error).message
        // Words, too, if none of the protocol's.
        stream.heard ||= error instanceof SocketError && error.code === 'BAD_REPLY'
      }
      if (letGo()) return
      if (link.process ? !isAlive(link.process) : link.exit !== '') {
        await end(workerId, link)
        return
      }
      if (stream.heard) options.post({ type: 'workerLost', workerId, message: problem })
      await delay(pauseMs, undefined, { signal }).catch(() => undefined)
    }
  }

  function tell(workerId: string, link: Link, event: WorkerEvent): void {
    if (event.type === 'state' && event.state) {
      const { hello } = event.state
      if (hello.workerId !== workerId) throw new Error(`the worker on the socket of ${workerId} is ${hello.workerId}`)
      if (hello.protocolVersion > PROTOCOL_VERSION || hello.protocolVersion < OLDEST_PROTOCOL_VERSION) {
        throw new Error(
          `worker ${workerId} speaks protocol ${String(hello.protocolVersion)}, this supervisor ${String(PROTOCOL_VERSION)}`,
        )
      }
      link.process ??= { pid: hello.pid, startTicks: hello.startTicks, bootId: hello.bootId }
      options.post({ type: 'workerState', workerId, state: event.state })
    } else if (event.type === 'service' && event.service) {
      options.post({ type: 'serviceChanged', workerId, service: event.service })
    } else if (event.type === 'removed' && event.name !== undefined && event.revision !== undefined) {
      options.post({ type: 'serviceRemoved', workerId, name: event.name, revision: event.revision })
    } else if (event.type === 'alive') {
      options.post({ type: 'workerIsAlive', workerId })
    }
  }

  async function end(workerId: string, link: Link): Promise<void> {
    await link.reaped
    links.delete(workerId)
    link.stop.abort()
    link.client.close()
    // Before the loop hears of it: after that a directory of the same name may be made again.
    await rm(directoryOf(workerId), { recursive: true, force: true }).catch(() => undefined)
    options.post({ type: 'workerExited', workerId, message: link.exit || 'its process has ended' })
  }

  async function call(
    workerId: string,
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; body: unknown }> {
    const reply = await linkOf(workerId).client.request(method, path, { body, timeoutMs: CALL_TIMEOUT_MS })
    if (reply.status < 300 || reply.status === 404) return reply
    const refusal = ErrorReply.safeParse(reply.body)
    throw new Error(
      refusal.success ? `the worker refused it: ${refusal.data.message}` : `the worker answered ${String(reply.status)}`,
    )
  }

  return {
    async adopt() {
      for (const entry of await readdir(options.runDir, { withFileTypes: true })) {
        const shard = Number(UNRECORDED.exec(entry.name)?.[1])
        if (!entry.isDirectory() || !Number.isInteger(shard)) continue
        const record = await readRecord(join(options.runDir, entry.name))
        if (record && !isAlive(record)) {
          await rm(join(options.runDir, entry.name), { recursive: true, force: true })
          continue
        }
        options.post({ type: 'workerFound', workerId: entry.name, shard, process: record })
        void follow(entry.name, addLink(entry.name, shard, record))
      }
    },

    spawn(workerId, shard) {
      const link = addLink(workerId, shard, null)
      const directory = directoryOf(workerId)
      const args = ['--id', workerId, '--shard', String(shard), '--dir', directory]
      const logFile = join(logDirectory(options.stateDir), `shard-${String(shard)}.log`)
      try {
        mkdirSync(directory, { mode: 0o700 })
        const child = execa(options.binary, [...args, '--log-file', logFile, ...options.workerArguments()], {
          env: Object.fromEntries(Object.entries(options.env).filter(([name]) => PASSED_ON.test(name))),
          extendEnv: false,
          // A session of its own and no pipe: nothing of this supervisor's end reaches it.
          detached: true,
          cleanup: false,
          stdio: 'ignore',
          reject: false,
        })
        child.unref()
        link.reaped = child.then((result) => {
          // Without the command line, which shortMessage has: the reason is for a table.
          const code =
            result.exitCode === undefined
              ? (result.originalMessage ?? 'it could not be started')
              : `exit code ${String(result.exitCode)}`
          link.exit = result.signal ? `killed by ${result.signal}` : code
        })
        if (child.pid !== undefined) link.process = identify(child.pid)
        if (link.process) options.post({ type: 'workerSpawned', workerId, process: link.process })
      } catch (error) {
        link.exit = (error as Error).message
      }
      void follow(workerId, link)
    },

    async put(workerId, spec: ServiceSpec) {
      return understand(ServiceStatus, (await call(workerId, 'PUT', `/v1/services/${spec.name}`, spec)).body)
    },

    async delete(workerId, name, drainMs) {
      return (await call(workerId, 'DELETE', `/v1/services/${name}?drainMs=${String(drainMs)}`)).status !== 404
    },

    async shutdown(workerId, drainMs) {
      await call(workerId, 'POST', `/v1/shutdown?drainMs=${String(drainMs)}`)
    },

    kill(workerId) {
      const link = links.get(workerId)
      if (!link) return
      if (link.process) killProcess(link.process)
      // Found without a record and silent: nothing ever came up there.
      else link.exit ||= 'it never came up'
    },

    async metrics() {
      const texts = await Promise.allSettled([...links.values()].map((link) => link.client.text('/metrics', 2000)))
      return texts.flatMap((text) => (text.status === 'fulfilled' ? [text.value] : []))
    },

    close() {
      for (const link of links.values()) {
        link.stop.abort()
        link.client.close()
      }
      links.clear()
    },
  }
}

/** What a worker said, if it is what the protocol promises. */
function understand<T>(shape: z.ZodType<T>, said: unknown): T {
  const parsed = shape.safeParse(said)
  if (parsed.success) return parsed.data
  throw new Error(`the worker does not keep the protocol: ${z.prettifyError(parsed.error).replaceAll(/\s+/g, ' ')}`)
}

/** What the worker wrote about itself; null when there is nothing (yet) or it is damaged. */
async function readRecord(directory: string): Promise<ProcessIdentity | null> {
  try {
    const { pid, startTicks, bootId } = Hello.parse(JSON.parse(await readFile(join(directory, 'worker.json'), 'utf8')))
    return { pid, startTicks, bootId }
  } catch {
    return null
  }
}
