/** What clients may notice of moves, held against a window of the same length and load without one. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'

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

export interface Trial {
  readonly moves: number
  readonly still: Window
  readonly moving: Window
}

const ATTEMPTS = 3
const SLOWEST_MS = 200
// A request takes a few milliseconds. A machine that lets one wait for longer than this without any move is busy with others.
const CALM_MS = 50
// Of what is a few milliseconds, a tenth is less than what differs from one window to the next.
const P99_FLOOR_MS = 5

/** How long clients are watched at a time. */
export const WINDOW_MS = 12_000
const MOST_MOVES = 4
const REST_MS = 1500
// Who waits for a connection after the last move is helped by those who come later.
const MARGIN_MS = 3000

/** Moves there and back during a window that begins now, while there is time; gives how often. */
export async function moveWhileWatched(move: (there: boolean) => Promise<unknown>): Promise<number> {
  const end = Date.now() + WINDOW_MS
  let moves = 0
  do {
    await delay(REST_MS)
    await move(moves % 2 === 0)
    moves++
  } while (moves % 2 === 1 || (moves < MOST_MOVES && Date.now() < end - 2 * (MARGIN_MS - REST_MS) - MARGIN_MS))
  expect(Date.now()).toBeLessThan(end)
  return moves
}

/**
 * Tries until moves were borne as promised. No attempt may lose a request of a client that keeps its connections. Times are those
 * of the best attempt, beside what requests wait for without any move: the machine may be taken away for 100 ms at any time. A
 * client with a connection for each request loses some without a move, now and then (a source port that is used again too soon),
 * so those of all attempts count together.
 */
export async function untilBorne(where: string, attempt: () => Promise<Trial>): Promise<void> {
  const lost = { still: 0, moving: 0 }
  for (let i = 1; ; i++) {
    const trial = await attempt()
    console.log(`${where}: ${describe(trial)}`)
    const { still, moving } = trial
    expect([still.keepAlive.failed, moving.keepAlive.failed, still.others.failed, moving.others.failed]).toEqual([0, 0, 0, 0])
    expect(moving.keepAlive.total).toBeGreaterThan(300)
    lost.still += still.each.failed
    lost.moving += moving.each.failed
    const times = { slowestMs: moving.keepAlive.slowestMs, neighboursP99Ms: moving.others.p99Ms }
    const p99LimitMs = Math.max(still.others.p99Ms * 1.1, still.others.p99Ms + P99_FLOOR_MS)
    const stallMs = still.keepAlive.slowestMs
    const slowestLimitMs = stallMs > CALM_MS ? SLOWEST_MS + stallMs : SLOWEST_MS
    const borne = times.slowestMs <= slowestLimitMs && times.neighboursP99Ms <= p99LimitMs && lost.moving <= lost.still
    if (borne) return
    const limits = { slowestLimitMs, p99LimitMs }
    if (i === ATTEMPTS) throw new Error(`not borne in ${ATTEMPTS} attempts: ${JSON.stringify({ ...times, ...limits, lost })}`)
  }
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
