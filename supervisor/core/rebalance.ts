/**
 * Rebalance: which services should change their shard because of CPU, and why. Pure: a snapshot in, one decision out.
 *
 * Two thresholds and a tolerance, after Kubernetes' descheduler (LowNodeUtilization) and its horizontal autoscaler: a shard
 * above `hotPercent` is relieved until it is well below; shards that differ are levelled only while one of them is above
 * `coldPercent`; shards below it are merged. Each step is the one move, or the one exchange of two, that lowers the busier of
 * the two shards most (the neighbourhood of Graham's list scheduling). Whatever is not known well keeps still: a shard without
 * fresh samples, or in which something has moved a moment ago, is neither source nor target.
 *
 * Why it comes to rest under constant load: relieving and levelling only ever move load from a busier shard to one that stays
 * less busy, by `LEAST_GAIN` a move, so the sum of squares of the loads falls with each. Only merging raises it, but no shard
 * beyond what hot ones are relieved to: of the load above that nothing ever comes back. So shards are opened finitely often, and
 * merged no more often than there are shards. A merge is done whole or not at all: levelling would fill a half-empty shard again.
 * Joining a group that was split raises it no further than merging does. Only a hot shard splits groups, so once none is hot the
 * parts of groups become ever fewer.
 */
import type { Decision, PlannedMove } from '../../shared/api.ts'
import { compare } from './placement.ts'
import { freshShard } from './shardNumbers.ts'
import { LEAST_GAIN, TARGETS } from './tuning.ts'

/** A service as rebalancing sees it. */
export interface LoadedService {
  readonly name: string
  /** Its part of the worker's CPU, per cent of one core. */
  readonly cpuPercent: number
  /** Services of one group move together where they can; empty for none. */
  readonly group: string
  /** The operator wants it to stay. */
  readonly pinned: boolean
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
  /** The operator wants nothing new in it, or has pinned all that is in it: what was moved there to be alone stays alone. */
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
  /** At most so many moves within the window; null for a twentieth of the services, but a full shard at least. */
  readonly movesPerWindow: number | null
  readonly windowMs: number
}

/**
 * Chosen by bench/research/sim, whose report says what each is worth. The cooldowns change no figure there: they are for what it does not
 * play, starting nodes that use CPU and clients that connect again.
 */
export const defaultRebalancing: RebalancePolicy = {
  hotPercent: 80,
  coldPercent: 30,
  tolerance: 0.2,
  shardSize: 20,
  minShards: 1,
  maxShards: 0,
  serviceCooldownMs: 600_000,
  shardCooldownMs: 60_000,
  movesPerWindow: null,
  windowMs: 600_000,
}

export interface Snapshot {
  readonly shards: readonly LoadedShard[]
  /** Numbers that no new shard may have; those of `shards` among them. */
  readonly taken: ReadonlySet<number>
  /** Epoch ms of each move begun within the last window. */
  readonly recentMoves: readonly number[]
}

/** Decides for this moment. Never throws; 5,000 services take a few milliseconds. The order within the snapshot is no matter. */
export function rebalance(snapshot: Snapshot, policy: RebalancePolicy, now: number): Decision {
  const recent = snapshot.recentMoves.filter((at) => within(at, policy.windowMs, now)).sort((a, b) => a - b)
  const services = snapshot.shards.reduce((sum, shard) => sum + shard.services.length, 0)
  const budget = policy.movesPerWindow ?? Math.max(policy.shardSize, Math.ceil(services / 20))
  const spent = recent.length
  if (spent >= budget) {
    const until = (recent[spent - budget] ?? now) + policy.windowMs
    return none(`not before ${timeOfDay(until)}: ${budget} moves in ${minutes(policy.windowMs)} are the budget`)
  }
  const plan = new Plan(snapshot, policy, now, budget - spent)
  for (const verdict of ['relieve', 'scale', 'merge', 'level', 'join'] as const) {
    plan[verdict]()
    if (plan.moves.length > 0) return plan.decision(verdict)
  }
  return none(plan.whyNothing())
}

const none = (reason: string): Decision => ({ verdict: 'none', reason, moves: [], expected: [] })

/** Services that move together: a group's members in one shard, or one service. */
interface Unit {
  readonly members: readonly LoadedService[]
  readonly load: number
}

/** A shard while moves are tried out on it. */
interface PlannedShard {
  readonly id: number
  /** Measured, and left in peace for long enough: what is not known is neither source nor target. */
  readonly known: boolean
  readonly cordoned: boolean
  readonly before: number
  load: number
  count: number
  units: readonly Unit[]
}

interface Step {
  readonly unit: Unit
  readonly to: PlannedShard
  /** What comes back, for an exchange. */
  readonly back: Unit | null
}

class Plan {
  readonly moves: PlannedMove[] = []
  /** Every shard, whether known or not. */
  readonly #shards: PlannedShard[]
  /** Those that may take part; coolest first at all times. */
  readonly #known: PlannedShard[]
  readonly #moved = new Set<LoadedService>()
  readonly #reasons: string[] = []
  /** What ought to be done and cannot. */
  readonly #notes: string[] = []
  /** How many services of each group there are, in whichever shards. */
  readonly #groupSizes = new Map<string, number>()
  readonly #taken: ReadonlySet<number>
  readonly #policy: RebalancePolicy
  readonly #now: number
  #budget: number

  constructor({ shards, taken }: Snapshot, policy: RebalancePolicy, now: number, budget: number) {
    this.#taken = taken
    this.#policy = policy
    this.#now = now
    this.#budget = budget
    this.#shards = shards.map(({ shard, cpuPercent, cordoned, settledAt, services }): PlannedShard => {
      const measured = [cpuPercent, ...services.map((service) => service.cpuPercent)].every(isLoad)
      const known = measured && !within(settledAt, policy.shardCooldownMs, now)
      const load = known ? (cpuPercent ?? 0) : 0
      return { id: shard, known, cordoned, before: load, load, count: services.length, units: known ? unitsOf(services) : [] }
    })
    this.#known = this.#shards.filter(({ known }) => known).sort(coolestFirst)
    for (const { group } of shards.flatMap(({ services }) => services)) {
      if (group !== '') this.#groupSizes.set(group, (this.#groupSizes.get(group) ?? 0) + 1)
    }
  }

  decision(verdict: Decision['verdict']): Decision {
    const touched = new Set(this.moves.flatMap(({ from, to }) => [from, to]))
    const expected = this.#shards
      .filter(({ id }) => touched.has(id))
      .sort((a, b) => a.id - b.id)
      .map(({ id, before, load }) => ({ shard: id, beforePercent: round(before), afterPercent: round(load) }))
    return { verdict, reason: this.#reasons.join('; '), moves: this.moves, expected }
  }

  whyNothing(): string {
    const known = this.#known.length
    const unknown = this.#shards.length - known
    if (known === 0) return 'no shard has been measured for long enough'
    const { hotPercent } = this.#policy
    const why = this.#notes.length > 0 ? this.#notes.join('; ') : `no shard is above ${percent(hotPercent)}, and they are level`
    return unknown === 0 ? why : `${why}; ${unknown} of ${this.#shards.length} shards are not looked at for now`
  }

  /** Takes load off hot shards, where there is somewhere better for it. */
  relieve(): void {
    const { hotPercent } = this.#policy
    for (const source of this.#known.filter(({ load }) => load > hotPercent).sort(busiestFirst)) {
      const was = source.load
      while (source.load > this.#target) {
        const step = this.#isolation(source) ?? this.#best(source, 'preferred') ?? this.#best(source, 'last resort')
        if (!step) break
        this.#take(source, step)
      }
      const hot = `shard ${source.id} is hot (${percent(was)})`
      if (source.load < was) this.#reasons.push(hot)
      else this.#notes.push(`${hot}, but ${this.#whyNot(source)}`)
    }
  }

  /** Opens the shards that are lacking to `minShards`, each with its part of the services. */
  scale(): void {
    const services = this.#shards.reduce((sum, { count }) => sum + count, 0)
    const least = Math.min(this.#policy.minShards, services)
    const share = Math.floor(services / least)
    while (this.#shards.length < least) {
      const fresh = this.#fresh()
      // What the new shard gets from several others must not make it busier than the busiest of them was.
      let peak = 0
      while (fresh && fresh.count < share) {
        const source = this.#known.filter(({ count }) => count > share).sort((a, b) => b.count - a.count || busiestFirst(a, b))[0]
        const bound = Math.max(peak, source?.before ?? 0)
        const room = Math.min(share - fresh.count, this.#budget)
        const fits = (unit: Unit) => unit.members.length <= room && fresh.load + unit.load <= bound && this.#movable(unit)
        // The middle one of what may go: the heaviest would make the new shard the busiest, the lightest an idle one.
        const units = source?.units.filter(fits) ?? []
        const unit = units[Math.floor(units.length / 2)]
        if (!source || !unit) break
        peak = bound
        this.#take(source, { unit, to: fresh, back: null })
      }
      if (!fresh?.count) break
    }
    if (this.moves.length > 0) this.#reasons.push(`there are to be at least ${this.#policy.minShards} shards`)
  }

  /** Lowers the busiest while it is above the mean by more than the tolerance. A service alone in its shard is left there. */
  level(): void {
    const { coldPercent, tolerance } = this.#policy
    const part = this.#known.filter(({ count }) => count > 1)
    const mean = part.reduce((sum, { load }) => sum + load, 0) / Math.max(1, part.length)
    const level = Math.max(coldPercent, mean * (1 + tolerance))
    for (const source of part.filter(({ load }) => load > level).sort(busiestFirst)) {
      const was = source.load
      while (source.load > level) {
        const step = this.#best(source, 'level')
        if (!step) break
        this.#take(source, step)
      }
      if (source.load < was) this.#reasons.push(`shard ${source.id} has ${percent(was)}, the mean is ${percent(mean)}`)
    }
  }

  /** Empties one cold shard into the others; any shard, when there are more than `maxShards`. */
  merge(): void {
    const { coldPercent, shardSize, minShards, maxShards } = this.#policy
    const services = this.#shards.reduce((sum, { count }) => sum + count, 0)
    if (this.#shards.length <= Math.max(1, minShards, Math.ceil(services / shardSize))) return
    const tooMany = maxShards > 0 && this.#shards.length > maxShards
    const sources = this.#known
      .filter(({ load, count }) => count > 0 && count <= this.#budget && (tooMany || load < coldPercent))
      .sort((a, b) => a.count - b.count || coolestFirst(a, b))
    for (const source of sources) {
      const steps = this.#emptied(source)
      if (!steps) continue
      for (const step of steps) this.#take(source, step)
      const why = tooMany ? `there are more than ${maxShards} shards` : `it is cold (${percent(source.before)})`
      this.#reasons.push(`shard ${source.id} is emptied into others: ${why}`)
      return
    }
    if (tooMany) this.#notes.push(`there are more than ${maxShards} shards, but none can be emptied now`)
  }

  /** Brings one group together that was split, if no shard is hot and one has a place for all of it. */
  join(): void {
    const { hotPercent, minShards } = this.#policy
    if (this.#known.some(({ load }) => load > hotPercent)) return
    for (const [group, parts] of this.#splitGroups()) {
      const held = new Map(parts.map(({ shard, unit }) => [shard, unit.members.length]))
      // Where most of it is the fewest have to move; one with none of it is the last choice.
      const inOrder = this.#known.toSorted((a, b) => (held.get(b) ?? 0) - (held.get(a) ?? 0))
      for (const to of inOrder) {
        const rest = parts.filter(({ shard }) => shard !== to)
        const ended = rest.filter(({ shard, unit }) => shard.count === unit.members.length).length
        if (!this.#hasPlace(to, rest, held.has(to)) || (ended > 0 && this.#shards.length - ended < minShards)) continue
        for (const { shard, unit } of rest) this.#take(shard, { unit, to, back: null })
        this.#reasons.push(`group ${group} was split, and there is a place for all of it in shard ${to.id}`)
        return
      }
    }
  }

  /** Each group that is in several shards, all of them known: its parts. In the order of names. */
  #splitGroups(): [string, { shard: PlannedShard; unit: Unit }[]][] {
    const groups = new Map<string, { shard: PlannedShard; unit: Unit }[]>()
    for (const shard of this.#known) {
      for (const unit of shard.units) {
        const group = unit.members[0]?.group ?? ''
        if (group !== '') groups.set(group, [...(groups.get(group) ?? []), { shard, unit }])
      }
    }
    const size = (parts: readonly { unit: Unit }[]) => parts.reduce((sum, { unit }) => sum + unit.members.length, 0)
    return [...groups]
      .filter(([group, parts]) => parts.length > 1 && size(parts) === this.#groupSizes.get(group))
      .sort(([a], [b]) => compare(a, b))
  }

  /** Whether these parts of a group may go there. A shard that has some of it already is a target however busy that is alone. */
  #hasPlace(to: PlannedShard, parts: readonly { shard: PlannedShard; unit: Unit }[], hasSome: boolean): boolean {
    const { shardSize, coldPercent } = this.#policy
    if (to.cordoned || !(hasSome || to.count > 1 || to.load < coldPercent)) return false
    const count = parts.reduce((sum, { unit }) => sum + unit.members.length, 0)
    const load = parts.reduce((sum, { unit }) => sum + unit.load, 0)
    if (count > this.#budget || to.count + count > shardSize || to.load + load > this.#target) return false
    return parts.every(({ unit }) => this.#movable(unit))
  }

  /** Where each unit of the shard would go; null when one has no place or has to stay. */
  #emptied(source: PlannedShard): Step[] | null {
    const { shardSize } = this.#policy
    const others = this.#targets(source)
      .filter((shard) => shard.count < shardSize && !this.#isToGo(shard, source))
      .map((shard) => ({ shard, load: shard.load, room: shardSize - shard.count }))
    const steps: Step[] = []
    for (const unit of source.units.toReversed()) {
      if (!this.#movable(unit)) return null
      let coolest: (typeof others)[number] | undefined
      for (const other of others) {
        if (other.room < unit.members.length || other.load + unit.load > this.#target) continue
        if (!coolest || other.load < coolest.load) coolest = other
      }
      if (!coolest) return null
      coolest.load += unit.load
      coolest.room -= unit.members.length
      steps.push({ unit, to: coolest.shard, back: null })
    }
    return steps
  }

  /** Whether a shard will rather be emptied itself, into this one, and fewer services have to move: it may only have to rest before. */
  #isToGo({ count, load, units }: PlannedShard, other: PlannedShard): boolean {
    if (other.cordoned || count >= other.count || load >= this.#policy.coldPercent) return false
    return units.every(({ members }) => members.every(({ pinned, ephemeral }) => !pinned && !ephemeral))
  }

  /** A service that alone is hot gets a shard for itself, whatever its neighbours use: it is they who gain. */
  #isolation(source: PlannedShard): Step | undefined {
    const alone = ({ load, members }: Unit) => load >= this.#policy.hotPercent && members.length === 1 && source.count > 1
    const unit = source.units.findLast((unit) => alone(unit) && this.#movable(unit))
    const fresh = unit && this.#budget > 0 ? this.#fresh() : undefined
    return unit && fresh && { unit, to: fresh, back: null }
  }

  /**
   * The step that lowers the busier of source and target most, less what its moves have to be worth. Levelling opens no
   * shard. Only the last resort moves ephemeral services and takes groups apart.
   */
  #best(source: PlannedShard, how: keyof typeof LEAST_GAIN): Step | undefined {
    const all = how === 'last resort'
    const gain = LEAST_GAIN[how]
    const { shardSize } = this.#policy
    const movable = (units: readonly Unit[]) => units.filter((unit) => this.#movable(unit, all))
    const units = movable(all ? source.units.flatMap(apart).sort(byLoad) : source.units).filter(({ load }) => load >= gain)
    if (units.length === 0) return undefined
    let best: { step: Step; peak: number; cost: number } | undefined
    const consider = (unit: Unit, to: PlannedShard, back: Unit | null) => {
      const [gone, come] = [unit.members.length, back?.members.length ?? 0]
      if (gone + come > this.#budget || to.count + gone - come > shardSize || source.count - gone + come > shardSize) return
      const shift = unit.load - (back?.load ?? 0)
      const peak = Math.max(source.load - shift, to.load + shift)
      const cost = peak + gain * (gone + come)
      if (cost <= source.load && (!best || cost < best.cost)) best = { step: { unit, to, back }, peak, cost }
    }
    for (const to of this.#targets(source).slice(0, TARGETS)) {
      if (best) break
      for (const unit of units) consider(unit, to, null)
      if (to.count < shardSize || source.cordoned) continue
      // The best to come back makes both shards equal: with both lists in order, it is never before that of a lighter unit.
      const backs = movable(to.units)
      let next = 0
      for (const unit of units) {
        while (next < backs.length - 1 && (backs[next]?.load ?? 0) < unit.load - (source.load - to.load) / 2) next++
        for (const back of backs.slice(Math.max(0, next - 1), next + 1)) consider(unit, to, back)
      }
    }
    if (how !== 'level' && !(best && best.peak <= this.#target)) {
      const fresh = this.#fresh()
      if (fresh) for (const unit of units) if (unit.members.length < source.count) consider(unit, fresh, null)
    }
    return best?.step
  }

  /** Coolest first. The shard of a service that is busy all alone is nobody's target. */
  #targets(source: PlannedShard): PlannedShard[] {
    const { coldPercent } = this.#policy
    return this.#known.filter((shard) => shard !== source && !shard.cordoned && (shard.count > 1 || shard.load < coldPercent))
  }

  /** A shard that does not exist yet, if there may be one more. */
  #fresh(): PlannedShard | undefined {
    const { maxShards } = this.#policy
    if (maxShards > 0 && this.#shards.length >= maxShards) return undefined
    const id = freshShard(new Set([...this.#taken, ...this.#shards.map((shard) => shard.id)]))
    return { id, known: true, cordoned: false, before: 0, load: 0, count: 0, units: [] }
  }

  #take(source: PlannedShard, { unit, to, back }: Step): void {
    if (!this.#shards.includes(to)) {
      this.#shards.push(to)
      this.#known.push(to)
    }
    this.#move(unit, source, to)
    if (back) this.#move(back, to, source)
    this.#known.sort(coolestFirst)
  }

  #move(unit: Unit, from: PlannedShard, to: PlannedShard): void {
    const gone = new Set(unit.members)
    from.units = from.units
      .flatMap((other) => {
        const left = other.members.filter((member) => !gone.has(member))
        return left.length === other.members.length ? [other] : left.length > 0 ? [unitOf(left)] : []
      })
      .sort(byLoad)
    to.units = [...to.units, unit].sort(byLoad)
    from.load -= unit.load
    to.load += unit.load
    from.count -= gone.size
    to.count += gone.size
    this.#budget -= gone.size
    for (const member of gone) {
      this.#moved.add(member)
      this.moves.push({ name: member.name, from: from.id, to: to.id })
    }
  }

  #movable({ members }: Unit, evenEphemeral = false): boolean {
    return members.every((member) => !member.pinned && !this.#rests(member) && (evenEphemeral || !member.ephemeral))
  }

  #rests(service: LoadedService): boolean {
    return this.#moved.has(service) || within(service.movedAt, this.#policy.serviceCooldownMs, this.#now)
  }

  #whyNot(source: PlannedShard): string {
    const { maxShards, serviceCooldownMs } = this.#policy
    const services = source.units.flatMap(({ members }) => members)
    if (services.every(({ pinned }) => pinned)) return `all its services are pinned; "tsnsrv-sup unpin" lets them move`
    if (services.length === 1) return `${services[0]?.name ?? ''} has it for itself`
    if (services.every((service) => this.#rests(service)))
      return `all its services have moved within ${minutes(serviceCooldownMs)}`
    if (maxShards > 0 && this.#shards.length >= maxShards)
      return `no move would help, and ${maxShards} shards are the most allowed`
    return 'no move would help'
  }

  /** What a hot shard is relieved to, and merging fills a shard up to. */
  get #target(): number {
    return this.#policy.hotPercent * (1 - this.#policy.tolerance)
  }
}

/** Groups and lone services in `byLoad` order: the same snapshot gives the same decision, however it is ordered. */
function unitsOf(services: readonly LoadedService[]): Unit[] {
  const units: Unit[] = []
  const groups = new Map<string, LoadedService[]>()
  for (const service of services) {
    const group = groups.get(service.group)
    if (service.group === '') units.push({ members: [service], load: service.cpuPercent })
    else if (group) group.push(service)
    else groups.set(service.group, [service])
  }
  for (const members of groups.values()) units.push(unitOf(members.sort((a, b) => compare(a.name, b.name))))
  return units.sort(byLoad)
}

const unitOf = (members: readonly LoadedService[]): Unit => ({
  members,
  load: members.reduce((sum, { cpuPercent }) => sum + cpuPercent, 0),
})

/** The members of a group one by one. */
const apart = ({ members }: Unit): Unit[] => members.map((member) => unitOf([member]))

/** Whether it is a load at all: a missing or absurd sample is none. */
const isLoad = (percent: number | null) => percent !== null && Number.isFinite(percent) && percent >= 0

/** Less than `span` away. A clock that has been set back by more ends a cooldown instead of prolonging it. */
const within = (at: number, span: number, now: number) => Math.abs(now - at) < span

const byLoad = (a: Unit, b: Unit) => a.load - b.load || compare(a.members[0]?.name ?? '', b.members[0]?.name ?? '')
const coolestFirst = (a: PlannedShard, b: PlannedShard) => a.load - b.load || a.id - b.id
const busiestFirst = (a: PlannedShard, b: PlannedShard) => b.load - a.load || a.id - b.id
const round = (value: number) => Math.round(value * 10) / 10
const percent = (value: number) => `${Math.round(value)} %`
/** HH:MM in the time zone of this process, which is that of its log. */
const timeOfDay = (at: number) => new Date(at).toTimeString().slice(0, 5)
const minutes = (ms: number) => `${Math.round(ms / 6000) / 10} min`
