/** How long services take to start: from the first word of the worker that it starts one until that is ready. Changes in place. */
import type { StartHistogram, StartKind } from '../../shared/api.ts'
import type { Moves, Observed } from './types.ts'

/** Upper bounds of the buckets in seconds; more than the last is in none. A start of more than 5 s is worth a look. */
export const START_BOUNDS: readonly number[] = [0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

export class StartBook {
  readonly #histograms: Partial<Record<StartKind, StartHistogram>> = {}
  /** Seconds, by service. */
  readonly #latest = new Map<string, number>()

  /** Takes in the starts that have ended between two states. Workers that have not changed cost one comparison each. */
  look(before: Observed, after: Observed, moves: Moves): void {
    if (before.workers === after.workers) return
    for (const [id, { services }] of after.workers) {
      const old = before.workers.get(id)?.services
      if (!old || old === services) continue
      for (const [name, { phase, since }] of services) {
        const known = old.get(name)
        if (phase !== 'ready' || known?.phase !== 'starting') continue
        const hasRestarted = Object.keys(after.services.get(name)?.restarts ?? {}).length > 0
        this.#add(name, moves.has(name) ? 'move' : hasRestarted ? 'restart' : 'cold', Math.max(0, since - known.since) / 1000)
      }
    }
  }

  #add(name: string, kind: StartKind, seconds: number): void {
    const { buckets, sum, count } = this.#histograms[kind] ?? { buckets: START_BOUNDS.map(() => 0), sum: 0, count: 0 }
    this.#histograms[kind] = {
      buckets: buckets.map((held, i) => held + Number(seconds <= (START_BOUNDS[i] ?? 0))),
      sum: sum + seconds,
      count: count + 1,
    }
    this.#latest.set(name, seconds)
  }

  get histograms(): Readonly<Partial<Record<StartKind, StartHistogram>>> {
    return this.#histograms
  }

  /** Seconds; null when no start was seen. */
  latest(service: string): number | null {
    return this.#latest.get(service) ?? null
  }

  /** Forgets services that are not configured any more. */
  keep(services: ReadonlySet<string>): void {
    for (const name of this.#latest.keys()) if (!services.has(name)) this.#latest.delete(name)
  }
}
