import type { Patience } from './types.ts'

/**
 * How patient a supervisor is. A worker's death is mended at once three times in a row and then more and more slowly; a
 * failed service is tried for ever, at last every five minutes.
 */
export const defaultPatience: Patience = {
  spawnTimeoutMs: 15_000,
  foundTimeoutMs: 10_000,
  lostTimeoutMs: 30_000,
  serviceBackoff: { free: 0, baseMs: 1000, maxMs: 300_000, halfLifeMs: 120_000 },
  workerBackoff: { free: 3, baseMs: 1000, maxMs: 60_000, halfLifeMs: 30_000 },
}
