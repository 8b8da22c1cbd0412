/**
 * The workers as processes and sockets: forks them, finds those that an earlier supervisor left, follows what each tells,
 * and passes calls on. Decides nothing.
 */
import { mkdirSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import * as z from 'zod'
import { fromWorker, toWorker } from '../../shared/olderProtocol.ts'
import { ErrorReply, OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, ServiceStatus, WorkerEvent } from '../../shared/protocol.ts'
import type { ServiceSpec } from '../../shared/protocol.ts'
import { inWords } from '../../shared/systemErrors.ts'
import type { EndedWorker, Fleet } from '../core/ports.ts'
import { maySignal } from '../core/standing.ts'
import type { Event, ProcessIdentity } from '../core/types.ts'
import { type NodeDirectories, holdsNode, nodeDirectories } from './nodeLocks.ts'
import { type OrphanSearch, endOrphans, findOrphans } from './orphans.ts'
import { identify, look, trySignal } from './processIdentity.ts'
import { type SocketClient, SocketError, createSocketClient } from './socketClient.ts'
import { logDirectory } from './stateFile.ts'
import { findWorkerDirectories, isDeserted, standingOf, workerSocketPath } from './workerDirectory.ts'

export interface FleetOptions {
  /** Path of tsnsrv-worker. */
  readonly binary: string
  readonly stateDir: string
  readonly runDir: string
  /** Arguments beside identity and paths: how each worker is tuned. Read at each spawn. */
  readonly workerArguments: () => readonly string[]
  /** Directories of nodes, beside those in the state directory. */
  readonly nodes: () => NodeDirectories
  /** How often a worker tells what its services have counted, at most. */
  readonly reportMs: number
  /** The supervisor's environment; workers are given only what is on their list. */
  readonly env: NodeJS.ProcessEnv
  readonly post: (event: Event) => void
}

/** A worker says "alive" every 10 s; when two are missing, the connection is looked at again. */
const SILENCE_MS = 25_000
const CALL_TIMEOUT_MS = 10_000
/** A worker writes its record within milliseconds of its start, and on a very busy machine within this time. */
const STARTING_MS = 10_000
/** How often the supervisor tries to reach a worker that it has left. */
const LEFT_PAUSE_MS = 10_000
/** What a worker has at hand it answers within milliseconds. One that takes longer than this is silent. */
const SILENT_AFTER_MS = 2000
/** A scrape waits so long for workers: many give up after a second. What comes later counts in the next one. */
const METRICS_PATIENCE_MS = 300

/** What a worker may see of the environment: no secret, and what Go and tailscale read. */
const PASSED_ON =
  /^(PATH|HOME|LANG|TZ|TMPDIR|SSL_CERT_(FILE|DIR)|(HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy|GO(DEBUG|GC|MAXPROCS|MEMLIMIT|TRACEBACK)|TS_DEBUG_\w+|TS_NO_LOGS_NO_SUPPORT|TSNSRV_WORKER_DISABLE)$/

interface Link {
  readonly shard: number
  readonly client: SocketClient
  readonly stop: AbortController
  process: ProcessIdentity | null
  /** Of the protocol that it speaks. */
  version: number
  /** Sends SIGKILL to a child of this process, and can reach no other process; null for an adopted worker. */
  killChild: (() => void) | null
  /** What it has been asked and has not answered yet, by path. */
  readonly questions: Map<string, Promise<void>>
  /** It has left a question unanswered for too long, and has said nothing since. */
  isSilent: boolean
  /** How it ended; empty while it lives, and for an adopted worker, which is nobody's child and tells nothing. */
  exit: string
  /** Settles once a child of this process has told how it ended. */
  reaped: Promise<void>
  /** The worker could be neither reached nor ended: the loop counts it as an orphan until it answers again. */
  isLeft: boolean
}

/** The fleet of the workers whose directories are in `runDir`. */
export function createFleet(options: FleetOptions): Fleet {
  const links = new Map<string, Link>()
  const directoryOf = (workerId: string) => join(options.runDir, workerId)

  function addLink(workerId: string, shard: number, process: ProcessIdentity | null): Link {
    const client = createSocketClient(workerSocketPath(directoryOf(workerId)))
    const stop = new AbortController()
    const reaped = Promise.resolve()
    const unheard = { questions: new Map<string, Promise<void>>(), isSilent: false, isLeft: false, version: PROTOCOL_VERSION }
    const link: Link = { shard, client, stop, process, killChild: null, exit: '', reaped, ...unheard }
    links.set(workerId, link)
    return link
  }

  /** Whether the worker has certainly ended. The end of a child is reported to its parent; that of an adopted worker is judged. */
  async function hasEnded(workerId: string, { process, killChild, exit }: Link): Promise<boolean> {
    if (exit !== '') return true
    if (!killChild) return (await standingOf({ path: directoryOf(workerId), process })) === 'gone'
    const sign = process === null ? 'hidden' : look(process)
    return sign === 'none' || sign === 'other'
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
            tell(workerId, link, understand(WorkerEvent, fromWorker(line)))
          },
          signal,
          { idleTimeoutMs: SILENCE_MS },
        )
      } catch (error) {
        problem = inWords(error)
        // Words, too, if none of the protocol's.
        stream.heard ||= error instanceof SocketError && error.code === 'BAD_REPLY'
      }
      if (letGo()) return
      if (await hasEnded(workerId, link)) {
        await end(workerId, link)
        return
      }
      if (stream.heard) options.post({ type: 'workerLost', workerId, message: problem })
      await delay(link.isLeft ? LEFT_PAUSE_MS : pauseMs, undefined, { signal }).catch(() => undefined)
    }
  }

  function tell(workerId: string, link: Link, event: WorkerEvent): void {
    link.isSilent = false
    if (event.type === 'state' && event.state) {
      const { hello } = event.state
      if (hello.workerId !== workerId) throw new Error(`the worker on the socket of ${workerId} is ${hello.workerId}`)
      if (hello.protocolVersion > PROTOCOL_VERSION || hello.protocolVersion < OLDEST_PROTOCOL_VERSION) {
        throw new Error(
          `worker ${workerId} speaks protocol ${String(hello.protocolVersion)}, this supervisor ${String(PROTOCOL_VERSION)}`,
        )
      }
      link.version = hello.protocolVersion
      // The worker's own words count more than its record. A child needs neither.
      if (!link.killChild) link.process = { pid: hello.pid, startTicks: hello.startTicks, bootId: hello.bootId }
      if (link.isLeft) {
        link.isLeft = false
        options.post({ type: 'workerFound', workerId, shard: link.shard, process: link.process })
      }
      options.post({ type: 'workerState', workerId, state: event.state })
    } else if (event.type === 'service' && event.service) {
      options.post({ type: 'serviceChanged', workerId, service: event.service })
    } else if (event.type === 'removed' && event.name !== undefined && event.revision !== undefined) {
      options.post({ type: 'serviceRemoved', workerId, name: event.name, revision: event.revision })
    } else if (event.type === 'alive') {
      options.post({ type: 'workerIsAlive', workerId })
    }
  }

  /**
   * Asks a worker for what it has at hand, unless the same is asked already. It is silent when it lets it wait, and until the answer
   * has come, however late, or it has said something by itself. Never rejects.
   */
  function ask(workerId: string, link: Link, path: string, take: (text: string) => void): Promise<void> {
    const asked = link.questions.get(path)
    if (asked) return asked
    const fallSilent = () => {
      if (link.questions.get(path) !== question) return
      link.isSilent = true
      options.post({ type: 'workerSilent', workerId })
    }
    // What has arrived while this process was busy or stopped itself is read before.
    const timer = setTimeout(() => setImmediate(fallSilent), SILENT_AFTER_MS)
    const question = link.client
      .text(path, SILENCE_MS)
      .then((text) => {
        if (links.get(workerId) !== link) return
        if (link.isSilent) options.post({ type: 'workerAnswered', workerId })
        link.isSilent = false
        take(text)
      })
      // Why there is none is told by the event stream, if it matters.
      .catch(() => undefined)
      .finally(() => {
        clearTimeout(timer)
        link.questions.delete(path)
      })
    link.questions.set(path, question)
    return question
  }

  /** What a worker left of its counters when it ended; nothing if it was killed. */
  async function tellLastMetrics(workerId: string): Promise<void> {
    const text = await readFile(join(directoryOf(workerId), 'metrics'), 'utf8').catch(() => '')
    if (text !== '') options.post({ type: 'metricsRead', workerId, text })
  }

  async function end(workerId: string, link: Link): Promise<void> {
    await link.reaped
    links.delete(workerId)
    link.stop.abort()
    link.client.close()
    await tellLastMetrics(workerId)
    // Before the loop hears of it: after that a directory of the same name may be made again.
    await rm(directoryOf(workerId), { recursive: true, force: true }).catch(() => undefined)
    options.post({ type: 'workerExited', workerId, message: link.exit || 'its process has ended' })
  }

  /** Kills an adopted worker if it is certain which process it is. If not, the worker is left. */
  async function killAdopted(workerId: string, link: Link): Promise<void> {
    const directory = directoryOf(workerId)
    if (!link.process) {
      // The loop kills it only after it has had its time to come up.
      if (await isDeserted({ path: directory, process: null }, 0)) link.exit ||= 'it never came up'
      else leave(workerId, link, false)
      return
    }
    const sign = look(link.process)
    const holds = sign === 'hidden' && (await holdsNode(link.process.pid, await allNodes()))
    const isKilled = maySignal(sign, holds) && trySignal(link.process.pid, 'SIGKILL')
    if (!isKilled && !(await hasEnded(workerId, link))) leave(workerId, link, false)
  }

  function leave(workerId: string, link: Link, isCertain: boolean): void {
    link.isLeft = true
    const pid = link.process?.pid ?? null
    options.post({
      type: 'workerLeft',
      workerId,
      orphan: { workerId, pid, services: [], directory: directoryOf(workerId), isCertain },
    })
  }

  const allNodes = async () => new Map([...(await nodeDirectories(options.stateDir)), ...options.nodes()])

  async function orphanSearch(): Promise<OrphanSearch> {
    const nodes = await allNodes()
    const followed = new Set([...links].filter(([, { isLeft }]) => !isLeft).map(([workerId]) => workerId))
    return { runDir: options.runDir, nodes, followed }
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
      const ended: EndedWorker[] = []
      for (const directory of await findWorkerDirectories(options.runDir)) {
        const { workerId, shard, path, process } = directory
        if ((await standingOf(directory)) === 'gone' || (await isDeserted(directory, STARTING_MS))) {
          await tellLastMetrics(workerId)
          await rm(path, { recursive: true, force: true })
          ended.push({ workerId, shard, pid: process?.pid ?? null })
          continue
        }
        options.post({ type: 'workerFound', workerId, shard, process })
        void follow(workerId, addLink(workerId, shard, process))
      }
      return ended
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
        link.killChild = () => void child.kill('SIGKILL')
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
        link.exit = inWords(error)
      }
      void follow(workerId, link)
    },

    async put(workerId, spec: ServiceSpec) {
      const { version } = linkOf(workerId)
      const { body } = await call(workerId, 'PUT', `/v1/services/${spec.name}`, toWorker(version, spec))
      return understand(ServiceStatus, fromWorker(body))
    },

    async delete(workerId, name, drainMs) {
      return (await call(workerId, 'DELETE', `/v1/services/${name}?drainMs=${String(drainMs)}`)).status !== 404
    },

    async shutdown(workerId, drainMs) {
      await call(workerId, 'POST', `/v1/shutdown?drainMs=${String(drainMs)}`)
    },

    kill(workerId) {
      const link = links.get(workerId)
      if (!link || link.isLeft) return
      if (link.killChild) link.killChild()
      else
        killAdopted(workerId, link).catch((error: unknown) =>
          leave(workerId, link, (error as NodeJS.ErrnoException).code === 'EPERM'),
        )
    },

    findOrphans: async () => findOrphans(await orphanSearch()),

    endOrphans: async (drainMs) => endOrphans(await orphanSearch(), drainMs),

    ping() {
      for (const [workerId, link] of links) if (!link.isLeft) void ask(workerId, link, '/v1/hello', () => undefined)
    },

    async metrics() {
      const awaited = [...links].flatMap(([workerId, link]) => {
        if (link.isLeft) return []
        const isSilent = link.isSilent
        const reading = ask(workerId, link, '/metrics', (text) => options.post({ type: 'metricsRead', workerId, text }))
        return isSilent ? [] : [reading]
      })
      await Promise.race([Promise.all(awaited), delay(METRICS_PATIENCE_MS, undefined, { ref: false })])
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
