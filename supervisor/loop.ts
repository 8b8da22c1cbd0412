/**
 * The loop: events -> observe -> reconcile -> execute. The only owner of state. One tick at a time, one timer, and between
 * two events nothing runs.
 */
import type { Decision, EventView, Plan, PlanRequest, ReloadResult, Status } from '../shared/api.ts'
import type { Answer, Given, Verb } from '../shared/orders.ts'
import { inWords } from '../shared/systemErrors.ts'
import { changedServices, laterSettings, refuseOtherDirectories } from './config/changes.ts'
import type { ResolvedConfig, ResolvedService } from './config/parseConfig.ts'
import { shiftObserved, shiftRemembered, takeOver } from './core/clockStep.ts'
import { placeApart } from './core/culprit.ts'
import { type Entry, nextStep, withEntry, withoutDeaths } from './core/journal.ts'
import { recallRates, rememberRates } from './core/loads.ts'
import { EventLog, newsBetween, newsOf, newsOfDecision } from './core/eventLog.ts'
import { maskEvent } from './core/maskEvent.ts'
import { openingShards } from './core/moves.ts'
import { begin, clearBackoff, forget, observe } from './core/observe.ts'
import { decide } from './core/orders.ts'
import { viewOrphan } from './core/orphans.ts'
import { makePlan } from './core/plan.ts'
import type { Clock, Fleet, Operator } from './core/ports.ts'
import { renderExposition } from './core/exposition.ts'
import { forgetServices, viewMoves, viewRebalancing } from './core/rebalancing.ts'
import { reconcile } from './core/reconcile.ts'
import type { Situation } from './core/situation.ts'
import { StartBook } from './core/starts.ts'
import { type Transition, transitions } from './core/transitions.ts'
import {
  type Desired,
  type DesiredService,
  type EndedOrphan,
  type Event,
  type Observed,
  type Patience,
  type Policy,
  type ProcessIdentity,
  type Remembered,
  nothingObserved,
} from './core/types.ts'
import type { UsageBook } from './core/usageBook.ts'
import { ownersOf, viewPhase, viewQuarantined, viewServices, viewShards } from './core/view.ts'
import { type ExecutionPorts, execute } from './execute.ts'

/** What the loop needs from outside. */
export interface LoopPorts {
  readonly clock: Clock
  /** Makes the fleet, which tells what happens by `post`. */
  readonly createFleet: (post: (event: Event) => void) => Fleet
  /** Reads the configuration again; rejects with a ConfigError. */
  readonly loadConfig: () => Promise<ResolvedConfig>
  /** Reads another one in its place; rejects in the same way. */
  readonly readConfig: (request: PlanRequest) => Promise<ResolvedConfig>
  /** Writes what has to outlive this supervisor; rejects when it cannot, and then nothing has changed. */
  readonly save: (state: Remembered) => Promise<void>
  readonly usage: UsageBook
  readonly authKey: ExecutionPorts['authKey']
  readonly hasCredential: (service: ResolvedService) => boolean
  /** Version of the worker binary that is installed now. */
  readonly workerVersion: () => Promise<string>
  /** Called once for each change of a worker or a service. */
  readonly onTransition: (transition: Transition) => void
}

/** Facts about this supervisor that only `status` shows. */
export interface Identity {
  readonly version: string
  readonly pid: number
  readonly configFile: string
}

/** When a journal that could not be written is tried again. */
const JOURNAL_AGAIN_MS = 5000
/** By so much the clock has to be off at once to count as set: what it is corrected by little by little is no matter. */
const LEAST_STEP_MS = 1000

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
  readonly #execution: ExecutionPorts
  #startedAt: number
  /** When the clock was last looked at, and by how much it has been set since the start. */
  #clock: { now: number; elapsed: number; steps: number }
  readonly #listeners = new Set<() => void>()
  #settle: () => void = () => undefined
  #config: ResolvedConfig
  #services: ReadonlyMap<string, ResolvedService> = new Map()
  /** What is written, and the writing of it, one after the other. */
  #remembered: Remembered
  #saves: Promise<unknown> = Promise.resolve()
  /** Something of it is not written yet. */
  #owesWriting = false
  /** Changes of what is remembered that depend on it: each begins when the one before has ended. */
  #changes: Promise<unknown> = Promise.resolve()
  #desired: Desired
  #observed: Observed
  #generation = 0
  #configLoadedAt = 0
  #configError = ''
  #metricsError = ''
  /** Why the journal could not be written, and when it is tried again. */
  #journal = { problem: '', retryAt: 0, busy: false }
  readonly #events = new EventLog()
  readonly #starts = new StartBook()
  /** When something last moved into or out of each shard. */
  readonly #touchedAt = new Map<number, number>()
  /** CPU has been sampled since the last decision. */
  #sampled = false
  #decision: Decision = { verdict: 'none', reason: 'nothing has been measured yet', moves: [], expected: [] }
  #tickIsDue = false
  #cancelTimer: () => void = () => undefined

  /** `remembered` is what was last written; empty when there was nothing or it was damaged. */
  constructor(ports: LoopPorts, identity: Identity, config: ResolvedConfig, remembered: Remembered, patience: Patience) {
    this.#ports = ports
    this.#patience = patience
    this.#identity = identity
    this.#config = config
    this.#startedAt = ports.clock.now()
    this.#clock = { now: this.#startedAt, elapsed: ports.clock.elapsed(), steps: 0 }
    this.#remembered = takeOver(remembered, this.#startedAt)
    this.#desired = {
      phase: 'adopt',
      services: new Map(),
      opening: new Set(),
      certificatesPerWeek: config.settings.certificatesPerWeek,
    }
    this.#observed = {
      ...nothingObserved,
      certificateOrders: this.#remembered.certificateOrders,
      works: recallRates(remembered.rates),
    }
    this.done = new Promise((resolve) => {
      this.#settle = resolve
    })
    const post = (event: Event) => {
      this.post(event)
    }
    this.#fleet = ports.createFleet(post)
    this.#execution = {
      fleet: this.#fleet,
      authKey: ports.authKey,
      service: (name) => this.#services.get(name),
      drainMs: () => this.#policy().drainMs,
      rememberOrders: () => this.#remember({ certificateOrders: this.#observed.certificateOrders }),
      post,
    }
  }

  /** Takes in what an effect tells. The answer to it comes in the next tick, together with all that was told meanwhile. */
  post(event: Event): void {
    const now = this.#now()
    this.#ports.usage.take(event)
    this.#become(observe(this.#observed, maskEvent(event), now, this.#policy()))
    if (event.type === 'usageSampled') this.#sampled = true
    this.#requestTick()
  }

  /** Adopts the workers of an earlier supervisor, then runs the first configuration. A reload meanwhile waits for its turn. */
  start(): Promise<ReloadResult> {
    return this.#change(async () => {
      await this.#adopt()
      return this.#apply(this.#config)
    })
  }

  /** Finds the workers of an earlier supervisor and waits until each has said what it runs or has been given up. */
  async #adopt(): Promise<void> {
    for (const { workerId, shard, pid } of await this.#fleet.adopt()) {
      const about = { subject: 'worker', name: workerId, shard, pid } as const
      const message = 'it has ended while no supervisor ran'
      this.#tell({ ...about, from: 'unknown', to: 'gone', reason: '', message })
    }
    await new Promise<void>((resolve) => {
      const stopListening = this.onChange(() => {
        const waiting = [...this.#observed.workers.values()].some((worker) => !worker.heard)
        if (waiting) return
        stopListening()
        resolve()
      })
      this.#requestTick()
    })
    await this.#lookForOrphans()
    this.#ports.usage.keepWorkers(new Set(this.#observed.workers.keys()))
    // Where a service really runs counts more than what was written; but one that was on its way goes on.
    const running = new Map(this.#remembered.placement)
    for (const worker of this.#observed.workers.values()) {
      for (const [name, { phase }] of worker.services) {
        if (phase === 'standby') continue
        if ((this.#remembered.moves.get(name)?.begunAt ?? null) === null) running.set(name, worker.shard)
      }
    }
    this.#remembered = { ...this.#remembered, placement: running }
  }

  /**
   * Makes this configuration the desired one. Rejects, and changes nothing, when the placement cannot be written; but beside workers
   * of an earlier supervisor it is written later, as what died meanwhile could not come back otherwise. The next supervisor would
   * make the same of what runs.
   */
  async #apply(config: ResolvedConfig): Promise<ReloadResult> {
    refuseOtherDirectories(this.#config, config)
    const services = new Map(config.services.map((service) => [service.name, service]))
    const names = new Set(services.keys())
    const { placement: old, rebalancing } = this.#remembered
    const apart = this.#place(config)
    const { placement } = apart
    const write = { ...apart, rebalancing: forgetServices(rebalancing, names) }
    const hasAdopted = this.#desired.phase === 'adopt' && this.#observed.workers.size > 0
    await this.#remember(write, { orLater: hasAdopted })
    const before = this.#services
    const changes = changedServices(before, services)
    const result: ReloadResult = {
      configGeneration: this.#generation + 1,
      ...changes,
      moved: [...placement]
        .filter(([name, shard]) => before.has(name) && old.has(name) && old.get(name) !== shard)
        .map(([name]) => name),
      notes: laterSettings(this.#config, config),
    }
    // What comes to a shard, or leaves it, changes its load.
    for (const name of new Set([...old.keys(), ...placement.keys()])) {
      if (old.get(name) === placement.get(name) && !changes.changed.includes(name)) continue
      for (const shard of [old.get(name), placement.get(name)]) if (shard !== undefined) this.#touchedAt.set(shard, this.#now())
    }
    this.#config = config
    this.#services = services
    this.#ports.usage.keepServices(names)
    this.#starts.keep(names)
    // A stop that came while the placement was written stays one.
    const phase = this.#desired.phase === 'adopt' ? 'run' : this.#desired.phase
    this.#desire(phase)
    this.#generation += 1
    this.#configLoadedAt = this.#now()
    const kept = forget(this.#observed, { services: names, shards: new Set(placement.values()) })
    this.#become(clearBackoff(kept, changes.changed))
    this.#requestTick()
    return result
  }

  #place({ services, settings }: ResolvedConfig) {
    const now = this.#now()
    return placeApart(services, this.#remembered, this.#observed, settings, now)
  }

  /** Makes Desired of the configuration and of what is remembered. */
  #desire(phase = this.#desired.phase): void {
    const services = new Map<string, DesiredService>()
    for (const [name, shard] of this.#remembered.placement) {
      const service = this.#services.get(name)
      if (!service) continue
      services.set(name, { shard, specHash: service.spec.specHash, hasCredential: this.#ports.hasCredential(service) })
    }
    const { certificatesPerWeek } = this.#config.settings
    this.#desired = { phase, services, opening: openingShards(this.#remembered.moves), certificatesPerWeek }
  }

  reload(): Promise<ReloadResult> {
    return this.#change(async () => {
      try {
        const config = await this.#loadAgain()
        return await this.#apply(config)
      } finally {
        this.#requestTick()
      }
    })
  }

  /** Looks whether what the last reload refused is right now, and takes nothing over. Resolves in any case. */
  review(): Promise<void> {
    return this.#change(async () => {
      if (this.#configError !== '') await this.#loadAgain().catch(() => undefined)
      this.#requestTick()
    })
  }

  /** Why the last reload was refused; empty when it was not, or when the file has been mended since. */
  get configError(): string {
    return this.#configError
  }

  /** The configuration as it is now. Rejects, and says so in the status, when it cannot be taken. */
  async #loadAgain(): Promise<ResolvedConfig> {
    try {
      const config = await this.#ports.loadConfig()
      refuseOtherDirectories(this.#config, config)
      this.#configError = ''
      return config
    } catch (error) {
      this.#configError = inWords(error)
      throw error
    }
  }

  plan(request: PlanRequest): Promise<Plan> {
    return this.#change(async () => {
      const config = await this.#ports.readConfig(request)
      refuseOtherDirectories(this.#config, config)
      const specs = new Map([...this.#services].map(([name, { spec }]) => [name, spec]))
      const { placement, culprits } = this.#remembered
      const previous = { source: 'supervisor', placement, culprits, specs } as const
      const plan = makePlan(config.services, this.#place(config), previous, config.settings)
      return { ...plan, notes: laterSettings(this.#config, config) }
    })
  }

  /** Runs one change after the other: each compares with what the one before has made. */
  #change<T>(make: () => Promise<T>): Promise<T> {
    const made = this.#changes.then(make)
    this.#changes = made.catch(() => undefined)
    return made
  }

  /** Writes what an order comes to, and then has it carried out. */
  async order<V extends Verb>(verb: V, given: Given<V>): Promise<Answer<V>> {
    // The binary has to be run to say its version.
    const installed = verb === 'upgrade-workers' ? await this.#ports.workerVersion() : ''
    return this.#change(async () => {
      const now = this.#now()
      const { write, answer } = decide(verb, this.#situation(), given, { now, installed })
      if (!isEmpty(write)) {
        await this.#remember(write)
        this.#desire()
        // What the newest samples lead to may be something else now.
        this.#sampled = true
        this.#requestTick()
      }
      return answer
    })
  }

  stop(options: { leaveWorkers: boolean }): void {
    // For what the services do; if it cannot be written, the next supervisor learns it anew.
    if (this.#desired.phase === 'run') this.#remember({}).catch(() => undefined)
    this.#desired = { ...this.#desired, phase: options.leaveWorkers ? 'leave' : 'stop' }
    this.#requestTick()
  }

  /** Ends everything now: every worker is killed. For the operator who asks a second time. */
  killAll(): void {
    for (const id of this.#observed.workers.keys()) this.#fleet.kill(id)
  }

  events(of: { service?: string; shard?: number }): EventView[] {
    return this.#events.read(of)
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async workerMetrics(): Promise<string[]> {
    await this.readMetrics()
    const owners = new Map([...ownersOf(this.#observed)].map(([name, { id }]) => [name, id]))
    return [renderExposition(this.#ports.usage.metrics(owners))]
  }

  /** Takes in what the workers have counted until now. */
  readMetrics(): Promise<void> {
    return this.#fleet.metrics()
  }

  /** Asks the workers whether they answer: the status tells of those that do not. */
  pingWorkers(): void {
    this.#fleet.ping()
  }

  async endOrphans(): Promise<EndedOrphan[]> {
    const ended = await this.#fleet.endOrphans(this.#policy().drainMs)
    await this.#lookForOrphans()
    return ended
  }

  /** Looks whether the known orphans still run: an orphan sends no events. */
  async lookAfterOrphans(): Promise<void> {
    if (this.#observed.orphans.length > 0) await this.#lookForOrphans()
  }

  async #lookForOrphans(): Promise<void> {
    this.post({ type: 'orphansSeen', orphans: await this.#fleet.findOrphans() })
  }

  /** Whether it was told to end without its workers. */
  get leavesWorkers(): boolean {
    return this.#desired.phase === 'leave'
  }

  /** The reason why metrics are not served, for the status; empty when they are. */
  set metricsError(problem: string) {
    this.#metricsError = problem
    this.#requestTick()
  }

  /** Settings of the configuration that is in force. */
  get settings(): ResolvedConfig['settings'] {
    return this.#config.settings
  }

  /** The directories of the services' nodes, and the service of each. */
  nodeDirectories(): ReadonlyMap<string, string> {
    return new Map([...this.#services].map(([name, { spec }]) => [spec.exposure.node.stateDir, name]))
  }

  /** Processes to sample, by worker. */
  workerProcesses(): ReadonlyMap<string, ProcessIdentity> {
    const workers = [...this.#observed.workers.values()]
    return new Map(workers.flatMap((worker) => (worker.process ? [[worker.id, worker.process]] : [])))
  }

  status(): Status {
    const now = this.#now()
    const running = viewServices(this.#desired, this.#observed, this.#services, now)
    const { quarantine, suspects } = this.#remembered.culprits
    const rows = viewQuarantined(running, quarantine, this.#observed, this.#services)
    const services = rows.map((row) => ({
      ...row,
      startSeconds: this.#starts.latest(row.name),
      ...this.#ports.usage.served(row.name),
    }))
    const { settings } = this.#config
    return {
      ...this.#identity,
      startedAt: this.#startedAt,
      phase: viewPhase(this.#desired, services),
      configGeneration: this.#generation,
      configLoadedAt: this.#configLoadedAt,
      configError: this.#configError,
      stateDir: settings.stateDir,
      prometheusAddr: settings.prometheusAddr,
      metricsError: this.#metricsError,
      shardSize: settings.shardSize,
      services,
      shards: viewShards(this.#desired, this.#observed, this.#remembered.rebalancing.cordoned, suspects, settings),
      workerExits: this.#observed.exits,
      starts: this.#starts.histograms,
      moves: viewMoves(this.#remembered.moves),
      rebalancing: viewRebalancing(this.#remembered.rebalancing, this.#decision),
      journalError: this.#journal.problem,
      orphans: this.#observed.orphans.map(viewOrphan),
    }
  }

  #situation(): Situation {
    return {
      remembered: this.#remembered,
      desired: this.#desired,
      observed: this.#observed,
      services: this.#services,
      settings: this.#config.settings,
      touchedAt: this.#touchedAt,
    }
  }

  /**
   * Writes a change of what is remembered. Rejects when it cannot be written, and then nothing has changed; unless it may be
   * written later.
   */
  #remember(change: Partial<Remembered>, { orLater = false } = {}): Promise<void> {
    const { steps } = this.#clock
    const saved = this.#saves.then(async () => {
      const changed = shiftRemembered(change, this.#clock.steps - steps)
      const next = { ...this.#remembered, rates: rememberRates(this.#observed.works), ...changed }
      const before = this.#clock.steps
      try {
        await this.#ports.save(next)
        this.#owesWriting = false
        this.#journal.problem = ''
      } catch (error) {
        // Whatever was to be written: it is tried until something can, and so is told no longer than it is true.
        this.#owesWriting = true
        this.#postponeJournal(error)
        this.#requestTick()
        if (!orLater) throw error
      }
      const [latest] = next.rebalancing.decisions
      if (latest && latest.at !== this.#remembered.rebalancing.decisions[0]?.at)
        for (const news of newsOfDecision(latest)) this.#events.add(news, this.#clock.now)
      this.#remembered = shiftRemembered(next, this.#clock.steps - before)
    })
    this.#saves = saved.catch(() => undefined)
    return saved
  }

  /** Epoch ms. If the clock was set since the last look, all times move with it first: read it before what they are in. */
  #now(): number {
    const { clock } = this.#ports
    const [now, elapsed] = [clock.now(), clock.elapsed()]
    const step = now - this.#clock.now - (elapsed - this.#clock.elapsed)
    const isStep = Math.abs(step) >= LEAST_STEP_MS
    this.#clock = { now, elapsed, steps: this.#clock.steps + (isStep ? step : 0) }
    if (isStep) this.#shift(step)
    return now
  }

  #shift(byMs: number): void {
    this.#observed = shiftObserved(this.#observed, byMs)
    this.#remembered = shiftRemembered(this.#remembered, byMs)
    this.#startedAt += byMs
    this.#events.shift(byMs)
    if (this.#configLoadedAt > 0) this.#configLoadedAt += byMs
    this.#journal.retryAt += byMs
    for (const [shard, at] of this.#touchedAt) this.#touchedAt.set(shard, at + byMs)
    // The timer may have been set in between.
    this.#requestTick()
  }

  #policy(): Policy {
    return { ...this.#patience, drainMs: this.#config.settings.drainTimeoutMs }
  }

  #become(next: Observed): void {
    const before = this.#observed
    this.#observed = next
    for (const transition of transitions(before, next)) {
      this.#tell(transition)
      // Another process has the node: perhaps an orphan.
      if (transition.reason === 'StateDirLocked') void this.#lookForOrphans()
    }
    this.#starts.look(before, next, this.#remembered.moves)
    for (const news of newsBetween(before, next)) this.#events.add(news, this.#clock.now)
  }

  #tell(transition: Transition): void {
    this.#ports.onTransition(transition)
    this.#events.add(newsOf(transition), this.#clock.now)
  }

  #requestTick(): void {
    if (this.#tickIsDue) return
    this.#tickIsDue = true
    this.#ports.clock.wakeAt(this.#now(), () => {
      this.#tickIsDue = false
      this.#tick()
    })
  }

  /** Begins what concerns the journal, one thing at a time. When it cannot be written, everything stays as it is for a while. */
  #keepJournal(now: number, wakeAt: (at: number) => void): void {
    if (this.#journal.busy || this.#desired.phase !== 'run') return
    const step = nextStep(this.#situation(), this.#sampled, now, wakeAt)
    if (!step && !this.#owesWriting) return
    if (now < this.#journal.retryAt) {
      wakeAt(this.#journal.retryAt)
      return
    }
    this.#journal.busy = true
    this.#sampled = false
    void this.#change(async () => {
      // Others may have changed the situation since.
      const at = this.#now()
      const entry = this.#desired.phase === 'run' ? step?.(this.#situation(), at) : null
      if (entry) await this.#enter(entry)
      if (this.#owesWriting) await this.#remember({})
    })
      .catch((error: unknown) => {
        // A death that cannot be written down is not counted: the worker comes back as it was.
        this.#become(withoutDeaths(this.#observed, this.#observed.deaths))
        this.#postponeJournal(error)
      })
      .finally(() => {
        this.#journal.busy = false
        this.#requestTick()
      })
  }

  #postponeJournal(error: unknown): void {
    const retryAt = this.#now() + JOURNAL_AGAIN_MS
    this.#journal = { ...this.#journal, problem: inWords(error), retryAt }
  }

  /** Writes an entry, and then does what follows from it. */
  async #enter(entry: Entry): Promise<void> {
    if (entry.looked) this.#decision = entry.looked
    if (isEmpty(entry.write)) return
    await this.#remember(entry.write)
    const now = this.#now()
    for (const shard of entry.touched) this.#touchedAt.set(shard, now)
    this.#desire()
    this.#become(withEntry(this.#observed, entry))
    for (const { name, reason } of entry.quarantined) {
      const about = { subject: 'service', name, shard: 0, pid: null } as const
      this.#tell({ ...about, from: 'pending', to: 'quarantined', reason: 'Quarantined', message: reason })
    }
  }

  #tick(): void {
    const now = this.#now()
    this.#cancelTimer()
    const round = reconcile(this.#desired, this.#observed, now)
    const { actions } = round
    let { wakeAt } = round
    this.#keepJournal(now, (at) => {
      wakeAt = Math.min(wakeAt ?? at, at)
    })
    for (const action of actions) {
      // Marked as begun before the first await.
      this.#become(begin(this.#observed, action, now, this.#policy()))
      execute(action, this.#execution)
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
}

const isEmpty = (change: Partial<Remembered>) => Object.keys(change).length === 0
