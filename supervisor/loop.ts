/**
 * The loop: events -> observe -> reconcile -> execute. The only owner of state. One tick at a time, one timer, and between
 * two events nothing runs.
 */
import type { ReloadResult, ServiceView, Status } from '../shared/api.ts'
import type { ResolvedConfig, ResolvedService } from './config/parseConfig.ts'
import { begin, clearBackoff, forget, observe } from './core/observe.ts'
import { place } from './core/placement.ts'
import type { Clock, Fleet, Operator } from './core/ports.ts'
import { reconcile } from './core/reconcile.ts'
import { type Transition, transitions } from './core/transitions.ts'
import {
  type Action,
  type Desired,
  type DesiredService,
  type Event,
  type Observed,
  type Patience,
  type Placement,
  type Policy,
  type Remembered,
  nothingObserved,
} from './core/types.ts'
import { viewServices, viewShards } from './core/view.ts'

/** What the loop needs from outside. */
export interface LoopPorts {
  readonly clock: Clock
  /** Makes the fleet, which tells what happens by `post`. */
  readonly createFleet: (post: (event: Event) => void) => Fleet
  /** Reads the configuration again; rejects with a ConfigError. */
  readonly loadConfig: () => Promise<ResolvedConfig>
  /** Writes what has to outlive this supervisor; rejects when it cannot, and then nothing has changed. */
  readonly save: (state: Remembered) => Promise<void>
  /** The auth key of a service; undefined when it has none and a person has to log the node in. Rejects with the reason. */
  readonly authKey: (service: ResolvedService, options: { fresh: boolean }) => Promise<string | undefined>
  readonly hasCredential: (service: ResolvedService) => boolean
  /** Called once for each change of a worker or a service. */
  readonly onTransition: (transition: Transition) => void
}

/** Facts about this supervisor that only `status` shows. */
export interface Identity {
  readonly version: string
  readonly pid: number
  readonly configFile: string
}

/** Which settings a running worker has taken over for good: a change reaches it at its next start. */
const WORKER_SETTINGS = ['startConcurrency', 'gcPercent', 'ignoreInterfaces', 'logUpload', 'portMapping'] as const
/** Which settings this process has taken over until its end. */
const OWN_SETTINGS = ['prometheusAddr', 'workerBinary', 'sampleIntervalMs', 'keyAPIURL'] as const

/**
 * Runs services until told to stop. Order of calls: new, `start`; then `reload`, `stop` and the rest as they come. `done`
 * settles when there is nothing left to wait for.
 */
export class Loop implements Operator {
  /** Settles when everything has ended that had to. */
  readonly done: Promise<void>
  readonly #ports: LoopPorts
  readonly #identity: Identity
  readonly #patience: Patience
  readonly #fleet: Fleet
  readonly #startedAt: number
  readonly #listeners = new Set<() => void>()
  #settle: () => void = () => undefined
  #config: ResolvedConfig
  #services: ReadonlyMap<string, ResolvedService> = new Map()
  #placement: Placement
  /** What is written, and the writing of it, one after the other. */
  #remembered: Remembered
  #saves: Promise<unknown> = Promise.resolve()
  #desired: Desired
  #observed: Observed
  #generation = 0
  #configError = ''
  #reloads: Promise<unknown> = Promise.resolve()
  #tickIsDue = false
  #cancelTimer: () => void = () => undefined

  /** `remembered` is what was last written; empty when there was nothing or it was damaged. */
  constructor(ports: LoopPorts, identity: Identity, config: ResolvedConfig, remembered: Remembered, patience: Patience) {
    this.#ports = ports
    this.#patience = patience
    this.#identity = identity
    this.#config = config
    this.#remembered = remembered
    this.#placement = remembered.placement
    this.#desired = { phase: 'adopt', services: new Map(), certificatesPerWeek: config.settings.certificatesPerWeek }
    this.#observed = { ...nothingObserved, certificateOrders: remembered.certificateOrders }
    this.#startedAt = ports.clock.now()
    this.done = new Promise((resolve) => {
      this.#settle = resolve
    })
    this.#fleet = ports.createFleet((event) => {
      this.post(event)
    })
  }

  /** Takes in what an effect tells. The answer to it comes in the next tick, together with all that was told meanwhile. */
  post(event: Event): void {
    this.#become(observe(this.#observed, event, this.#ports.clock.now(), this.#policy()))
    this.#requestTick()
  }

  /** Adopts the workers of an earlier supervisor, then runs the first configuration. A reload meanwhile waits for its turn. */
  start(): Promise<ReloadResult> {
    const first = this.#adopt().then(() => this.#apply(this.#config))
    this.#reloads = first.catch(() => undefined)
    return first
  }

  /** Finds the workers of an earlier supervisor and waits until each has said what it runs or has been given up. */
  async #adopt(): Promise<void> {
    await this.#fleet.adopt()
    await new Promise<void>((resolve) => {
      const stopListening = this.onChange(() => {
        const waiting = [...this.#observed.workers.values()].some((worker) => !worker.heard)
        if (waiting) return
        stopListening()
        resolve()
      })
      this.#requestTick()
    })
    // Where a service really runs counts more than what was written.
    const running = new Map(this.#placement)
    for (const worker of this.#observed.workers.values())
      for (const name of worker.services.keys()) running.set(name, worker.shard)
    this.#placement = running
  }

  /** Makes this configuration the desired one. Rejects, and changes nothing, when the placement cannot be written. */
  async #apply(config: ResolvedConfig): Promise<ReloadResult> {
    refuseOtherDirectories(this.#config, config)
    const services = new Map(config.services.map((service) => [service.name, service]))
    const placement = place(config.services, this.#placement, config.settings)
    await this.#remember({ placement })
    const before = this.#services
    const desired = new Map<string, DesiredService>()
    for (const [name, shard] of placement) {
      const service = services.get(name)
      if (service)
        desired.set(name, { shard, specHash: service.spec.specHash, hasCredential: this.#ports.hasCredential(service) })
    }
    const changed = [...services.keys()].filter((name) => before.has(name) && differs(before.get(name), services.get(name)))
    const result: ReloadResult = {
      configGeneration: this.#generation + 1,
      added: [...services.keys()].filter((name) => !before.has(name)),
      removed: [...before.keys()].filter((name) => !services.has(name)),
      changed,
      moved: [...placement]
        .filter(([name, shard]) => before.has(name) && this.#placement.get(name) !== shard)
        .map(([name]) => name),
      unchanged: [...services.keys()].filter((name) => before.has(name)).length - changed.length,
      notes: laterSettings(this.#config, config),
    }
    this.#config = config
    this.#services = services
    this.#placement = placement
    // A stop that came while the placement was written stays one.
    const phase = this.#desired.phase === 'adopt' ? 'run' : this.#desired.phase
    this.#desired = { phase, services: desired, certificatesPerWeek: config.settings.certificatesPerWeek }
    this.#generation += 1
    this.#configError = ''
    const kept = forget(this.#observed, { services: new Set(services.keys()), shards: new Set(placement.values()) })
    this.#become(clearBackoff(kept, changed))
    this.#requestTick()
    return result
  }

  reload(): Promise<ReloadResult> {
    // One after the other: each compares with what the one before has made.
    const next = this.#reloads.then(async () => {
      try {
        return await this.#apply(await this.#ports.loadConfig())
      } catch (error) {
        this.#configError = (error as Error).message
        this.#requestTick()
        throw error
      }
    })
    this.#reloads = next.catch(() => undefined)
    return next
  }

  stop(options: { leaveWorkers: boolean }): void {
    this.#desired = { ...this.#desired, phase: options.leaveWorkers ? 'leave' : 'stop' }
    this.#requestTick()
  }

  /** Ends everything now: every worker is killed. For the operator who asks a second time. */
  killAll(): void {
    for (const id of this.#observed.workers.keys()) this.#fleet.kill(id)
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  workerMetrics(): Promise<string[]> {
    return this.#fleet.metrics()
  }

  /** Settings of the configuration that is in force. */
  get settings(): ResolvedConfig['settings'] {
    return this.#config.settings
  }

  /** Pids to sample, by worker. */
  workerPids(): ReadonlyMap<string, number> {
    const workers = [...this.#observed.workers.values()]
    return new Map(workers.flatMap((worker) => (worker.process ? [[worker.id, worker.process.pid]] : [])))
  }

  status(): Status {
    const services = viewServices(this.#desired, this.#observed, this.#services, this.#ports.clock.now())
    const { settings } = this.#config
    return {
      ...this.#identity,
      startedAt: this.#startedAt,
      phase: phaseOf(this.#desired, services),
      configGeneration: this.#generation,
      configError: this.#configError,
      stateDir: settings.stateDir,
      prometheusAddr: settings.prometheusAddr,
      shardSize: settings.shardSize,
      services,
      shards: viewShards(this.#desired, this.#observed),
    }
  }

  #remember(change: Partial<Remembered>): Promise<void> {
    const saved = this.#saves.then(async () => {
      const next = { ...this.#remembered, ...change }
      await this.#ports.save(next)
      this.#remembered = next
    })
    this.#saves = saved.catch(() => undefined)
    return saved
  }

  #policy(): Policy {
    return { ...this.#patience, drainMs: this.#config.settings.drainTimeoutMs }
  }

  #become(next: Observed): void {
    const before = this.#observed
    this.#observed = next
    for (const transition of transitions(before, next)) this.#ports.onTransition(transition)
  }

  #requestTick(): void {
    if (this.#tickIsDue) return
    this.#tickIsDue = true
    this.#ports.clock.wakeAt(this.#ports.clock.now(), () => {
      this.#tickIsDue = false
      this.#tick()
    })
  }

  #tick(): void {
    const now = this.#ports.clock.now()
    this.#cancelTimer()
    const { actions, wakeAt } = reconcile(this.#desired, this.#observed, now)
    for (const action of actions) {
      // Marked as begun before the first await.
      this.#become(begin(this.#observed, action, now, this.#policy()))
      this.#execute(action)
    }
    // What has begun has deadlines of its own.
    if (actions.length > 0) this.#requestTick()
    this.#cancelTimer = wakeAt === null ? () => undefined : this.#ports.clock.wakeAt(wakeAt, () => this.#requestTick())
    for (const listener of [...this.#listeners]) listener()
    const { phase } = this.#desired
    if (phase === 'leave' || (phase === 'stop' && this.#observed.workers.size === 0)) this.#end()
  }

  #end(): void {
    this.#cancelTimer()
    this.#fleet.close()
    this.#settle()
  }

  #execute(action: Action): void {
    switch (action.type) {
      case 'spawnWorker':
        this.#fleet.spawn(action.workerId, action.shard)
        return
      case 'killWorker':
        this.#fleet.kill(action.workerId)
        return
      case 'shutdownWorker':
        // A worker that does not take the call is killed at its deadline.
        this.#fleet.shutdown(action.workerId, this.#policy().drainMs).catch(() => undefined)
        return
      case 'putService':
        void this.#call(action, () => this.#put(action))
        return
      case 'deleteService':
        void this.#call(action, () => this.#delete(action))
        return
      case 'orderCertificate':
        void this.#call(action, () => this.#orderCertificate(action))
        return
    }
  }

  async #call(action: { workerId: string; name: string }, call: () => Promise<void>): Promise<void> {
    const { workerId, name } = action
    try {
      await call()
      this.post({ type: 'callDone', workerId, name })
    } catch (error) {
      const reason = error instanceof CredentialProblem ? 'CredentialUnavailable' : 'WaitingForWorker'
      this.post({ type: 'callFailed', workerId, name, reason, message: (error as Error).message })
    }
  }

  async #delete({ workerId, name }: Extract<Action, { type: 'deleteService' }>): Promise<void> {
    const had = await this.#fleet.delete(workerId, name, this.#policy().drainMs)
    // Whatever has been told of it was told before: while this call was open, no other was made.
    if (!had) this.post({ type: 'serviceRemoved', workerId, name, revision: Number.MAX_SAFE_INTEGER })
  }

  async #orderCertificate({ workerId, name }: Extract<Action, { type: 'orderCertificate' }>): Promise<void> {
    // Written before it is made: a supervisor that dies in between counts one too many, and not one too few.
    await this.#remember({ certificateOrders: this.#observed.certificateOrders })
    const service = this.#services.get(name)
    if (!service) return
    const status = await this.#fleet.put(workerId, { ...service.spec, orderCertificate: true })
    this.post({ type: 'serviceChanged', workerId, service: status })
  }

  async #put(action: Extract<Action, { type: 'putService' }>): Promise<void> {
    const service = this.#services.get(action.name)
    // Removed from the configuration since the action was decided: the next tick knows.
    if (!service) return
    const authKey = await this.#ports.authKey(service, { fresh: action.freshKey }).catch((error: unknown) => {
      throw new CredentialProblem((error as Error).message)
    })
    const status = await this.#fleet.put(action.workerId, {
      ...service.spec,
      ...(authKey === undefined ? {} : { authKey }),
      ...(action.retry ? { retry: true } : {}),
    })
    this.post({ type: 'serviceChanged', workerId: action.workerId, service: status })
  }
}

class CredentialProblem extends Error {}

function phaseOf(desired: Desired, services: readonly ServiceView[]): Status['phase'] {
  switch (desired.phase) {
    case 'adopt':
      return 'starting'
    case 'run':
      return services.some(({ phase }) => phase === 'pending' || phase === 'starting') ? 'starting' : 'running'
    case 'stop':
    case 'leave':
      return 'stopping'
  }
}

const differs = (a: ResolvedService | undefined, b: ResolvedService | undefined) => a?.spec.specHash !== b?.spec.specHash

/** With another state directory every node would come up as a new one. */
function refuseOtherDirectories({ settings: before }: ResolvedConfig, { settings: after }: ResolvedConfig): void {
  for (const key of ['stateDir', 'runDir'] as const) {
    if (before[key] === after[key]) continue
    throw new Error(
      `${key} cannot change from ${before[key]} to ${after[key]} while services run: stop, move the directory, start`,
    )
  }
}

function laterSettings(before: ResolvedConfig, after: ResolvedConfig): string[] {
  const changed = <K extends keyof ResolvedConfig['settings']>(keys: readonly K[]) =>
    keys.filter((key) => JSON.stringify(before.settings[key]) !== JSON.stringify(after.settings[key]))
  return [
    ...changed(WORKER_SETTINGS).map((key) => `${key}: takes effect in workers that start from now on`),
    ...changed(OWN_SETTINGS).map((key) => `${key}: takes effect when the supervisor is started again`),
  ]
}
