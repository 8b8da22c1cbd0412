/**
 * The journal: what is written down, one thing at a time, before any of it is used. In the order of their urgency: who ends
 * workers, what moves, which numbers are free again, which worker is replaced by a newer one, what memory and load ask for. Pure.
 */
import type { Decision } from '../../shared/api.ts'
import { judge } from './culprit.ts'
import type { Death } from './culpritRecord.ts'
import { guardMemory } from './guards.ts'
import { advanceMoves } from './moves.ts'
import { clearBackoff } from './observe.ts'
import { rebalance } from './rebalance.ts'
import { queueMoves, withDecision, withEnded, withMeasured } from './rebalancing.ts'
import { type Situation, movePolicyOf, rebalancePolicyOf, snapshotOf, whyIdle } from './situation.ts'
import type { Observed, Remembered, Upgrade } from './types.ts'
import { nextUpgradeStep } from './upgrade.ts'

/** What is to be written, and what follows from it once it is. */
export interface Entry {
  /** Empty when only `looked` is of interest. */
  readonly write: Partial<Remembered>
  /** Shards that something comes to, or leaves. */
  readonly touched: readonly number[]
  /** Services that are on their way back: nothing is to delay their next start. */
  readonly turned: readonly string[]
  /** Ends of workers that this answers. */
  readonly judged: readonly Death[]
  /** Services that are kept off from now on, and why. */
  readonly quarantined: readonly { readonly name: string; readonly reason: string }[]
  /** What was made of the newest samples; null when they were not looked at. */
  readonly looked: Decision | null
}

/** Makes the entry of a situation; null when there is nothing to write in it. */
type Step = (situation: Situation, now: number) => Entry | null

const nothing: Entry = { write: {}, touched: [], turned: [], judged: [], quarantined: [], looked: null }

/**
 * What is to be written next; null when nothing is. `sampled`: CPU was sampled since the last look at it. `wakeAt` is told
 * when the answer may be another without any event.
 */
export function nextStep(situation: Situation, sampled: boolean, now: number, wakeAt: (at: number) => void): Step | null {
  // Asked for both, as each tells when it is to be asked again.
  const accused = judgementOf(situation, now, wakeAt) !== null
  const due = movesOf(situation, now, wakeAt) !== null
  const { moves, rebalancing } = situation.remembered
  if (accused) return judgeDeaths
  if (due) return advance
  if (endedCordons(situation).length > 0) return forgetCordons
  if (moves.size === 0 && rebalancing.upgrade && !staysHalted(situation, rebalancing.upgrade)) return upgradeNext
  return sampled ? look : null
}

/** Observed, once the entry is written. */
export function withEntry(observed: Observed, { turned, judged }: Entry): Observed {
  return clearBackoff(withoutDeaths(observed, judged), turned)
}

/** Lets the shards of dead workers have new ones. */
export function withoutDeaths(observed: Observed, gone: readonly Death[]): Observed {
  // Their times may have been shifted since, which leaves only this the same.
  return { ...observed, deaths: observed.deaths.filter(({ services }) => !gone.some((other) => other.services === services)) }
}

/** Writes a decision into the journal, with what else has changed of rebalancing. */
export function withMoves(
  { moves }: Remembered,
  decision: Decision,
  rebalancing: Remembered['rebalancing'],
  now: number,
): Pick<Remembered, 'rebalancing' | 'moves'> {
  return { rebalancing: withDecision(rebalancing, decision, now), moves: queueMoves(moves, decision, now) }
}

const ignore = () => undefined

function judgementOf({ remembered, desired, observed }: Situation, now: number, wakeAt: (at: number) => void = ignore) {
  return judge(remembered, desired, observed, now, wakeAt)
}

function judgeDeaths(situation: Situation, now: number): Entry | null {
  const judgement = judgementOf(situation, now)
  if (!judgement) return null
  const { culprits, placement, moves, judged, decisions } = judgement
  const rebalancing = decisions.reduce((all, decision) => withDecision(all, decision, now), situation.remembered.rebalancing)
  const quarantined = judgement.quarantined.map((name) => ({ name, reason: culprits.quarantine.get(name)?.reason ?? '' }))
  return { ...nothing, write: { culprits, placement, moves, rebalancing }, judged, quarantined }
}

function movesOf(situation: Situation, now: number, wakeAt: (at: number) => void = ignore) {
  const { remembered, desired, observed } = situation
  return advanceMoves(remembered, desired, observed, now, movePolicyOf(situation), wakeAt)
}

/** Has the moves take their next step. */
function advance(situation: Situation, now: number): Entry | null {
  const step = movesOf(situation, now)
  if (!step) return null
  const { placement, moves, begun, turned, ended } = step
  const rebalancing = withEnded(situation.remembered.rebalancing, ended, now)
  const touched = [...ended, ...begun.flatMap((name) => moves.get(name) ?? [])].flatMap(({ from, to }) => [from, to])
  return { ...nothing, write: { placement, moves, rebalancing }, touched, turned }
}

/** Cordoned numbers whose shard has ended: the next shard of that number is another one. */
function endedCordons({ remembered, desired, observed }: Situation): number[] {
  const { rebalancing, moves } = remembered
  if (rebalancing.cordoned.size === 0) return []
  const alive = new Set([
    ...[...desired.services.values()].map(({ shard }) => shard),
    ...[...observed.workers.values()].map(({ shard }) => shard),
    ...[...moves.values()].flatMap(({ from, to }) => [from, to]),
  ])
  return [...rebalancing.cordoned].filter((shard) => !alive.has(shard))
}

function forgetCordons(situation: Situation): Entry {
  const { rebalancing } = situation.remembered
  const ended = new Set(endedCordons(situation))
  const cordoned = new Set([...rebalancing.cordoned].filter((shard) => !ended.has(shard)))
  return { ...nothing, write: { rebalancing: { ...rebalancing, cordoned } } }
}

/** Whether what did not come up with a new worker is where it was: until then the upgrade stays halted. */
function staysHalted({ remembered }: Situation, { halted, current }: Upgrade): boolean {
  return halted !== '' && [...remembered.placement.values()].some((shard) => shard === current)
}

/** Replaces the next worker, or halts, or is done with it. */
function upgradeNext(situation: Situation, now: number): Entry | null {
  const { remembered } = situation
  const { rebalancing, culprits } = remembered
  if (!rebalancing.upgrade) return null
  // A suspected shard keeps its services, and its worker has been started anew a short time ago.
  const waiting = rebalancing.upgrade.waiting.filter((shard) => !culprits.suspects.has(shard))
  const { upgrade, decision } = nextUpgradeStep({ ...rebalancing.upgrade, waiting }, snapshotOf(situation, now))
  const next = { ...rebalancing, upgrade }
  return { ...nothing, write: decision ? withMoves(remembered, decision, next, now) : { rebalancing: next } }
}

/** Decides on the newest samples, unless something is under way or it is not wanted. */
function look(situation: Situation, now: number): Entry {
  const { remembered, desired, observed, settings } = situation
  const { rebalancing } = remembered
  const snapshot = snapshotOf(situation, now)
  const measured = withMeasured(rebalancing, snapshot, settings.settleTimeMs, now)
  const write = measured === rebalancing ? {} : { rebalancing: measured }
  const idle = (reason: string): Entry => ({
    ...nothing,
    write,
    looked: { verdict: 'none', reason, moves: [], expected: [] },
  })
  const why = whyIdle(situation)
  if (why !== '') return idle(why)
  const looked =
    guardMemory(desired, observed, measured, settings, snapshot.taken, now) ??
    rebalance(snapshot, rebalancePolicyOf(situation), now)
  return { ...nothing, write: looked.moves.length > 0 ? withMoves(remembered, looked, measured, now) : write, looked }
}
