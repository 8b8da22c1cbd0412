/** Whatever a host hides: a living worker never counts as gone, and no other process gets a signal that was meant for a worker. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ProcessLook, type SocketSign, judge, maySignal, signOf } from '../../supervisor/core/standing.ts'

/** What is really the case. The pid of a worker that has ended may be free, or that of another process. */
type Truth =
  | { readonly worker: 'serving' | 'stopped' | 'starting' | 'closing' }
  | {
      readonly worker: 'ended'
      readonly pid: 'free' | 'zombie' | 'reused'
      readonly isOtherBoot: boolean
      readonly socket: SocketSign
    }

/** What the host lets this process see. */
interface Host {
  readonly hidesProc: boolean
  /** The socket is there, and this process may not connect to it. */
  readonly hidesSocket: boolean
  /** The worker is in another container: here, no process has its pid, or another process has it. */
  readonly isOtherContainer: 'no' | 'pid is free' | "pid is another's"
}

const TICKS = 4711

const aTruth: fc.Arbitrary<Truth> = fc.oneof(
  fc.record({ worker: fc.constantFrom('serving' as const, 'stopped' as const, 'starting' as const, 'closing' as const) }),
  fc.record({
    worker: fc.constant('ended' as const),
    pid: fc.constantFrom('free' as const, 'zombie' as const, 'reused' as const),
    isOtherBoot: fc.boolean(),
    // One that was killed leaves its socket; one that ended by itself does not.
    socket: fc.constantFrom<SocketSign>('refuses', 'absent'),
  }),
)
const aHost: fc.Arbitrary<Host> = fc.record({
  hidesProc: fc.boolean(),
  hidesSocket: fc.boolean(),
  isOtherContainer: fc.constantFrom('no' as const, 'pid is free' as const, "pid is another's" as const),
})
/** Left out: a worker in another container that has no socket yet, or no longer. Nothing could tell it from one that has ended. */
const aWorld = fc
  .record({ truth: aTruth, host: aHost })
  .filter(({ truth, host }) => host.isOtherContainer === 'no' || truth.worker === 'serving' || truth.worker === 'stopped')

function lookAt(truth: Truth, { hidesProc, isOtherContainer }: Host, otherTicks: number): ProcessLook {
  const isFree = (truth.worker === 'ended' && truth.pid === 'free') || isOtherContainer === 'pid is free'
  const isThere = !isFree
  const isSameBoot = truth.worker !== 'ended' || !truth.isOtherBoot
  const isReused = (truth.worker === 'ended' && truth.pid === 'reused') || isOtherContainer === "pid is another's"
  const isZombie = truth.worker === 'ended' && truth.pid === 'zombie'
  const stat = isThere && !hidesProc ? { startTicks: isReused ? otherTicks : TICKS, isZombie } : null
  return { isSameBoot, isReached: isThere, stat }
}

function socketOf(truth: Truth, { hidesSocket }: Host): SocketSign {
  if (hidesSocket) return 'unknown'
  if (truth.worker === 'ended') return truth.socket
  // A stopped process still listens. A worker that starts does not listen yet, and one that closes has removed its socket.
  return truth.worker === 'serving' || truth.worker === 'stopped' ? 'accepts' : 'absent'
}

const otherTicks = fc.integer({ min: 0, max: 10_000 }).filter((ticks) => ticks !== TICKS)

describe('a worker of an earlier supervisor', () => {
  it('never counts as gone while it lives, whatever /proc, signals and its socket show', () =>
    fc.assert(
      fc.property(aWorld, otherTicks, fc.boolean(), ({ truth, host }, ticks, hasRecord) => {
        const sign = hasRecord ? signOf(lookAt(truth, host, ticks), TICKS) : null
        const standing = judge(sign, socketOf(truth, host))
        if (truth.worker !== 'ended') expect(standing).not.toBe('gone')
        else expect(standing).not.toBe('alive')
      }),
      { numRuns: 2000 },
    ))

  it('counts as gone once it has ended, wherever that can be seen', () =>
    fc.assert(
      fc.property(aWorld, otherTicks, ({ truth, host }, ticks) => {
        fc.pre(truth.worker === 'ended' && !host.hidesSocket && (!host.hidesProc || truth.pid === 'free' || truth.isOtherBoot))
        expect(judge(signOf(lookAt(truth, host, ticks), TICKS), socketOf(truth, host))).toBe('gone')
      }),
      { numRuns: 2000 },
    ))

  it('gets a signal only if its pid is certainly its own', () =>
    fc.assert(
      fc.property(aWorld, otherTicks, fc.boolean(), ({ truth, host }, ticks, holdsNode) => {
        // Only workers take the locks of nodes, and the kernel lists a lock by the pid that its holder has here.
        const isElsewhere = host.isOtherContainer !== 'no'
        fc.pre(!holdsNode || (truth.worker !== 'ended' && !isElsewhere))
        const sign = signOf(lookAt(truth, host, ticks), TICKS)
        if (truth.worker === 'ended' || isElsewhere) expect(maySignal(sign, holdsNode)).toBe(false)
        else expect(maySignal(sign, holdsNode)).toBe(!host.hidesProc || holdsNode)
      }),
      { numRuns: 2000 },
    ))
})
