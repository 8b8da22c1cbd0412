/** What a soak found: samples between the events, and what each event did. */
import { linearRegression } from 'simple-statistics'
import * as z from 'zod'
import { Requests, Run } from '../../harness/results.ts'

const Count = z.number().min(0)

/** All processes together, while nothing but requests happens. */
export const Sample = z.object({
  atMinutes: Count,
  pssBytes: Count,
  supervisorRssBytes: Count,
  openFiles: Count,
  goroutines: Count,
  threads: Count,
  workers: Count,
})
export type Sample = z.infer<typeof Sample>

export const Event = z.object({
  atMinutes: Count,
  name: z.string(),
  moved: Count.describe('Services that changed their shard.'),
  requests: Requests.describe('Asked of all services while it happened.'),
  answeredSeconds: Count.describe('From the end of these until every service had answered a new connection.'),
})
export type Event = z.infer<typeof Event>

export const Soak = z.object({
  format: z.literal(1),
  startedAt: z.string(),
  minutes: Count,
  services: Count,
  machine: Run.shape.machine,
  versions: Run.shape.versions,
  host: Run.shape.host,
  samples: z.array(Sample),
  events: z.array(Event),
})
export type Soak = z.infer<typeof Soak>

/** What should not grow, and how it is written. */
export const GROWTHS = ['pssBytes', 'supervisorRssBytes', 'openFiles', 'goroutines', 'threads'] as const
export type Growth = (typeof GROWTHS)[number]

/** The first part of a soak is warming up: pools fill, Go's heap finds its size. */
const WARM_UP_SHARE = 0.25

export interface Slope {
  /** Mean over the samples after the warm-up. */
  readonly mean: number
  readonly perHour: number
}

/** Least-squares slope over the samples after the warm-up; null with fewer than three of them. */
export function slope({ samples, minutes }: Pick<Soak, 'samples' | 'minutes'>, of: Growth): Slope | null {
  const warm = samples.filter(({ atMinutes }) => atMinutes >= WARM_UP_SHARE * minutes)
  if (warm.length < 3) return null
  const { m } = linearRegression(warm.map((sample) => [sample.atMinutes / 60, sample[of]]))
  return { mean: warm.reduce((sum, sample) => sum + sample[of], 0) / warm.length, perHour: m }
}
