/** What a run of attacks found: the shape of what --json prints. Bytes, seconds and milliseconds are in the names. */
import * as z from 'zod'
import { Requests, Run } from '../../harness/results.ts'

const Count = z.number().min(0)
const Whole = z.number().int().min(0)

/** How a client reaches a service: as a node of the tailnet, or from the internet through Funnel. */
export const WAYS = ['tailnet', 'funnel'] as const
export const Way = z.enum(WAYS)
export type Way = z.infer<typeof Way>

/** The worker that serves attacked service and neighbour, at one moment. */
export const Worker = z.object({
  rssBytes: Count,
  pssBytes: Count.describe('Proportional set size (smaps_rollup): shared pages count by their share.'),
  openFiles: Whole,
  goroutines: Whole,
})
export type Worker = z.infer<typeof Worker>

/** What the neighbour's clients saw. */
export const Neighbour = z.object({
  kept: Requests.describe('Over one connection that is kept.'),
  fresh: Requests.describe('Over a new connection each.'),
})
export type Neighbour = z.infer<typeof Neighbour>

/** What the attacker has got over one protocol: see tally in worker/cmd/tsnsrv-bench/attack.go. */
export const Shape = z.object({
  shape: z.string().describe('http, https or h2, with what is asked for where an attack has several such.'),
  tried: Whole.describe('Requests of attacks that make many, and connections of the others.'),
  held: Whole.describe('Those that the service had not ended when the time was over.'),
  answers: z.record(z.string(), Whole).describe('Statuses, and how connections and streams ended.'),
  failures: z.record(z.string(), Whole).describe('Connections that could not be opened, by reason.'),
})
export type Shape = z.infer<typeof Shape>

const Moment = z.object({ worker: Worker, neighbour: Neighbour })

export const Trial = z.object({
  attack: z.string(),
  via: Way,
  before: Moment,
  during: Moment.describe('The neighbour while the attack begins and goes on; the worker at the end of that.'),
  after: Moment.describe('The neighbour right after all was released; the worker when it was back, or when the wait was over.'),
  peakRssBytes: Count,
  logBytes: Count.describe("Written to the worker's logs from the beginning of the attack to its release."),
  shapes: z.array(Shape),
  backSeconds: Count.nullable().describe(
    'From the release until memory, files and goroutines were within their limits; null when they were not in time.',
  ),
})
export type Trial = z.infer<typeof Trial>

/** One requirement, and whether a trial met it. */
export const Verdict = z.object({
  about: z.string(),
  met: z.boolean(),
  found: z.string(),
  limit: z.string(),
})
export type Verdict = z.infer<typeof Verdict>

export const Attacks = z.object({
  format: z.literal(1),
  startedAt: z.string(),
  seconds: Count,
  command: z.string().describe('What to type to repeat it.'),
  machine: Run.shape.machine,
  versions: Run.shape.versions,
  attackSeconds: Count.describe('How long each attack lasts.'),
  settleSeconds: Count.describe('How long after it the worker may take to be back.'),
  trials: z.array(Trial.extend({ verdicts: z.array(Verdict) })),
  aborted: z
    .array(z.object({ attack: z.string(), via: Way, why: z.string() }))
    .describe('Attacks without figures: the worker did not live through them, or could not be measured.'),
})
export type Attacks = z.infer<typeof Attacks>
