/**
 * Rebalance: which services should change their shard because of CPU, and why. Pure: a snapshot in, one decision out.
 *
 * Two thresholds and a tolerance, after Kubernetes' descheduler (LowNodeUtilization) and its horizontal autoscaler: a shard
 * above `hotPercent` is relieved until it is well below; shards that differ are levelled only while one of them is above
 * `coldPercent`; shards below it are merged. Each step is the one move, or the one exchange of two, that lowers the busier of
 * the two shards most (the neighbourhood of Graham's list scheduling). Whatever is not known well keeps still: a shard without
 * fresh samples, or in which something has moved a moment ago, is neither source nor target.
 *
 * Why it comes to rest under constant load: a step must lower the busier shard by `leastGain`; merging never fills a shard
 * beyond what levelling and relieving leave alone; and a service that has moved stays for `serviceCooldownMs`.
 */
import type { Decision, PlannedMove } from '../../shared/api.ts'

/** A service as rebalancing sees it. */
export interface LoadedService {
  readonly name: string
  /** Its part of the worker's CPU, per cent of one core. */
  readonly cpuPercent: number
  /** Services of one group move together where they can; empty for none. */
  readonly group: string
  /** It changes its address when it moves. */
  readonly ephemeral: boolean
  /** Epoch ms of its last move; 0 for never. */
  readonly movedAt: number
}

export interface LoadedShard {
  readonly shard: number
  /** Per cent of one core, moving average; null when no fresh sample is at hand, or something in it is starting or moving. */
  readonly cpuPercent: number | null
  readonly services: readonly LoadedService[]
  /** The operator wants nothing new in it. */
  readonly cordoned: boolean
  /** Epoch ms since when it has been left in peace: of its worker's start or the last move into or out of it. */
  readonly settledAt: number
}

export interface RebalancePolicy {
  /** Per cent of one core from which a shard is relieved. */
  readonly hotPercent: number
  /** Below it, shards are merged and not levelled. */
  readonly coldPercent: number
  /** Part of a load that may differ before it counts: 0.1 for a tenth. */
  readonly tolerance: number
  /** Most services of a shard. */
  readonly shardSize: number
  readonly minShards: number
  /** 0 for no limit. */
  readonly maxShards: number
  /** How long a service stays where it came to. */
  readonly serviceCooldownMs: number
  /** How long a shard is watched after a move before it takes part in another. */
  readonly shardCooldownMs: number
  /** At most so many moves within the window. */
  readonly movesPerWindow: number
  readonly windowMs: number
}

/** What is not said in the configuration. Chosen with the simulator (bench/sim). */
export const defaultRebalancing: Omit<RebalancePolicy, 'shardSize'> = {
  hotPercent: 80,
  coldPercent: 30,
  tolerance: 0.1,
  minShards: 1,
  maxShards: 0,
  serviceCooldownMs: 10 * 60_000,
  shardCooldownMs: 60_000,
  movesPerWindow: 10,
  windowMs: 10 * 60_000,
}

export interface Snapshot {
  readonly shards: readonly LoadedShard[]
  /** Epoch ms of each move begun within the last window. */
  readonly recentMoves: readonly number[]
}

/** A step that lowers the busier of two shards by less is not worth a move; points of one core. */
const LEAST_GAIN = 3
/** Of the possible targets so many are looked at, coolest first: with thousands of services, more would only cost time. */
const TARGETS = 8

/** Decides for this moment. Never throws; 5,000 services take a few milliseconds. */
export function rebalance(snapshot: Snapshot, policy: RebalancePolicy, now: number): Decision {
  const budget = policy.movesPerWindow - snapshot.recentMoves.filter((at) => now - at < policy.windowMs).length
  const plan = new Plan(snapshot, policy, now, budget)
  const known = plan.shards.filter(({ known }) => known)
  if (known.length === 0) return none('no shard has been measured for long enough')
  const hot = known.filter(({ load }) => load > policy.hotPercent).sort(byLoad)
  for (const shard of hot) plan.relieve(shard)
  if (plan.moves.length > 0) return plan.decision('relieve')
  const notes = plan.notes
  if (hot.length === 0) {
    for (const verdict of ['scale', 'level', 'merge'] as const) {
      plan[verdict]()
      if (plan.moves.length > 0) return plan.decision(verdict)
    }
  }
  if (budget <= 0)
    return none(`${String(policy.movesPerWindow)} services have moved within ${minutes(policy.windowMs)}, which is the budget`)
  const waiting = plan.shards.length - known.length
  const rest = waiting > 0 ? `; ${String(waiting)} of ${String(plan.shards.length)} shards are not looked at for now` : ''
  return none((notes[0] ?? `every shard is below ${percent(policy.hotPercent)}, and they are level`) + rest)
}

const none = (reason: string): Decision => ({ verdict: 'none', reason, moves: [], expected: [] })

/** Services that move together: a group's members in one shard, or one service. */
interface Unit {
  readonly members: readonly LoadedService[]
  readonly load: number
  readonly ephemeral: boolean
}

/** A shard while moves are tried out on it. */
interface PlannedShard {
  readonly id: number
  readonly known: boolean
  readonly open: boolean
  readonly before: number
  readonly solo: boolean
  load: number
  units: Unit[]
  count: number
}

interface Step {
  readonly unit: Unit
  readonly to: PlannedShard
  /** What comes back, for an exchange. */
  readonly back: Unit | null
}

/** Where to look for a step. Opening a shard and `all`, ephemeral services and parts of groups too, are for hot shards. */
const WITHOUT_OPENING = { opening: false, all: false }
const PREFERRED = { opening: true, all: false }
const LAST_RESORT = { opening: true, all: true }

class Plan {
  readonly shards: PlannedShard[]
  readonly moves: PlannedMove[] = []
  readonly notes: string[] = []
  readonly #reasons: string[] = []
  readonly #policy: RebalancePolicy
  readonly #now: number
  readonly #target: number
  #budget: number

  constructor({ shards }: Snapshot, policy: RebalancePolicy, now: number, budget: number) {
    this.#policy = policy
    this.#now = now
    this.#budget = budget
    this.#target = policy.hotPercent * (1 - policy.tolerance)
    this.shards = shards.map((shard) => ({
      id: shard.shard,
      known: shard.cpuPercent !== null && now - shard.settledAt >= policy.shardCooldownMs,
      open: !shard.cordoned,
      before: shard.cpuPercent ?? 0,
      solo: shard.services.length === 1,
      load: shard.cpuPercent ?? 0,
      units: unitsOf(shard.services),
      count: shard.services.length,
    }))
  }

  decision(verdict: Decision['verdict']): Decision {
    const touched = new Set(this.moves.flatMap(({ from, to }) => [from, to]))
    const expected = this.shards
      .filter(({ id }) => touched.has(id))
      .map(({ id, before, load }) => ({ shard: id, beforePercent: round(before), afterPercent: round(load) }))
    return { verdict, reason: this.#reasons.join('; '), moves: this.moves, expected }
  }

  /** Takes load off a hot shard, where there is somewhere better for it. */
  relieve(source: PlannedShard): void {
    const was = source.load
    const alone = source.units.find(({ load }) => load >= this.#policy.hotPercent)
    if (source.solo) {
      this.notes.push(
        `${source.units[0]?.members[0]?.name ?? ''} alone makes shard ${String(source.id)} hot (${percent(was)}), and has it for itself`,
      )
      return
    }
    while (source.load > this.#target) {
      const step = this.#best(source, PREFERRED) ?? this.#best(source, LAST_RESORT)
      if (!step) break
      this.#take(source, step)
    }
    if (source.load < was) {
      const who = alone
        ? `${alone.members.map(({ name }) => name).join(', ')} alone uses ${percent(alone.load)}`
        : `it is above ${percent(this.#policy.hotPercent)}`
      this.#reasons.push(`shard ${String(source.id)} is hot (${percent(was)}): ${who}`)
    } else {
      this.notes.push(`shard ${String(source.id)} is hot (${percent(was)}), but ${this.#whyNothing(source)}`)
    }
  }

  /** Lowers the busiest while it is above the mean by more than the tolerance. */
  level(): void {
    const { coldPercent, tolerance } = this.#policy
    const part = this.shards.filter(({ known, solo }) => known && !solo)
    const mean = part.reduce((sum, { load }) => sum + load, 0) / Math.max(1, part.length)
    for (const source of [...part].sort(byLoad)) {
      const was = source.load
      while (source.load > coldPercent && source.load > mean * (1 + tolerance)) {
        const step = this.#best(source, WITHOUT_OPENING)
        if (!step) break
        this.#take(source, step)
      }
      if (source.load < was) this.#reasons.push(`shard ${String(source.id)} has ${percent(was)}, the mean is ${percent(mean)}`)
    }
  }

  /** Opens the shards that are lacking to `minShards`, each with its part of the services. */
  scale(): void {
    const services = this.shards.reduce((sum, { count }) => sum + count, 0)
    while (this.shards.length < Math.min(this.#policy.minShards, services) && this.#budget > 0) {
      const fresh = this.#fresh()
      if (!fresh) return
      const share = Math.floor(services / (this.shards.length + 1))
      const before = this.shards.length
      while (fresh.count < share && this.#budget > 0) {
        const source = this.shards
          .filter((shard) => shard !== fresh && shard.count > share)
          .sort((a, b) => b.count - a.count || byLoad(a, b))[0]
        // The middle one of what may go: the heaviest would make the new shard the busiest, the lightest an idle one.
        const movable = source?.units.flatMap(apart).filter((unit) => !this.#rests(unit) && !unit.ephemeral) ?? []
        const unit = movable.sort((a, b) => a.load - b.load)[Math.floor(movable.length / 2)]
        if (!source || !unit) break
        this.#take(source, { unit, to: fresh, back: null })
      }
      if (this.shards.length === before) return
      this.#reasons.push(`there are to be at least ${String(this.#policy.minShards)} shards`)
    }
  }

  /** Empties one cold shard into the others, when they stay well below hot; any shard, when there are more than `maxShards`. */
  merge(): void {
    const { coldPercent, shardSize, minShards, maxShards } = this.#policy
    const services = this.shards.reduce((sum, { count }) => sum + count, 0)
    if (this.shards.length <= Math.max(1, minShards, Math.ceil(services / shardSize))) return
    const tooMany = maxShards > 0 && this.shards.length > maxShards
    // Below what would be relieved or levelled again, with room for as much load as services are likely to gain.
    const ceiling = tooMany ? this.#target : coldPercent + (this.#target - coldPercent) / 2
    const cold = this.shards
      .filter(({ known, load, count }) => known && count > 0 && (tooMany || load < coldPercent))
      .sort((a, b) => a.count - b.count || a.load - b.load || a.id - b.id)
    for (const source of cold.slice(0, TARGETS)) {
      for (const { unit, to } of this.#emptied(source, ceiling) ?? []) {
        if (unit.members.length > this.#budget) break
        this.#take(source, { unit, to, back: null })
      }
      if (this.moves.length === 0) continue
      const why = tooMany ? `there are more than ${String(maxShards)} shards` : `it is cold (${percent(source.before)})`
      this.#reasons.push(`shard ${String(source.id)} is emptied into others: ${why}`)
      return
    }
  }

  /** Where each unit of the shard would go; null when one has no place or has to stay. */
  #emptied(source: PlannedShard, ceiling: number): { unit: Unit; to: PlannedShard }[] | null {
    if (source.units.some((unit) => unit.ephemeral || this.#rests(unit))) return null
    const free = this.shards
      .filter((shard) => shard !== source && shard.known && shard.open && !(shard.solo && shard.load >= this.#policy.coldPercent))
      .map((shard) => ({ shard, load: shard.load, count: shard.count }))
    const found: { unit: Unit; to: PlannedShard }[] = []
    for (const unit of [...source.units].sort((a, b) => b.load - a.load)) {
      const fits = free.filter((to) => to.count + unit.members.length <= this.#policy.shardSize && to.load + unit.load <= ceiling)
      if (!fits[0]) return null
      const best = fits.reduce((coolest, to) => (to.load < coolest.load ? to : coolest), fits[0])
      best.load += unit.load
      best.count += unit.members.length
      found.push({ unit, to: best.shard })
    }
    return found
  }

  /** The step that lowers the busier of source and target most, for the fewest moves. */
  #best(source: PlannedShard, { opening, all }: { opening: boolean; all: boolean }): Step | undefined {
    const free = (unit: Unit) => !this.#rests(unit) && (all || !unit.ephemeral)
    const movable = (all ? source.units.flatMap(apart) : source.units).filter(free)
    // The busier of the two afterwards, and how many services move.
    let best: (Step & { peak: number; moves: number }) | undefined
    const consider = (unit: Unit, to: PlannedShard, back: Unit | null) => {
      const moves = unit.members.length + (back?.members.length ?? 0)
      const shift = unit.load - (back?.load ?? 0)
      if (moves > this.#budget || to.count + unit.members.length - (back?.members.length ?? 0) > this.#policy.shardSize) return
      if (back && source.count - unit.members.length + back.members.length > this.#policy.shardSize) return
      const peak = Math.max(source.load - shift, to.load + shift)
      if (source.load - peak < LEAST_GAIN || to.load + shift > Math.max(this.#target, source.load - LEAST_GAIN)) return
      if (!best || peak < best.peak - 1e-9 || (Math.abs(peak - best.peak) <= 1e-9 && moves < best.moves)) {
        best = { unit, to, back, peak, moves }
      }
    }
    for (const to of this.#targets(source)) {
      for (const unit of movable) {
        consider(unit, to, null)
        if (to.count < this.#policy.shardSize || unit.members.length > 1) continue
        for (const back of to.units) if (free(back) && back.load < unit.load) consider(unit, to, back)
      }
    }
    const enough = best && best.peak <= this.#target
    if (enough || !opening) return best
    const fresh = this.#fresh()
    if (fresh) for (const unit of movable) if (unit.members.length < source.count) consider(unit, fresh, null)
    return best
  }

  #targets(source: PlannedShard): PlannedShard[] {
    const { hotPercent } = this.#policy
    return this.shards
      .filter((shard) => shard !== source && shard.known && shard.open && !(shard.solo && shard.load >= hotPercent))
      .sort((a, b) => a.load - b.load || a.id - b.id)
      .slice(0, TARGETS)
  }

  /** A shard that does not exist yet, if there may be one more. */
  #fresh(): PlannedShard | undefined {
    const { maxShards } = this.#policy
    if (maxShards > 0 && this.shards.length >= maxShards) return undefined
    const taken = new Set(this.shards.map(({ id }) => id))
    let id = 1
    while (taken.has(id)) id++
    return { id, known: true, open: true, before: 0, solo: false, load: 0, units: [], count: 0 }
  }

  #take(source: PlannedShard, { unit, to, back }: Step): void {
    if (!this.shards.includes(to)) this.shards.push(to)
    for (const [moved, from, into] of [[unit, source, to] as const, ...(back ? [[back, to, source] as const] : [])]) {
      from.units = from.units.flatMap((other) => withoutMembers(other, moved))
      into.units = [...into.units, rested(moved, this.#now)]
      from.load -= moved.load
      into.load += moved.load
      from.count -= moved.members.length
      into.count += moved.members.length
      this.#budget -= moved.members.length
      for (const { name } of moved.members) this.moves.push({ name, from: from.id, to: into.id })
    }
  }

  #rests(unit: Unit): boolean {
    return unit.members.some(({ movedAt }) => this.#now - movedAt < this.#policy.serviceCooldownMs)
  }

  #whyNothing(source: PlannedShard): string {
    if (this.#budget <= 0)
      return `${String(this.#policy.movesPerWindow)} services have moved within ${minutes(this.#policy.windowMs)}, which is the budget`
    if (source.units.every((unit) => this.#rests(unit)))
      return `all its services have moved within ${minutes(this.#policy.serviceCooldownMs)}`
    const { maxShards } = this.#policy
    const most =
      maxShards > 0 && this.shards.length >= maxShards ? `, and there are ${String(maxShards)} shards, the most allowed` : ''
    return `no move would help${most}`
  }
}

/** The members of a group one by one: better than a hot shard. */
const apart = ({ members }: Unit): Unit[] => members.map((member) => unitOf([member]))

/** A unit that has just been planned to move is not moved twice. */
function rested(unit: Unit, now: number): Unit {
  return { ...unit, members: unit.members.map((member) => ({ ...member, movedAt: now })) }
}

function withoutMembers(unit: Unit, gone: Unit): Unit[] {
  const left = unit.members.filter((member) => !gone.members.includes(member))
  if (left.length === unit.members.length) return [unit]
  return left.length > 0 ? [unitOf(left)] : []
}

function unitsOf(services: readonly LoadedService[]): Unit[] {
  const units = new Map<string, LoadedService[]>()
  for (const service of services) {
    const key = service.group === '' ? `service ${service.name}` : `group ${service.group}`
    const unit = units.get(key)
    if (unit) unit.push(service)
    else units.set(key, [service])
  }
  return [...units.values()].map(unitOf)
}

function unitOf(members: readonly LoadedService[]): Unit {
  return {
    members,
    load: members.reduce((sum, { cpuPercent }) => sum + cpuPercent, 0),
    ephemeral: members.some(({ ephemeral }) => ephemeral),
  }
}

const byLoad = (a: PlannedShard, b: PlannedShard) => b.load - a.load || a.id - b.id
const round = (value: number) => Math.round(value * 10) / 10
const percent = (value: number) => `${String(Math.round(value))} %`
const minutes = (ms: number) => `${String(Math.round(ms / 6000) / 10)} min`
