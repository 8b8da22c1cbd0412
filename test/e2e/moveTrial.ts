/** What clients may notice of moves, held against a window of the same length and load without one. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { isDisturbed } from '../../bench/harness/attempts.ts'
import { readMachineTime, stolenShare } from '../../bench/harness/measure/machineTime.ts'

export interface Requests {
  readonly total: number
  readonly failed: number
  readonly p99Ms: number
  readonly slowestMs: number
}

export interface Window {
  /** Of the service that moves: 50 requests a second on connections that are kept. */
  readonly keepAlive: Requests
  /** Of the same, with a connection for each request. */
  readonly each: Requests
  /** Of all other services, on connections that are kept. */
  readonly others: Requests
}

export interface Trial extends Moved {
  readonly still: Window
  readonly moving: Window
}

/** What was done while clients were watched. */
interface Moved {
  readonly moves: number
  /** The last one ended after the window: some of what clients noticed was not seen. */
  readonly overran: boolean
}

const ATTEMPTS = 3
/** TSNSRV_JUDGE_MOVES=1 holds moves to what they may cost on a machine that does nothing else; otherwise, to what nobody may miss. */
const STRICT = process.env.TSNSRV_JUDGE_MOVES === '1'
const SLOWEST_MS = STRICT ? 200 : 3000
// A move keeps two cores, with control and clients on them, busy for about 0.1 s. Strictly it is judged at the pace of an autopilot
// that spends its whole budget (20 moves in ten minutes); else at one at which more than one in a hundred of a neighbour's requests
// falls into a move.
const PACE = STRICT ? { windowMs: 120_000, mostMoves: 4, restMs: 25_000 } : { windowMs: 12_000, mostMoves: 4, restMs: 1500 }
// A request takes a few milliseconds. A machine that lets one wait for longer than this without any move is busy with others.
const CALM_MS = 50
// Of what is a few milliseconds, a tenth may be less than what differs from one window to the next.
const P99_FLOOR_MS = STRICT ? 0.2 : 500

/** How long clients are watched at a time. */
export const WINDOW_MS = PACE.windowMs
/** Options of a test that calls untilBorne: each attempt is two windows. */
export const TRIALS = { timeout: ATTEMPTS * 2 * WINDOW_MS + 180_000 }
// Who waits for a connection after the last move is helped by those who come later.
const MARGIN_MS = 3000

/** Moves there and back during a window that begins now, while there is time. */
export async function moveWhileWatched(move: (there: boolean) => Promise<unknown>): Promise<Moved> {
  const end = Date.now() + WINDOW_MS
  let moves = 0
  do {
    await delay(PACE.restMs)
    await move(moves % 2 === 0)
    moves++
  } while (moves % 2 === 1 || (moves < PACE.mostMoves && Date.now() < end - 2 * PACE.restMs - MARGIN_MS))
  return { moves, overran: Date.now() > end }
}

/**
 * Tries until moves were borne as promised. No attempt may lose a request of a client that keeps its connections. Times are those
 * of the best attempt, beside what requests wait for without any move; while the hypervisor gives the machine to others, they say
 * nothing, and are not judged. A client with a connection for each request loses some without a move, now and then (a source port
 * that is used again too soon), so those of all attempts count together, and have to differ by more than chance.
 */
export async function untilBorne(where: string, attempt: () => Promise<Trial>): Promise<void> {
  const lost = { still: 0, moving: 0 }
  const problems: string[] = []
  for (let i = 1; i <= ATTEMPTS; i++) {
    const before = readMachineTime()
    const trial = await attempt()
    const stolen = stolenShare(before, readMachineTime()) ?? 0
    console.log(`${where}: ${describe(trial)}; ${(100 * stolen).toFixed(1)} % of the time stolen`)
    const { still, moving } = trial
    expect([still.keepAlive.failed, moving.keepAlive.failed, still.others.failed, moving.others.failed]).toEqual([0, 0, 0, 0])
    expect(moving.keepAlive.total).toBeGreaterThan(100)
    lost.still += still.each.failed
    lost.moving += moving.each.failed
    // Twice the standard deviation of the difference of two counts.
    expect(lost.moving - lost.still, JSON.stringify(lost)).toBeLessThanOrEqual(2 * Math.sqrt(lost.moving + lost.still))
    const problem = slowness(trial)
    if (problem === '') return
    if (!isDisturbed(stolen)) problems.push(problem)
  }
  expect(problems, 'no attempt was borne').toHaveLength(0)
  console.log(`${where}: the machine was never ours: how long requests took was not judged`)
}

/** What took longer than moves may cost; empty when nothing did. */
function slowness({ still, moving, overran }: Trial): string {
  const p99LimitMs = Math.max(still.others.p99Ms * 1.1, still.others.p99Ms + P99_FLOOR_MS)
  const stallMs = still.keepAlive.slowestMs
  const slowestLimitMs = stallMs > CALM_MS ? SLOWEST_MS + stallMs : SLOWEST_MS
  return [
    ...(moving.keepAlive.slowestMs > slowestLimitMs ? [`a request took more than ${ms(slowestLimitMs)}`] : []),
    ...(overran ? ['moves took longer than they were watched for'] : []),
    ...(moving.others.p99Ms > p99LimitMs ? [`the neighbours' p99 was above ${ms(p99LimitMs)}`] : []),
  ].join('; ')
}

function describe({ moves, still, moving }: Trial): string {
  const { keepAlive, each, others } = moving
  return [
    `${moves} moves: ${keepAlive.total} requests, ${keepAlive.failed} failed, slowest ${ms(keepAlive.slowestMs)}`,
    `slowest without a move ${ms(still.keepAlive.slowestMs)}`,
    `with a connection each ${each.failed} of ${each.total} failed (${still.each.failed} of ${still.each.total} without a move)`,
    `neighbours' p99 ${ms(still.others.p99Ms)} before, ${ms(others.p99Ms)} during the moves`,
  ].join('; ')
}

const ms = (value: number): string => `${value.toFixed(1)} ms`
