/**
 * Restart intensity: a count of failures that decays, after suture v4 (supervisor.go, failureDecay) and the OTP supervisor
 * principles. Services and workers use the same rule with different numbers.
 */

export interface BackoffPolicy {
  /** So many failures cost no delay. */
  readonly free: number
  readonly baseMs: number
  readonly maxMs: number
  /** Old failures count half after this time. */
  readonly halfLifeMs: number
}

export interface FailureCount {
  readonly count: number
  readonly at: number
}

export const noFailures: FailureCount = { count: 0, at: 0 }

/** Adds one failure to what is left of the earlier ones: count x 2^(-elapsed / half-life) + 1. */
export function recordFailure(failures: FailureCount, now: number, policy: Pick<BackoffPolicy, 'halfLifeMs'>): FailureCount {
  // A clock that jumps back must not make old failures grow.
  const elapsedMs = Math.max(0, now - failures.at)
  return { count: failures.count * 2 ** (-elapsedMs / policy.halfLifeMs) + 1, at: now }
}

/**
 * How long to wait before the next attempt: base x 2^(count - 1 - free), at most max, +-20 % jitter so that services that
 * failed together do not come back together. The jitter comes from the seed: the core knows no randomness.
 */
export function backoffMs(failures: FailureCount, policy: BackoffPolicy, seed: string): number {
  const beyondFree = failures.count - policy.free
  if (beyondFree < 0.5) return 0
  const plain = Math.min(policy.maxMs, policy.baseMs * 2 ** (beyondFree - 1))
  return Math.round(plain * (0.8 + 0.4 * unitHash(`${seed}#${failures.at}`)))
}

/** FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/) of the text, as a number in [0, 1). */
function unitHash(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return (hash >>> 0) / 2 ** 32
}
