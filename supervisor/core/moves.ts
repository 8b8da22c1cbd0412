/**
 * Moves: services on their way from one shard to another. A move is a record in the journal and a change of placement;
 * reconcile does the rest, as for any service that is not where it belongs: drain it in the old worker, and start it in the
 * new one once the old has let go of its identity. What is decided here is when each move may begin, and what becomes of it.
 *
 * The journal is written before the placement that it speaks of is used. So a supervisor that dies in between is followed by
 * one that reads where the service was to go, and goes on.
 */
import { isAnswering, primaryWorkers } from './reconcile.ts'
import type { Desired, Move, Moves, Observed, ObservedWorker, Placement } from './types.ts'
import { MOVES_AT_ONCE } from './tuning.ts'

export interface MovePolicy {
  readonly shardSize: number
  /** How long a move may wait for a worker that is to take the service. */
  readonly queueTimeoutMs: number
  /** How long it may take the service to be ready on the other side. */
  readonly moveTimeoutMs: number
}

/** What became of a move. `returned`: it is where it was, `problem` says why. `dropped`: it never began. */
export interface EndedMove extends Move {
  readonly name: string
  readonly outcome: 'moved' | 'returned' | 'dropped'
}

export interface MoveStep {
  readonly moves: Moves
  readonly placement: Placement
  readonly begun: readonly string[]
  /** Services that are on their way back: whatever delays their next start is to be forgotten. */
  readonly turned: readonly string[]
  readonly ended: readonly EndedMove[]
}

/** What changes in the journal now; null when nothing does. `wakeAt` is told when a time-out is to be looked at. */
export function advanceMoves(
  { moves, placement }: { readonly moves: Moves; readonly placement: Placement },
  desired: Desired,
  observed: Observed,
  now: number,
  policy: MovePolicy,
  wakeAt: (at: number) => void,
): MoveStep | null {
  // Most often: each tick asks, and what is copied below has a row for every service.
  if (moves.size === 0) return null
  const round = new MoveRound(moves, placement, desired, observed, now, policy)
  for (const [name, move] of moves) {
    if (move.begunAt === null) continue
    wakeAt(move.begunAt + policy.moveTimeoutMs)
    round.follow(name, move, move.begunAt)
  }
  for (const [name, move] of moves) {
    if (move.begunAt !== null) continue
    wakeAt(move.queuedAt + policy.queueTimeoutMs)
    round.begin(name, move)
  }
  return round.result()
}

/** Shards that are about to get their first service, and so need a worker. */
export function openingShards(moves: Moves): ReadonlySet<number> {
  return new Set([...moves.values()].filter(({ begunAt }) => begunAt === null).map(({ to }) => to))
}

class MoveRound {
  readonly #moves: Map<string, Move>
  readonly #placement: Map<string, number>
  readonly #begun: string[] = []
  readonly #turned: string[] = []
  readonly #ended: EndedMove[] = []
  readonly #primaries: ReadonlyMap<number, ObservedWorker>
  readonly #desired: Desired
  readonly #now: number
  readonly #policy: MovePolicy
  #changed = false

  constructor(moves: Moves, placement: Placement, desired: Desired, observed: Observed, now: number, policy: MovePolicy) {
    this.#moves = new Map(moves)
    this.#placement = new Map(placement)
    this.#primaries = primaryWorkers(observed.workers.values())
    this.#desired = desired
    this.#now = now
    this.#policy = policy
  }

  result(): MoveStep | null {
    if (!this.#changed) return null
    return { moves: this.#moves, placement: this.#placement, begun: this.#begun, turned: this.#turned, ended: this.#ended }
  }

  /** A move that has begun: is the service there, or has it failed to come up? */
  follow(name: string, move: Move, begunAt: number): void {
    if (!this.#desired.services.has(name)) {
      this.#end(name, { ...move, problem: 'the service was removed' }, 'dropped')
      return
    }
    const backwards = move.problem !== ''
    const shard = backwards ? move.from : move.to
    const worker = this.#primaries.get(shard)
    const status = worker?.services.get(name)
    if (status?.phase === 'ready') {
      this.#end(name, move, backwards ? 'returned' : 'moved')
      return
    }
    const problem =
      problemOf(worker, shard, status) || (this.#now >= begunAt + this.#policy.moveTimeoutMs ? 'it was not ready in time' : '')
    if (problem === '') return
    // Whatever is wrong with it now is wrong with it everywhere, and reconcile's to mend.
    if (backwards) this.#end(name, move, 'returned')
    else {
      this.#placement.set(name, move.from)
      this.#set(name, { ...move, begunAt: this.#now, problem })
      this.#turned.push(name)
    }
  }

  begin(name: string, move: Move): void {
    const wanted = this.#desired.services.get(name)
    const target = this.#primaries.get(move.to)
    // Of two full shards that exchange services one has one more than it should for a moment: whoever leaves it counts already.
    const leaving = [...this.#moves.values()].filter(({ from, begunAt }) => from === move.to && begunAt === null).length
    const members = [...this.#placement.values()].filter((shard) => shard === move.to).length - leaving
    const obstacle = !wanted
      ? 'the service was removed'
      : wanted.shard !== move.from
        ? `it is in shard ${String(wanted.shard)} by now`
        : members >= this.#policy.shardSize
          ? `shard ${String(move.to)} is full`
          : !isAnswering(target) && this.#now >= move.queuedAt + this.#policy.queueTimeoutMs
            ? `shard ${String(move.to)} was not ready for it in time`
            : ''
    if (obstacle !== '') {
      this.#end(name, { ...move, problem: obstacle }, 'dropped')
      return
    }
    const source = this.#primaries.get(move.from)
    // A source that does not answer still has the service, and cannot be told to let it go.
    if (!isAnswering(target) || isMute(source) || source?.services.get(name)?.phase === 'starting') return
    if (this.#isBusy(move)) return
    this.#placement.set(name, move.to)
    this.#set(name, { ...move, begunAt: this.#now })
    this.#begun.push(name)
  }

  #isBusy({ from, to }: Move): boolean {
    const active = [...this.#moves.values()].filter(({ begunAt }) => begunAt !== null)
    const sameWay = (other: Move) => (other.from === from && other.to === to) || (other.from === to && other.to === from)
    return active.length >= MOVES_AT_ONCE || active.some(sameWay)
  }

  #set(name: string, move: Move): void {
    this.#changed = true
    this.#moves.set(name, move)
  }

  #end(name: string, move: Move, outcome: EndedMove['outcome']): void {
    this.#changed = true
    this.#moves.delete(name)
    this.#ended.push({ name, ...move, outcome })
  }
}

const isMute = (worker: ObservedWorker | undefined) => worker?.phase === 'unknown' || (worker?.silentSince ?? null) !== null

/** Why the service will not come up where it goes; empty while it may. */
function problemOf(
  worker: ObservedWorker | undefined,
  shard: number,
  status: { phase: string; message: string } | undefined,
): string {
  if (!worker || worker.phase === 'unknown') return `the worker of shard ${String(shard)} has ended or is silent`
  return status?.phase === 'failed' || status?.phase === 'needsLogin' ? status.message || `it is ${status.phase} there` : ''
}
