/**
 * Finds and ends orphans: workers that no supervisor follows. An orphan is found by its run directory, or by the locks of the nodes
 * that it runs. It gets a signal only if it is certain that the process is this worker.
 */
import { rm } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { Hello } from '../../shared/protocol.ts'
import { inWords } from '../../shared/systemErrors.ts'
import { maySignal } from '../core/standing.ts'
import type { EndedOrphan, Orphan, ProcessIdentity } from '../core/types.ts'
import { type NodeDirectories, holdsNode, nodeHolders } from './nodeLocks.ts'
import { identify, look, trySignal, withoutStart } from './processIdentity.ts'
import { createSocketClient } from './socketClient.ts'
import {
  type WorkerDirectory,
  findWorkerDirectories,
  isDeserted,
  probeSocket,
  standingOf,
  workerSocketPath,
} from './workerDirectory.ts'

export interface OrphanSearch {
  readonly runDir: string
  readonly nodes: NodeDirectories
  /** Ids of the workers that a supervisor follows: they are no orphans. */
  readonly followed: ReadonlySet<string>
}

/** A worker that gets SIGTERM drains for so long (control.DefaultDrain). */
const SIGNAL_DRAIN_MS = 10_000
/** After its drain, a worker closes its nodes within this time. */
const CLOSING_MS = 5000
const KILL_MS = 5000
const ANSWER_MS = 2000
const LOOK_MS = 50

interface Found {
  readonly orphan: Orphan
  /** Null when it is not known, or not certain, which process it is. */
  readonly process: ProcessIdentity | null
}

/** Resolves with all orphans. Never rejects. */
export async function findOrphans(search: OrphanSearch): Promise<Orphan[]> {
  return (await find(search)).map(({ orphan }) => orphan)
}

/**
 * Ends all orphans: each drains and closes its nodes, and is killed if it does not. Resolves with what became of each. Never rejects.
 */
export async function endOrphans(search: OrphanSearch, drainMs: number): Promise<EndedOrphan[]> {
  const found = await find(search)
  return Promise.all(
    found.map(async ({ orphan, process }) => {
      const problem = await end(orphan, process, search.nodes, drainMs).catch((error: unknown) => inWords(error))
      if (problem === '' && orphan.directory !== '') await rm(orphan.directory, { recursive: true, force: true })
      return { ...orphan, problem }
    }),
  )
}

async function find({ runDir, nodes, followed }: OrphanSearch): Promise<Found[]> {
  const found = new Map<string, Found>()
  const directories = await findWorkerDirectories(runDir).catch(() => [])
  const looks = directories.filter(({ workerId }) => !followed.has(workerId)).map(lookInto)
  for (const one of await Promise.all(looks)) if (one) found.set(one.orphan.workerId, one)
  for (const { service, workerId, pid, isCertain } of await nodeHolders(nodes)) {
    if (followed.has(workerId)) continue
    const process = isCertain ? (identify(pid) ?? withoutStart(pid)) : null
    const known = found.get(workerId) ?? { orphan: { workerId, pid, services: [], directory: '', isCertain }, process }
    const services = [...known.orphan.services, service].sort()
    found.set(workerId, { ...known, orphan: { ...known.orphan, services, isCertain: known.orphan.isCertain || isCertain } })
  }
  return [...found.values()]
}

/** Resolves with null when the worker of the directory has ended. */
async function lookInto(directory: WorkerDirectory): Promise<Found | null> {
  if ((await standingOf(directory)) === 'gone' || (await isDeserted(directory, 0))) return null
  const { workerId, path } = directory
  const answered = await ask(path)
  const process = answered ?? directory.process
  const isCertain = answered !== null || (process !== null && look(process) === 'same')
  return { orphan: { workerId, pid: process?.pid ?? null, services: [], directory: path, isCertain }, process }
}

/** Resolves with the reason why the orphan still runs; empty when it has ended. */
async function end(orphan: Orphan, process: ProcessIdentity | null, nodes: NodeDirectories, drainMs: number): Promise<string> {
  const { directory } = orphan
  const signal = async (name: 'SIGTERM' | 'SIGKILL') =>
    process !== null && maySignal(look(process), await holdsNode(process.pid, nodes)) && trySignal(process.pid, name)
  const endsWithin = async (timeoutMs: number) => {
    const deadline = performance.now() + timeoutMs
    while (performance.now() < deadline) {
      if (await hasEnded(directory, process)) return true
      await delay(LOOK_MS)
    }
    return false
  }
  const isTold = (await shutDown(directory, drainMs)) || (await signal('SIGTERM'))
  if (isTold && (await endsWithin(Math.max(drainMs, SIGNAL_DRAIN_MS) + CLOSING_MS))) return ''
  const isKilled = await signal('SIGKILL')
  if (await endsWithin(isKilled ? KILL_MS : LOOK_MS)) return ''
  if (isTold || isKilled) return 'it was told to end and has not'
  return 'it does not answer, and this host does not show that its process is a worker: it got no signal'
}

async function hasEnded(directory: string, process: ProcessIdentity | null): Promise<boolean> {
  if (directory !== '') return (await standingOf({ path: directory, process })) === 'gone'
  const sign = process === null ? 'hidden' : look(process)
  return sign === 'none' || sign === 'other'
}

/** Resolves with the process that the worker in the directory says it is; null when it does not answer. */
async function ask(directory: string): Promise<ProcessIdentity | null> {
  const reply = await call(directory, 'GET', '/v1/hello')
  const hello = Hello.safeParse(reply?.body)
  return hello.success ? { pid: hello.data.pid, startTicks: hello.data.startTicks, bootId: hello.data.bootId } : null
}

/** Asks the worker to end. Resolves with whether it has accepted. */
async function shutDown(directory: string, drainMs: number): Promise<boolean> {
  if (directory === '') return false
  const reply = await call(directory, 'POST', `/v1/shutdown?drainMs=${String(drainMs)}`)
  return reply !== null && reply.status < 300
}

async function call(directory: string, method: string, path: string) {
  const socketPath = workerSocketPath(directory)
  if ((await probeSocket(socketPath)) !== 'accepts') return null
  const client = createSocketClient(socketPath)
  try {
    return await client.request(method, path, { timeoutMs: ANSWER_MS })
  } catch {
    return null
  } finally {
    client.close()
  }
}
