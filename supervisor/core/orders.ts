/** What becomes of an operator's orders: what is to be written, and what is answered. Each throws OrderError. Pure. */
import type { Decision } from '../../shared/api.ts'
import type { Answer, Given, Verb } from '../../shared/orders.ts'
import { withMoves } from './journal.ts'
import { release } from './culprit.ts'
import { place } from './placement.ts'
import { OrderError } from './ports.ts'
import { rebalance } from './rebalance.ts'
import { freshShard } from './shardNumbers.ts'
import { type Situation, rebalancePolicyOf, snapshotOf, whyIdle } from './situation.ts'
import { CLEARED_AFTER_MS } from './tuning.ts'
import type { Rebalancing, Remembered } from './types.ts'
import { viewShards } from './view.ts'

interface Order<Answer> {
  readonly write: Partial<Remembered>
  readonly answer: Answer
}

/** What an order depends on beside the situation. */
export interface OrderFacts {
  readonly now: number
  /** Version of the worker binary that is installed; empty when the order does not ask. */
  readonly installed: string
}

type Decide<V extends Verb> = (situation: Situation, given: Given<V>, facts: OrderFacts) => Order<Answer<V>>

const deciders: { readonly [V in Verb]: Decide<V> } = {
  move: orderMove,
  pin: (situation, { service }) => orderPin(situation, service, true),
  unpin: (situation, { service }) => orderPin(situation, service, false),
  rebalance: orderRebalance,
  drain: orderDrain,
  cordon: (situation, { shard }) => orderCordon(situation, shard, true),
  uncordon: (situation, { shard }) => orderCordon(situation, shard, false),
  scale: orderScale,
  'upgrade-workers': orderUpgrade,
  pause: (situation) => remembering(situation, { paused: true }),
  resume: (situation) => remembering(situation, { paused: false }),
  release: ({ remembered, observed }, { service }, { now }) => ({
    write: release(remembered, observed, service, now),
    answer: {},
  }),
}

/** What an order comes to. */
export function decide<V extends Verb>(verb: V, situation: Situation, given: Given<V>, facts: OrderFacts): Order<Answer<V>> {
  return deciders[verb](situation, given, facts)
}

function orderMove(situation: Situation, { service: name, to }: Given<'move'>, { now }: OrderFacts): Order<Decision> {
  const { shards, taken } = snapshotOf(situation, now)
  const { shardSize } = situation.settings
  const source = shards.find(({ services }) => services.some((service) => service.name === name))
  if (!source) throw new OrderError(`there is no service ${name}`)
  const target = to === 'new' ? freshShard(taken) : to
  if (target === source.shard) throw new OrderError(`${name} is in shard ${String(target)} already`)
  const there = shards.find(({ shard }) => shard === target)
  if (!there && to !== 'new') {
    throw new OrderError(
      `there is no shard ${String(to)}; there are ${shards.map(({ shard }) => String(shard)).join(', ')}, and "new"`,
    )
  }
  refuseSuspects(situation, source.shard, `${name} may be that service`)
  refuseSuspects(situation, target, `${name} would be in danger there; name another shard, or "new"`)
  if (there && there.services.length >= shardSize) {
    throw new OrderError(
      `shard ${String(target)} is full: it has ${String(there.services.length)} of ${String(shardSize)} services`,
    )
  }
  const rebalancing = { ...situation.remembered.rebalancing, pinned: new Set(situation.remembered.rebalancing.pinned).add(name) }
  return carriedOut(situation, manual('moved by the operator', [{ name, from: source.shard, to: target }]), now, rebalancing)
}

function orderPin({ services, remembered }: Situation, name: string, isPinned: boolean): Order<Answer<'pin'>> {
  if (!services.has(name)) throw new OrderError(`there is no service ${name}`)
  const pinned = new Set(remembered.rebalancing.pinned)
  if (isPinned) pinned.add(name)
  else if (!pinned.delete(name)) throw new OrderError(`${name} is not pinned`)
  return { write: { rebalancing: { ...remembered.rebalancing, pinned } }, answer: {} }
}

function orderRebalance(situation: Situation, { dryRun }: Given<'rebalance'>, { now }: OrderFacts): Order<Decision> {
  const impatient = { serviceCooldownMs: 0, shardCooldownMs: 0, movesPerWindow: Number.POSITIVE_INFINITY }
  const decision = rebalance(snapshotOf(situation, now), { ...rebalancePolicyOf(situation), ...impatient }, now)
  return dryRun || decision.moves.length === 0 ? { write: {}, answer: decision } : carriedOut(situation, decision, now)
}

function orderDrain(situation: Situation, { shard }: Given<'drain'>, { now }: OrderFacts): Order<Decision> {
  const { shards, taken } = snapshotOf(situation, now)
  const source = shards.find((candidate) => candidate.shard === shard)
  if (!source)
    throw noSuchShard(
      shard,
      shards.map((known) => known.shard),
    )
  refuseSuspects(situation, shard, 'one of its services may be that service')
  const all = shards.flatMap(({ services }) =>
    services.map(({ name, cpuPercent, group }) => ({ name, weight: cpuPercent, group })),
  )
  const rest = new Map(
    shards.filter((other) => other !== source).flatMap(({ shard: id, services }) => services.map(({ name }) => [name, id])),
  )
  const closed = new Set(shards.filter(({ cordoned }) => cordoned).map(({ shard: id }) => id)).add(shard)
  const placement = place(all, rest, { shardSize: situation.settings.shardSize, closed, taken })
  const moves = source.services.map(({ name }) => ({ name, from: shard, to: placement.get(name) ?? shard }))
  const { rebalancing } = situation.remembered
  const cordoned = { ...rebalancing, cordoned: new Set(rebalancing.cordoned).add(shard) }
  return carriedOut(situation, manual(`shard ${String(shard)} is drained by the operator`, moves), now, cordoned)
}

function orderCordon(situation: Situation, shard: number, cordoned: boolean): Order<Answer<'cordon'>> {
  const closed = new Set(situation.remembered.rebalancing.cordoned)
  const shards = knownShards(situation).map((known) => known.shard)
  if (!shards.includes(shard)) throw noSuchShard(shard, shards)
  if (cordoned) closed.add(shard)
  else closed.delete(shard)
  return remembering(situation, { cordoned: closed })
}

const noSuchShard = (shard: number, shards: readonly number[]) =>
  new OrderError(`there is no shard ${String(shard)}; there are ${shards.join(', ') || 'none'}`)

function orderScale(situation: Situation, { shards }: Given<'scale'>, { now }: OrderFacts): Order<Decision> {
  const { services, settings, remembered } = situation
  if (shards !== 'auto') {
    const least = Math.ceil(services.size / settings.shardSize)
    const [all, few] = [String(services.size), String(least)]
    if (shards < least) throw new OrderError(`${all} services need at least ${few} shards of ${String(settings.shardSize)}`)
    if (shards > services.size) throw new OrderError(`${all} services fill at most ${all} shards`)
  }
  const order = remembering(situation, { scaledTo: shards === 'auto' ? null : shards })
  return { ...order, answer: nextDecision({ ...situation, remembered: { ...remembered, ...order.write } }, now) }
}

/** What the next look at the load will decide. */
function nextDecision(situation: Situation, now: number): Decision {
  const why = whyIdle(situation)
  if (why !== '') return { verdict: 'none', reason: why, moves: [], expected: [] }
  return rebalance(snapshotOf(situation, now), rebalancePolicyOf(situation), now)
}

function orderUpgrade(
  situation: Situation,
  { all }: Given<'upgrade-workers'>,
  { installed }: OrderFacts,
): Order<Answer<'upgrade-workers'>> {
  const shards = knownShards(situation).flatMap(({ shard, version, workerPhase }) =>
    // One that has only been started has not said its version yet: it is the installed one.
    all || (workerPhase !== null && version !== '' && version !== installed) ? [shard] : [],
  )
  const upgrade = shards.length > 0 ? { waiting: shards, current: null, halted: '' } : null
  return { ...remembering(situation, { upgrade }), answer: { shards } }
}

/** The search for the service that crashes a worker counts on it that its shards stay as they are. */
function refuseSuspects({ remembered }: Situation, shard: number, danger: string): void {
  if (!remembered.culprits.suspects.has(shard)) return
  const minutes = String(CLEARED_AFTER_MS / 60_000)
  throw new OrderError(
    `shard ${String(shard)} is being searched for the service that crashes its worker: ${danger}. The search ends when its worker ` +
      `has run for ${minutes} minutes ("status" shows that); then try again`,
  )
}

function carriedOut(
  { remembered }: Situation,
  decision: Decision,
  now: number,
  rebalancing = remembered.rebalancing,
): Order<Decision> {
  const travelling = decision.moves.find(({ name }) => remembered.moves.has(name))
  if (travelling) throw new OrderError(`${travelling.name} is on its way already; "status" shows where to`)
  return { write: withMoves(remembered, decision, rebalancing, now), answer: decision }
}

const remembering = ({ remembered }: Situation, change: Partial<Rebalancing>): Order<Record<string, never>> => ({
  write: { rebalancing: { ...remembered.rebalancing, ...change } },
  answer: {},
})

const knownShards = ({ desired, observed, remembered: { rebalancing, culprits }, settings }: Situation) =>
  viewShards(desired, observed, rebalancing.cordoned, culprits.suspects, settings)

const manual = (reason: string, moves: Decision['moves']): Decision => ({ verdict: 'manual', reason, moves, expected: [] })
