/**
 * A world for the loop: fake workers that keep the protocol, a clock that only moves when nothing else can happen, and a
 * fast-check scheduler that decides in which order answers and events arrive. State directories have locks as in reality,
 * and the world notes whenever two workers would have had one node.
 */
import type { Scheduler } from 'fast-check'
import { stringify } from 'yaml'
import { type ResolvedConfig, parseConfig } from '../../supervisor/config/parseConfig.ts'
import { defaultPatience } from '../../supervisor/core/patience.ts'
import type { Clock, Fleet } from '../../supervisor/core/ports.ts'
import { type Event, nothingRemembered, type Orphan, type Remembered } from '../../supervisor/core/types.ts'
import { UsageBook, nothingUsed } from '../../supervisor/core/usageBook.ts'
import { Loop } from '../../supervisor/loop.ts'
import { serviceStatus } from './serviceStatus.ts'
import { PROTOCOL_VERSION, type ServicePhase, type ServiceSpec, type ServiceStatus } from '../../shared/protocol.ts'

interface FakeWorker {
  readonly id: string
  readonly shard: number
  readonly pid: number
  readonly version: string
  readonly services: Map<string, ServiceStatus>
  /** Services whose node runs here, and whose directory is locked: until the last moment of draining, and not once failed. */
  readonly nodes: Set<string>
  /** What waits for another worker to let go of a directory. */
  readonly standbys: Map<string, ServiceSpec>
  draining: boolean
  /** Stopped by a signal: alive, and silent. */
  frozen: boolean
  /** The host does not show that its process is a worker, so that nobody may kill it. */
  hidden: boolean
  /** The supervisor has given it up; and has done so once, so that only the locks kept others from its nodes. */
  left: boolean
  wasLeft: boolean
}

/** Of one supervisor: what it had begun before it was killed may still arrive, but it begins nothing more. */
interface Life {
  over: boolean
}

export class World {
  readonly workers = new Map<string, FakeWorker>()
  /** Descriptions of moments in which two workers had one node. Must stay empty. */
  readonly conflicts: string[] = []
  /** Descriptions of new shards with a number that was cordoned, or that a living worker had. Must stay empty. */
  readonly reusedNumbers: string[] = []
  /** How often a node was started, by service. */
  readonly starts = new Map<string, number>()
  /** Services whose next so many starts fail. */
  readonly faults = new Map<string, number>()
  /** Services that end their worker as soon as they are up. */
  readonly poisons = new Set<string>()
  /** Ends of workers that nobody asked for, by what each had. */
  readonly deaths: string[][] = []
  /** Services that listen with TLS, and those of them whose directory has a certificate. */
  readonly tls = new Set<string>()
  readonly certified = new Set<string>()
  /** Orders of certificates in the order in which workers made them, and how many of each come to nothing. */
  readonly orders: { name: string; at: number }[] = []
  readonly lostOrders = new Map<string, number>()
  saved: Remembered = nothingRemembered
  diskIsFull = false
  /** How long a worker takes to come up. */
  spawnMs = 0
  /** Version of the workers that are started from now on. */
  installed = 'test'
  /** Time as it passes, and by how much the clock of the machine is ahead of it. */
  now = 1_000_000
  clockError = 0
  readonly #scheduler: Scheduler
  readonly #timers = new Set<{ at: number; callback: () => void }>()
  #post: ((event: Event) => void) | null = null
  #life: Life = { over: false }
  #nextPid = 100
  #revision = 1
  /** The last event told about each worker: what comes later on one stream arrives later. */
  readonly #tails = new Map<string, Promise<void>>()

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
  }

  /** The clock of one supervisor: it stands still once that has been killed. */
  #clock(life: Life): Clock {
    return {
      now: () => this.now + this.clockError,
      elapsed: () => this.now,
      wakeAt: (at, callback) => {
        // As the real one: it waits for so long, whatever becomes of the clock.
        const timer = { at: at - this.clockError, callback }
        if (!life.over) this.#timers.add(timer)
        return () => this.#timers.delete(timer)
      },
    }
  }

  /** A supervisor starts: adopts what lives, then applies the configuration. */
  start(config: ResolvedConfig, loadConfig: () => ResolvedConfig = () => config): Loop {
    const life: Life = { over: false }
    this.#life = life
    const loop = new Loop(
      {
        clock: this.#clock(life),
        createFleet: (post) => this.#fleet(post, life),
        loadConfig: () => Promise.resolve(loadConfig()),
        readConfig: ({ text, file }) => Promise.resolve(parseConfig(text, file, {}).config),
        save: (state) => {
          if (life.over) return new Promise(() => undefined)
          if (this.diskIsFull) return Promise.reject(new Error('no space left on device'))
          this.#checkNumbers(this.saved, state)
          this.saved = state
          return Promise.resolve()
        },
        authKey: () => Promise.resolve('tskey-auth-fake'),
        hasCredential: () => true,
        usage: new UsageBook(nothingUsed),
        workerVersion: () => Promise.resolve(this.installed),
        onTransition: () => undefined,
      },
      { version: 'test', pid: 1, configFile: 'test.yaml' },
      config,
      this.saved,
      defaultPatience,
    )
    void loop.start()
    return loop
  }

  /** Notes new shards whose number was not free. What an adopted worker runs makes its shard no new one. */
  #checkNumbers(before: Remembered, after: Remembered): void {
    const old = new Set(destinations(before).map(([, shard]) => shard))
    for (const { from } of before.moves.values()) old.add(from)
    for (const [name, shard] of destinations(after)) {
      if (old.has(shard)) continue
      if (before.rebalancing.cordoned.has(shard)) this.reusedNumbers.push(`${name}: shard ${String(shard)} is cordoned`)
      for (const worker of this.workers.values()) {
        if (worker.shard !== shard || worker.left || worker.services.has(name)) continue
        this.reusedNumbers.push(`${name}: shard ${String(shard)} has the worker ${worker.id}`)
      }
    }
  }

  /** The supervisor is killed: its timers and calls are gone, the workers live on. */
  killSupervisor(): void {
    this.#life.over = true
    this.#post = null
    this.#timers.clear()
  }

  /** The worker is stopped by a signal: alive, silent, and its stream is noticed to be dead. */
  freeze(worker: FakeWorker): void {
    worker.frozen = true
    void this.#tell({ type: 'workerLost', workerId: worker.id, message: 'no word for 25 s' })
  }

  /** The worker is stopped by a signal, and has left a question unanswered; its stream is not missed yet. */
  stall(worker: FakeWorker): void {
    worker.frozen = true
    void this.#tell({ type: 'workerSilent', workerId: worker.id })
  }

  /** It goes on, and answers what it was asked. */
  resume(worker: FakeWorker): void {
    worker.frozen = false
    void this.#tell({ type: 'workerAnswered', workerId: worker.id })
  }

  /** Those that were hidden go on, and are heard again, as long as a supervisor looks for them. */
  thawAll(): void {
    for (const worker of this.workers.values()) {
      if (!worker.hidden) continue
      worker.frozen = false
      worker.hidden = false
      if (worker.left) void this.#tell(foundOf(worker))
      worker.left = false
      void this.#tell(this.#stateOf(worker))
    }
  }

  #orphans(): Orphan[] {
    return [...this.workers.values()]
      .filter(({ left }) => left)
      .map(({ id, pid, nodes }) => ({ workerId: id, pid, services: [...nodes], directory: `/run/${id}`, isCertain: false }))
  }

  killWorker(id: string): void {
    const worker = this.workers.get(id)
    if (!worker) return
    this.workers.delete(id)
    if (!worker.draining) this.deaths.push([...worker.services.keys()].sort())
    void this.#tell({ type: 'workerExited', workerId: id, message: 'killed by SIGKILL' })
    for (const name of worker.nodes) this.#release(name)
  }

  /** The worker says unasked all that it runs, as it does now and then. */
  repeatState(worker: FakeWorker): void {
    void this.#tell(this.#stateOf(worker))
  }

  /** CPU of the workers is sampled: per cent of one core, by shard. */
  sample(cpuPercent: Readonly<Record<number, number>>): void {
    const usage = [...this.workers.values()].flatMap(({ id, shard }) => {
      const percent = cpuPercent[shard]
      return percent === undefined ? [] : [[id, { cpuPercent: percent, memoryBytes: 1, swapBytes: 0, cpuSeconds: 1 }] as const]
    })
    this.#post?.({ type: 'usageSampled', usage: new Map(usage) })
  }

  /** Somebody sets the clock of the machine, or it has slept: its workers are none the wiser. */
  setClock(byMs: number): void {
    this.clockError += byMs
  }

  /** Time passes in which nothing happens. */
  pass(ms: number): void {
    this.now += ms
  }

  /** Lets events and timers happen until nothing more can, or the number of steps is used up. Returns whether it is quiet. */
  async settle(steps = 5000): Promise<boolean> {
    for (let i = 0; i < steps; i++) {
      await new Promise((resolve) => setImmediate(resolve))
      if (this.#scheduler.count() > 0) await this.#scheduler.waitNext(1)
      else if (!this.#fireNextTimer()) return true
    }
    return false
  }

  /** Lets things happen until something holds. */
  async settleUntil(holds: () => boolean): Promise<void> {
    for (let steps = 0; !holds(); steps++) {
      if (steps > 5000) throw new Error('it never came to hold')
      await this.settle(1)
    }
  }

  /** Services that answer requests now, with the worker that runs each. */
  serving(): Map<string, FakeWorker> {
    const serving = new Map<string, FakeWorker>()
    for (const worker of this.workers.values()) {
      for (const status of worker.services.values()) if (status.phase === 'ready') serving.set(status.name, worker)
    }
    return serving
  }

  #fireNextTimer(): boolean {
    const [next] = [...this.#timers].sort((a, b) => a.at - b.at)
    if (!next) return false
    this.#timers.delete(next)
    this.now = Math.max(this.now, next.at)
    next.callback()
    return true
  }

  /** An event on its way to the supervisor that lives now. A later one never hears of it, as a broken stream would have it. */
  #tell(event: Event & { workerId: string }): Promise<void> {
    const post = this.#post
    const ofSupervisor = ['workerLost', 'workerLeft', 'workerSilent'].includes(event.type)
    const silent = this.workers.get(event.workerId)?.frozen === true && !ofSupervisor
    if (!post || silent) return Promise.resolve()
    const told = (this.#tails.get(event.workerId) ?? Promise.resolve())
      .then(() => this.#scheduler.schedule(Promise.resolve(), `${event.type} of ${event.workerId}`))
      .then(() => {
        if (this.#post === post) post(event)
      })
    this.#tails.set(event.workerId, told)
    return told
  }

  #stateOf(worker: FakeWorker) {
    return {
      type: 'workerState' as const,
      workerId: worker.id,
      state: {
        hello: {
          protocolVersion: PROTOCOL_VERSION,
          workerId: worker.id,
          shard: worker.shard,
          pid: worker.pid,
          startTicks: 1,
          bootId: 'boot',
          version: worker.version,
        },
        revision: this.#revision++,
        services: [...worker.services.values()],
      },
    }
  }

  #fleet(post: (event: Event) => void, life: Life): Fleet {
    this.#post = post
    const reach = async (id: string, what: string): Promise<FakeWorker> => {
      if (life.over) return new Promise(() => undefined)
      await this.#scheduler.schedule(Promise.resolve(), what)
      const worker = this.workers.get(id)
      if (!worker || worker.frozen) throw new Error(`worker ${id} does not answer`)
      return worker
    }
    return {
      adopt: () => {
        for (const worker of this.workers.values()) {
          worker.left = false
          post(foundOf(worker))
          if (!worker.frozen) void this.#tell(this.#stateOf(worker))
        }
        return Promise.resolve([])
      },
      spawn: (id, shard) => {
        const worker: FakeWorker = {
          id,
          shard,
          pid: this.#nextPid++,
          version: this.installed,
          services: new Map(),
          nodes: new Set(),
          standbys: new Map(),
          draining: false,
          frozen: false,
          hidden: false,
          left: false,
          wasLeft: false,
        }
        this.workers.set(id, worker)
        const come = () => void this.#tell(this.#stateOf(worker))
        if (this.spawnMs === 0) come()
        else this.#timers.add({ at: this.now + this.spawnMs, callback: come })
      },
      put: async (id, spec) => {
        const worker = await reach(id, `put ${spec.name}`)
        const status = this.#putService(worker, spec)
        await this.#scheduler.schedule(Promise.resolve(), `put ${spec.name} answered`)
        return status
      },
      delete: async (id, name) => {
        const worker = await reach(id, `delete ${name}`)
        if (!worker.services.has(name)) return false
        void this.#drain(worker, name)
        return true
      },
      shutdown: async (id) => {
        const worker = await reach(id, `shutdown ${id}`)
        worker.draining = true
        await Promise.all([...worker.services.keys()].map((name) => this.#drain(worker, name)))
        this.killWorker(id)
      },
      kill: (id) => {
        const worker = this.workers.get(id)
        if (worker?.hidden) {
          worker.left = true
          worker.wasLeft = true
          const [orphan] = this.#orphans().filter(({ workerId }) => workerId === id)
          if (orphan) void this.#tell({ type: 'workerLeft', workerId: id, orphan })
        } else this.killWorker(id)
      },
      findOrphans: () => Promise.resolve(this.#orphans()),
      endOrphans: () => {
        const orphans = this.#orphans()
        for (const { workerId } of orphans) this.killWorker(workerId)
        return Promise.resolve(orphans.map((orphan) => ({ ...orphan, problem: '' })))
      },
      ping: () => undefined,
      metrics: () => Promise.resolve(),
      close: () => {
        this.#post = null
      },
    }
  }

  #putService(worker: FakeWorker, spec: ServiceSpec): ServiceStatus {
    const running = worker.services.get(spec.name)
    if (running?.phase === 'draining' || worker.draining) throw new Error(`${spec.name} is being removed`)
    if (spec.orderCertificate === true && running?.certificate?.phase === 'missing') return this.#order(worker, running)
    if (running?.specHash === spec.specHash && running.phase !== 'failed') return running
    const holder = this.#holder(spec.name)
    if (holder && holder !== worker && spec.standby === true) {
      worker.standbys.set(spec.name, spec)
      return this.#set(worker, spec, 'standby')
    }
    // Nobody can know what a worker holds that is not heard; its lock does.
    if (holder?.wasLeft && holder !== worker) return this.#set(worker, spec, 'failed', { reason: 'StateDirLocked' })
    if (holder && holder !== worker) {
      this.conflicts.push(`${spec.name}: ${worker.id} was told to start it while ${holder.id} has it`)
      return this.#set(worker, spec, 'failed')
    }
    return this.#startNode(worker, spec)
  }

  #holder(name: string): FakeWorker | undefined {
    return [...this.workers.values()].find(({ nodes }) => nodes.has(name))
  }

  /** The lock of the directory is free: of those who wait for it, one gets it. */
  #release(name: string): void {
    for (const worker of this.workers.values()) {
      const spec = worker.standbys.get(name)
      if (!spec) continue
      void this.#scheduler.schedule(Promise.resolve(), `lock of ${name}`).then(() => {
        const waits = this.workers.get(worker.id) === worker && !worker.frozen && worker.standbys.get(name) === spec
        if (waits && !this.#holder(name)) this.#startNode(worker, spec)
      })
    }
  }

  #set(worker: FakeWorker, spec: ServiceSpec, phase: ServicePhase, fields: Partial<ServiceStatus> = {}): ServiceStatus {
    const certificate = certificateOf(spec.name, this.certified.has(spec.name) ? 'valid' : 'missing', this.now)
    const status = serviceStatus(spec.name, phase, {
      specHash: spec.specHash,
      since: this.now + this.clockError,
      revision: this.#revision++,
      ...(phase === 'ready' && this.tls.has(spec.name) ? { certificate } : {}),
      ...fields,
    })
    worker.services.set(spec.name, status)
    void this.#tell({ type: 'serviceChanged', workerId: worker.id, service: status })
    return status
  }

  #startNode(worker: FakeWorker, spec: ServiceSpec): ServiceStatus {
    worker.standbys.delete(spec.name)
    const fault = this.faults.get(spec.name) ?? 0
    if (fault > 0) {
      this.faults.set(spec.name, fault - 1)
      return this.#set(worker, spec, 'failed')
    }
    this.starts.set(spec.name, (this.starts.get(spec.name) ?? 0) + 1)
    worker.nodes.add(spec.name)
    const starting = this.#set(worker, spec, 'starting')
    void this.#scheduler.schedule(Promise.resolve(), `up ${spec.name}`).then(() => {
      if (this.workers.get(worker.id) === worker && worker.services.get(spec.name) === starting) {
        this.#set(worker, spec, 'ready')
        if (this.poisons.has(spec.name)) this.killWorker(worker.id)
      }
    })
    return starting
  }

  #order(worker: FakeWorker, running: ServiceStatus): ServiceStatus {
    const { name } = running
    this.orders.push({ name, at: this.now })
    const enter = (phase: 'missing' | 'ordering' | 'valid') => {
      const certificate = certificateOf(name, phase, this.now)
      const status: ServiceStatus = { ...running, revision: this.#revision++, certificate }
      worker.services.set(name, status)
      void this.#tell({ type: 'serviceChanged', workerId: worker.id, service: status })
      return status
    }
    const ordering = enter('ordering')
    void this.#scheduler.schedule(Promise.resolve(), `ordered ${name}`).then(() => {
      const lost = this.lostOrders.get(name) ?? 0
      this.lostOrders.set(name, lost - 1)
      if (lost <= 0) this.certified.add(name)
      if (this.workers.get(worker.id) !== worker || worker.services.get(name) !== ordering) return
      enter(lost > 0 ? 'missing' : 'valid')
    })
    return ordering
  }

  async #drain(worker: FakeWorker, name: string): Promise<void> {
    const status = worker.services.get(name)
    if (!status || status.phase === 'draining') return
    const draining: ServiceStatus = {
      ...status,
      phase: 'draining',
      reason: 'Draining',
      since: this.now + this.clockError,
      revision: this.#revision++,
    }
    worker.services.set(name, draining)
    void this.#tell({ type: 'serviceChanged', workerId: worker.id, service: draining })
    await this.#scheduler.schedule(Promise.resolve(), `drained ${name}`)
    if (worker.services.get(name) !== draining) return
    worker.services.delete(name)
    worker.standbys.delete(name)
    worker.nodes.delete(name)
    void this.#tell({ type: 'serviceRemoved', workerId: worker.id, name, revision: this.#revision++ })
    this.#release(name)
  }
}

/** Where services are, and where they are to go. */
const destinations = ({ placement, moves }: Remembered): [name: string, shard: number][] => [
  ...placement,
  ...[...moves].map(([name, { to }]): [string, number] => [name, to]),
]

function foundOf({ id, shard, pid }: FakeWorker) {
  const process = { pid, startTicks: 1, bootId: 'boot' }
  return { type: 'workerFound' as const, workerId: id, shard, process }
}

function certificateOf(name: string, phase: 'missing' | 'ordering' | 'valid', now: number): ServiceStatus['certificate'] {
  return { phase, domain: `${name}.a.ts.net`, notAfter: phase === 'valid' ? now + 90 * 86_400_000 : 0, ordered: 0 }
}

/** A configuration of plain services; `marks` tells versions of a service apart. */
export function configOf(
  names: readonly string[],
  shardSize: number,
  marks: Readonly<Record<string, string>> = {},
): ResolvedConfig {
  const services = names.map((name) => ({
    name,
    upstream: `http://${name}.test`,
    plaintext: true,
    ...(marks[name] ? { listenAddr: `:${String(80 + marks[name].length)}` } : {}),
  }))
  return parseConfig(stringify({ supervisor: { shardSize, stateDir: '/tmp/s', runDir: '/tmp/s/r' }, services }), 'test.yaml', {})
    .config
}
