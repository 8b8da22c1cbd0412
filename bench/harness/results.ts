/**
 * What a run of the benchmark found: the shape of results.json, and all that a report is made of. Seconds, bytes and
 * milliseconds are in the names; CPU is in percent of one core, so that two busy cores are 200.
 */
import * as z from 'zod'

export const LOADS = ['idle', 'light', 'moderate', 'saturated', 'connecting'] as const
/** idle: nobody asks. light: 5 requests/s to a tenth of the services. moderate: 10 requests/s to each. saturated: 32 connections, each asking again as soon as it has its answer. connecting: the same, over a new connection each time. */
export const LoadName = z.enum(LOADS)
export type LoadName = z.infer<typeof LoadName>

const Count = z.number().min(0)

const StolenShare = Count.nullable().describe(
  "Of the machine's CPU time meanwhile in which something ran or was to run, the part that its hypervisor gave to others; null where nothing ran.",
)

/** What clients saw during a window. */
export const Requests = z.object({
  total: Count,
  failed: Count,
  perSecond: Count,
  p50Ms: Count,
  p99Ms: Count,
  slowestMs: Count,
})
export type Requests = z.infer<typeof Requests>

/** One subject over one stretch of time: all its processes together, a supervisor included. */
export const Window = z.object({
  seconds: z.number().positive(),
  cpuSeconds: Count,
  stolenShare: StolenShare,
  pssBytes: Count.describe('Proportional set size (smaps_rollup): shared pages count by their share.'),
  rssBytes: Count,
  processes: Count,
  threads: Count,
  goroutines: Count.nullable().describe('Of all Go processes; null where a subject does not tell.'),
  voluntarySwitches: Count.describe('Context switches by waiting, in the window: each is a wake-up.'),
  involuntarySwitches: Count,
  sentBytes: Count.describe("Through the host's uplink, to control plane, relay and clients."),
  receivedBytes: Count,
  requests: Requests.nullable().describe('null when nobody asked.'),
})
export type Window = z.infer<typeof Window>

/** From the start of the subject's processes. */
export const Start = z.object({
  readySeconds: Count.nullable().describe(
    'Until the subject itself said of every service that it is up, or all had answered; null where it does not tell.',
  ),
  answeredSeconds: Count.describe('Until every service had answered a request that came over the tailnet.'),
  quietSeconds: Count.nullable().describe(
    'Until the last change of the network map; null when it was still changing at the end of the wait.',
  ),
  cpuSeconds: Count.describe('CPU time spent until then.'),
  stolenShare: StolenShare,
  peakRssBytes: Count,
})
export type Start = z.infer<typeof Start>

export const Trial = z.object({
  subject: z.string().describe('Key in subjects.'),
  services: z.number().int().positive(),
  repeat: z.number().int().min(1).describe('From 1; repeats of different subjects are interleaved.'),
  loads: z.array(LoadName).describe('Which it was to measure.'),
  startedAt: z.string().describe('ISO 8601'),
  seconds: Count,
  aborted: z.string().nullable().describe('Why the trial was given up, and in which phase; its numbers up to there stand.'),
  start: Start.nullable(),
  stolenShare: StolenShare,
  restart: Start.nullable().describe('Stopped in good order and started again with its state.'),
  windows: z.partialRecord(LoadName, Window),
})
export type Trial = z.infer<typeof Trial>

export const Subject = z.object({
  key: z.string(),
  title: z.string().describe('For tables and legends: short.'),
  about: z.string().describe('One sentence: what it is and how it was started.'),
  group: z
    .enum(['ours', 'peer', 'floor', 'https', 'ablation', 'sizing'])
    .describe(
      'floor: bare tsnet without any measure. https: the subject whose key it has before "-https", serving https with a certificate from a file. ablation: ours with one measure switched off or changed. sizing: ours in shards of another size.',
    ),
  version: z.string(),
})
export type Subject = z.infer<typeof Subject>

export const Run = z.object({
  format: z.literal(2),
  startedAt: z.string(),
  seconds: Count,
  command: z.string().describe('What to type to repeat it.'),
  complete: z
    .boolean()
    .describe('false: it was interrupted, and planned trials or further attempts at disturbed ones are missing.'),
  machine: z.object({ cpu: z.string(), cores: z.number(), memoryBytes: z.number(), kernel: z.string() }),
  versions: z
    .record(z.string(), z.string())
    .describe('Node, Go, tailscale, Headscale, of the project: name -> version or commit.'),
  host: z.string().describe('The storage host in one sentence: interfaces, processes, churn.'),
  planned: z.number().int().describe('How many trials there were to be.'),
  subjects: z.array(Subject),
  trials: z.array(Trial).describe('Those that count: one of each that was planned.'),
  discarded: z
    .array(Trial)
    .describe('Other attempts at the same trials, during which as much or more was stolen. No figure is made of them.'),
})
export type Run = z.infer<typeof Run>
