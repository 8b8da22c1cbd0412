/**
 * Everything that can go wrong, at random and for minutes, over real nodes and under load. What must hold: in the end every
 * service answers, no node was ever live twice, no request failed that had nothing to do with what was broken, and nothing is
 * left behind. TSNSRV_CHAOS_SECONDS and TSNSRV_CHAOS_SEED ask for a longer or for the same one again.
 */
import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { tryKill } from '../../demo/leftovers.ts'
import type { Status } from '../../shared/api.ts'
import { clockEnvironment, setClock } from './clock.ts'
import { type Failure, startLoad } from './load.ts'
import { type ServiceKeys, Stack, type SupervisorProcess, allReady, binaries, serviceNames } from './stack.ts'

const SECONDS = Number(process.env.TSNSRV_CHAOS_SECONDS ?? 60)
const SEED = Number(process.env.TSNSRV_CHAOS_SEED ?? 1)
/** What is broken may be felt so long after it is mended: a client's packet is sent again after 1, 3 and 7 s. */
const AFTERMATH_MS = 8000

const DAY_MS = 86_400_000

const run = promisify(execFile)
const names = serviceNames(9)

let stack: Stack
/** What the stack is broken with. */
let tools: string
let disk: string | undefined
beforeEach(async () => {
  tools = await mkdtemp(join(tmpdir(), 'tsnsrv-chaos-'))
})
afterEach(async () => {
  await stack.end()
  await rm(tools, { recursive: true })
  if (disk !== undefined) {
    await run('umount', [disk])
    await rm(disk, { recursive: true })
    disk = undefined
  }
})

/** Services that may fail for a while, as something was done to them. */
interface Excuse {
  readonly services: Set<string>
  readonly from: number
  to: number
}

const clock = (at: number) => new Date(at).toISOString().slice(11, 23)
const describeFailure = ({ service, problem, from, to }: Failure) => `${clock(from)} to ${clock(to)} ${service}: ${problem}`

/** All are ready, or shut away. */
const isCalm = ({ services }: Status) => services.every(({ ready, reason }) => ready || reason === 'Quarantined')

/** The services of a worker, and those on their way to it or from it. */
function namesOf(workerPid: number, { shards, services, moves }: Status): string[] {
  const { shard } = shards.find((each) => each.workerPid === workerPid) ?? {}
  const moving = moves.filter(({ from, to }) => from === shard || to === shard)
  return [...services.filter((service) => service.shard === shard), ...moving].map(({ name }) => name)
}

class Chaos {
  readonly excuses: Excuse[] = []
  /** Of workers that were hit, while the next blows fall. */
  readonly recoveries: Promise<void>[] = []
  readonly done: string[] = []
  supervisor: SupervisorProcess

  constructor(supervisor: SupervisorProcess) {
    this.supervisor = supervisor
  }

  /** Does one thing; what it breaks is whole again, or about to be, when it resolves. */
  async strike(what: Blow, ms: number, pick: number): Promise<void> {
    const begun = Date.now()
    await this[what](ms, pick)
    this.done.push(`${clock(begun)} to ${clock(Date.now())} ${what} ${ms} ${pick}`)
    await this.release()
  }

  /** Gives back services that were taken for culprits, as their workers were killed again and again. */
  async release(): Promise<void> {
    const status = await stack.status().catch(() => undefined)
    for (const { name } of status?.services.filter(({ reason }) => reason === 'Quarantined') ?? []) {
      this.done.push(`${clock(Date.now())} release ${name}`)
      const excuse = this.#excuse([name])
      await stack.cli('release', name, '--config', stack.configFile)
      await stack.until(isCalm, 'it is back', 60_000).catch(() => undefined)
      excuse.to = Date.now() + AFTERMATH_MS
    }
  }

  async killWorker(_ms: number, pick: number): Promise<void> {
    await this.#withWorker(pick, (pid) => {
      tryKill(pid, 'SIGKILL')
      return Promise.resolve(false)
    })
  }

  async stopWorker(ms: number, pick: number): Promise<void> {
    await this.#withWorker(pick, async (pid) => {
      tryKill(pid, 'SIGSTOP')
      await delay(ms)
      tryKill(pid, 'SIGCONT')
      return true
    })
  }

  /** Each worker that is started meanwhile speaks garbage; so does the one that follows this worker. */
  async speakGarbage(ms: number, pick: number): Promise<void> {
    await this.#withWorker(pick, async (pid) => {
      await writeFile(garbageFile(), '')
      tryKill(pid, 'SIGKILL')
      await delay(ms)
      await rm(garbageFile())
      return false
    })
  }

  async killSupervisor(ms: number): Promise<void> {
    this.supervisor.kill('SIGKILL')
    await this.supervisor.ended
    await delay(ms / 4)
    this.supervisor = stack.start()
  }

  async stopSupervisor(ms: number): Promise<void> {
    this.supervisor.kill('SIGSTOP')
    await delay(ms)
    this.supervisor.kill('SIGCONT')
  }

  async breakStateFile(ms: number, pick: number): Promise<void> {
    this.supervisor.kill('SIGKILL')
    await this.supervisor.ended
    const file = join(stack.stateDir, '.supervisor', 'state.json')
    const text = await readFile(file, 'utf8').catch(() => '')
    if (pick % 3 === 0) await truncate(file, Math.floor(text.length / 2)).catch(() => undefined)
    else if (pick % 3 === 1) await writeFile(file, text.replaceAll(/\d/g, 'x'))
    else await rm(file, { force: true })
    await delay(ms / 10)
    this.supervisor = stack.start()
  }

  async pauseControl(ms: number): Promise<void> {
    await stack.labAPI('pause', 'POST')
    await delay(ms)
    await stack.labAPI('resume', 'POST')
  }

  async fillDisk(ms: number): Promise<void> {
    if (disk === undefined) return
    const filler = join(disk, 'filler')
    await run('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1M']).catch(() => undefined)
    await delay(ms)
    await rm(filler)
  }

  /** Reloads in a row: services come and go, and change; svc0 to svc5 stay as they are. */
  async reload(_ms: number, pick: number): Promise<void> {
    const excuse = this.#excuse(names.slice(6))
    for (let i = 0; i < 10; i++) {
      const variant = stack.services(9).filter((_, n) => n < 6 || (pick + i + n) % 3 !== 0)
      await stack.configure(
        variant.map((service, n): ServiceKeys => (n === 6 ? { ...service, suppressWhois: i % 2 === 0 } : service)),
      )
      await stack.cli('reload', '--config', stack.configFile)
    }
    await stack.configure(stack.services(9))
    await stack.cli('reload', '--config', stack.configFile)
    await stack.until(({ services }) => services.length === 9, 'all services are wanted').catch(() => undefined)
    excuse.to = Date.now() + AFTERMATH_MS
  }

  /** The time of day is wrong for a while, by up to a day. How much time has passed is another clock. */
  async setClock(ms: number, pick: number): Promise<void> {
    const wallMs = Math.round((pick / 500 - 1) * DAY_MS)
    await setClock(clockFile(), { wallMs, elapsedMs: 0 })
    await delay(ms)
    await rm(clockFile())
  }

  async order(_ms: number, pick: number): Promise<void> {
    const orders = [
      ['move', names[pick % 9] ?? '', '--to', 'new'],
      ['move', names[pick % 9] ?? '', '--to', String(1 + (pick % 3))],
      ['drain', String(1 + (pick % 3))],
      ['uncordon', String(1 + (pick % 3))],
      ['scale', '--shards', pick % 2 === 0 ? '4' : 'auto'],
      ['rebalance'],
      ['upgrade-workers', '--all'],
    ]
    // It may be refused, and the supervisor may be away.
    await stack.cli(...(orders[pick % orders.length] ?? []), '--config', stack.configFile)
  }

  /** `act` tells whether the worker lives afterwards. */
  async #withWorker(pick: number, act: (pid: number) => Promise<boolean>): Promise<void> {
    const status = await stack.status().catch(() => undefined)
    const shard = status?.shards[pick % status.shards.length]
    if (!status || !shard?.workerPid) return
    const { workerPid } = shard
    const excuse = this.#excuse(namesOf(workerPid, status))
    const lives = await act(workerPid)
    const isOver = (now: Status) => {
      // Until the supervisor has noticed, it may send more there.
      for (const name of namesOf(workerPid, now)) excuse.services.add(name)
      return isCalm(now) && (lives || now.shards.every((each) => each.workerPid !== workerPid))
    }
    this.recoveries.push(
      stack
        .until(isOver, 'all are back', 90_000)
        .catch(() => undefined)
        .then(() => {
          excuse.to = Date.now() + AFTERMATH_MS
        }),
    )
  }

  #excuse(services: readonly string[]): Excuse {
    const excuse = { services: new Set(services), from: Date.now(), to: Number.POSITIVE_INFINITY }
    this.excuses.push(excuse)
    return excuse
  }

  isExcused(failure: Failure): boolean {
    return this.excuses.some(({ services, from, to }) => services.has(failure.service) && failure.from < to && failure.to > from)
  }
}

const BLOWS = [
  'killWorker',
  'stopWorker',
  'speakGarbage',
  'killSupervisor',
  'stopSupervisor',
  'breakStateFile',
  'pauseControl',
  'fillDisk',
  'setClock',
  'reload',
  'order',
] as const
type Blow = (typeof BLOWS)[number]

const clockFile = () => join(tools, 'clock.json')
const garbageFile = () => join(tools, 'garbage')

/** A worker binary that is the real one, or one that speaks garbage while `garbageFile` is there. */
async function garbageWorker(): Promise<string> {
  const path = join(tools, 'tsnsrv-worker')
  const garbage = join(import.meta.dirname, '..', 'integration', 'workers', 'tellsGarbage.mjs')
  const choice = `if [ -e '${garbageFile()}' ]; then exec '${garbage}' "$@"; else exec '${binaries.worker}' "$@"; fi`
  await writeFile(path, `#!/bin/sh\n${choice}\n`)
  await chmod(path, 0o755)
  return path
}

/** The same numbers for the same seed. */
function blows(): [Blow, number, number][] {
  const blow = fc.tuple(fc.constantFrom(...BLOWS, 'order' as const), fc.integer({ min: 200, max: 6000 }), fc.nat(1000))
  return fc.sample(blow, { numRuns: 10_000, seed: SEED })
}

it(
  `survives ${String(SECONDS)} s of everything (seed ${String(SEED)})`,
  async () => {
    const env = { ...clockEnvironment(clockFile()), TSNSRV_SUP_WORKER_BINARY: await garbageWorker() }
    stack = await Stack.create({ upstreams: 9, shardSize: 4, env })
    if (process.geteuid?.() === 0) {
      // A disk that can be filled without harm.
      disk = await mkdtemp(join(tmpdir(), 'tsnsrv-chaos-'))
      await run('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', disk])
      stack.stateDir = join(disk, 'state')
    }
    await stack.configure(stack.services(9))
    const chaos = new Chaos(await stack.startReady())
    const load = startLoad(stack.lab, names, 50)
    const end = Date.now() + SECONDS * 1000
    for (const [what, ms, pick] of blows()) {
      if (Date.now() > end) break
      await chaos.strike(what, ms, pick)
    }
    await chaos.release()
    for (const shard of [1, 2, 3, 4, 5]) await stack.cli('uncordon', String(shard), '--config', stack.configFile)
    const calm = (status: Status) => allReady(status) && status.services.length === 9 && status.moves.length === 0
    await stack.until(calm, 'everything is calm', 120_000)
    await Promise.all(chaos.recoveries)
    await load.answers(100)
    const { failed, ok } = await load.stop()
    console.log(`${chaos.done.length} blows, ${ok} requests answered, ${failed.length} failed`)
    for (const name of names) await stack.whoAnswers(name)
    const unexcused = failed.filter((failure) => !chaos.isExcused(failure))
    expect(unexcused.map(describeFailure), chaos.done.join('\n')).toEqual([])
    const sessions = await stack.sessions()
    expect(sessions.filter(({ twice }) => twice > 0)).toEqual([])
    expect((await stack.nodes()).filter(({ hostname }) => /-\d+$/.test(hostname))).toEqual([])
    const { shards } = await stack.status()
    expect(shards.length).toBeLessThanOrEqual(9)
  },
  (SECONDS + 600) * 1000,
)
