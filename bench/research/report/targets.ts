/** What the benchmark must show, as a table, and the judgement of a run by it. */
import type { Run, Subject } from '../../harness/results.ts'
import { figure, growth, isFigureDisturbed, oursOf, ratiosOf, sizeFor, sizesOf } from './figures.ts'
import { formatNumber, formatQuantity, formatScaling, formatSummary, MISSING } from './format.ts'
import { answered, cpu, cpuPerThousand, type Metric, p99, pss, ready, requestsPerSecond, wakeUps } from '../../harness/metrics.ts'
import { summarize } from './statistics.ts'

export interface Target {
  id: string
  metric: Metric
  /**
   * value: ours, in the metric's unit. share: ours divided by the other's, or the other's by ours where more is better.
   * exponent: of ours over N, see `most`. Limits are in the same terms.
   */
  of: 'value' | 'share' | 'exponent'
  /** share: key of the subject that it is of; default the reference. */
  than?: string
  atMost: number
  /** The further goal, where there is one. */
  beyond?: number
  /** exponent: sizes above are left out, so that it is the same question whatever else was run. */
  most?: number
}

/** The subject that shares are of: arsfeld/tsnsrv in one process. */
const REFERENCE = 'tsnsrv'
const TSBRIDGE = 'tsbridge'

/** For 57 services on the storage host, and twelve under full load, beside arsfeld/tsnsrv in one process and tsbridge. */
export const TARGETS: readonly Target[] = [
  { id: 'idle-cpu', metric: cpu('idle'), of: 'value', atMost: 2.5, beyond: 1 },
  { id: 'idle-cpu-share', metric: cpu('idle'), of: 'share', atMost: 1 / 50 },
  { id: 'idle-pss', metric: pss('idle'), of: 'value', atMost: 350e6, beyond: 200e6 },
  { id: 'idle-pss-share', metric: pss('idle'), of: 'share', atMost: 1 / 8 },
  { id: 'start', metric: ready('start'), of: 'value', atMost: 6, beyond: 3 },
  // Of when all answer: tsnsrv's last word on a service is that it has logged in, long before it serves.
  { id: 'start-share', metric: answered('start'), of: 'share', atMost: 1 / 3 },
  { id: 'restart', metric: ready('restart'), of: 'value', atMost: 1.5, beyond: 0.5 },
  { id: 'growth', metric: cpu('idle'), of: 'exponent', atMost: 1.1, most: 60 },
  { id: 'growth-to-500', metric: cpu('idle'), of: 'exponent', atMost: 1.1, beyond: 1, most: 500 },
  { id: 'request-cpu-share', metric: cpuPerThousand('saturated'), of: 'share', atMost: 0.3, beyond: 0.25 },
  { id: 'request-cpu-share-of-tsbridge', metric: cpuPerThousand('saturated'), of: 'share', than: TSBRIDGE, atMost: 0.9 },
  { id: 'requests-share', metric: requestsPerSecond('saturated'), of: 'share', atMost: 1 / 2.8 },
  { id: 'p99-share', metric: p99('saturated'), of: 'share', atMost: 1 },
  { id: 'p99-share-of-tsbridge', metric: p99('saturated'), of: 'share', than: TSBRIDGE, atMost: 1 },
  { id: 'wake-ups-share', metric: wakeUps('idle'), of: 'share', atMost: 1 / 10 },
]

export interface Verdict {
  target: Target
  /** missing: the run does not tell, and nothing may be concluded. */
  result: 'beyond' | 'met' | 'missed' | 'missing'
  /** What was asked, in words with its limit. */
  limit: string
  /** What was found, with its spread. */
  found: string
  /** Of the median, as a number to compare with `atMost`; null when missing. */
  figure: number | null
  /** false: the worst repeat is over the limit though the median is not. */
  everyRepeat: boolean
  /** It rests on a figure of which a repeat was disturbed. */
  disturbed: boolean
}

export interface Judgement {
  /** At which size values and shares are taken, or where ours has them if not there. */
  services: number
  /** Key of the subject that shares are of. */
  reference?: string
}

/** Judges ours at one size by a table of targets: TARGETS for the report, a shorter one for a guard. */
export function judge(run: Run, targets: readonly Target[], { services, reference = REFERENCE }: Judgement): Verdict[] {
  return targets.map((target) => {
    const otherKey = target.than ?? reference
    const other = run.subjects.find(({ key }) => key === otherKey)
    const measured = measure(run, target, services, other)
    return {
      target,
      limit: limitOf(target, other?.title ?? otherKey),
      found: measured?.text ?? MISSING,
      figure: measured?.median ?? null,
      disturbed: measured?.disturbed ?? false,
      everyRepeat: (measured?.worst ?? Infinity) <= target.atMost,
      result: measured ? verdict(measured.median, target) : 'missing',
    }
  })
}

interface Measured {
  median: number
  worst: number
  text: string
  disturbed: boolean
}

function measure(run: Run, { metric, of, most }: Target, services: number, other: Subject | undefined): Measured | null {
  const subject = oursOf(run)
  if (!subject) return null
  if (of === 'exponent') {
    const found = growth(run, subject, metric, most)
    const disturbed = sizesOf(run, [subject])
      .filter((size) => size <= (most ?? Infinity))
      .some((size) => isFigureDisturbed(run, subject, size, metric))
    return found && { median: found.exponent, worst: found.exponent, text: formatScaling(found), disturbed }
  }
  const size = figure(run, subject, services, metric) ? services : sizeFor(run, metric)
  const ours = size === null ? null : figure(run, subject, size, metric)
  if (size === null || !ours) return null
  const disturbed = [subject, ...(of === 'share' && other ? [other] : [])].some((each) =>
    isFigureDisturbed(run, each, size, metric),
  )
  if (of === 'value') return { median: ours.median, worst: ours.max, text: formatSummary(ours, metric.unit), disturbed }
  if (!other) return null
  const share = summarize(ratiosOf(run, metric.better === 'less' ? [subject, other] : [other, subject], size, metric))
  if (!share) return null
  const show = (value: number) => formatShare(value, metric)
  const range = share.repeats > 1 ? ` (${show(share.max)} to ${show(share.min)})` : ''
  return { median: share.median, worst: share.max, text: `${show(share.median)}${range}`, disturbed }
}

function verdict(figure: number, { atMost, beyond }: Target): 'beyond' | 'met' | 'missed' {
  if (figure > atMost) return 'missed'
  return beyond !== undefined && figure <= beyond ? 'beyond' : 'met'
}

function limitOf({ metric, of, atMost, beyond, most = Infinity }: Target, reference: string): string {
  const further = (show: (limit: number) => string) => (beyond === undefined ? '' : `, beyond ${show(beyond)}`)
  switch (of) {
    case 'value': {
      const show = (limit: number) => formatQuantity(limit, metric.unit)
      return `${metric.title}: at most ${show(atMost)}${further(show)}`
    }
    case 'share': {
      const show = (limit: number) => formatShare(limit, metric)
      const least = atMost === 1 ? `no ${OPPOSITE[metric.better]}` : `at least ${show(atMost)}`
      return `${metric.title}: ${least} than ${reference}${further(show)}`
    }
    case 'exponent': {
      const show = (limit: number) => `N^${limit.toFixed(1)}`
      return `${metric.title}: growth to ${formatNumber(most)} services at most ${show(atMost)}${further(show)}`
    }
  }
}

const OPPOSITE = { less: 'more', more: 'less' } as const

/** A share of 1/50 is "50x less", or "50x more" where that is better. */
function formatShare(share: number, { better }: Metric): string {
  return share <= 1 ? `${formatNumber(1 / share)}x ${better}` : `${formatNumber(share)}x ${OPPOSITE[better]}`
}
