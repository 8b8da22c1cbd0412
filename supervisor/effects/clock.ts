import type { Clock } from '../core/ports.ts'

/** setTimeout takes at most 2^31 - 1 ms and fires at once beyond that: https://nodejs.org/api/timers.html */
const MAX_DELAY_MS = 2 ** 31 - 1

/** The clock of this machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  wakeAt(at, callback) {
    const delayMs = at - Date.now()
    if (delayMs <= 0) {
      const immediate = setImmediate(callback)
      return () => {
        clearImmediate(immediate)
      }
    }
    // Woken early, the loop finds nothing due and asks again.
    const timer = setTimeout(callback, Math.min(delayMs, MAX_DELAY_MS))
    return () => {
      clearTimeout(timer)
    }
  },
}
