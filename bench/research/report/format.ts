/** Numbers as people read them: three significant digits, one unit for a value and its range. Bytes in decimal units: 1 MB is 1,000,000. */
import type { Unit } from '../../harness/metrics.ts'
import type { Scaling, Summary } from './statistics.ts'

/** A missing figure. */
export const MISSING = '-'

const threeDigits = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 3 })
const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

export function formatNumber(value: number): string {
  return Math.abs(value) < 1000 ? threeDigits.format(value) : whole.format(value)
}

/** How a unit is shown: what to divide by, and what to write behind. Memory stays in MB, so that columns compare at a glance. */
export function scaleOf(unit: Unit, value: number): { divisor: number; suffix: string } {
  switch (unit) {
    case 'percent':
      return { divisor: 1, suffix: ' %' }
    case 'bytes':
      return { divisor: 1e6, suffix: ' MB' }
    case 'bytesPerSecond':
      return value < 1e3 ? { divisor: 1, suffix: ' B/s' } : { divisor: 1e3, suffix: ' kB/s' }
    case 'seconds':
      return { divisor: 1, suffix: ' s' }
    case 'milliseconds':
      return { divisor: 1, suffix: ' ms' }
    case 'perSecond':
      return { divisor: 1, suffix: '/s' }
    case 'count':
      return { divisor: 1, suffix: '' }
  }
}

export function formatQuantity(value: number, unit: Unit): string {
  const { divisor, suffix } = scaleOf(unit, value)
  return formatNumber(value / divisor) + suffix
}

/** The median, and the range when it was repeated: "2.1 % (1.98-2.3)". */
export function formatSummary(summary: Summary, unit: Unit): string {
  const { divisor } = scaleOf(unit, summary.median)
  const range = summary.repeats > 1 ? ` (${formatNumber(summary.min / divisor)}-${formatNumber(summary.max / divisor)})` : ''
  return formatQuantity(summary.median, unit) + range
}

/** Of a share from 0 to 1. */
export function formatPercent(share: number): string {
  return formatQuantity(100 * share, 'percent')
}

/** How a figure changed, "+57 %"; "12x" from ten times on. */
export function formatChange(factor: number): string {
  if (factor >= 10) return `${formatNumber(factor)}x`
  const percent = (factor - 1) * 100
  return `${percent < 0 ? '' : '+'}${whole.format(percent)} %`
}

export function formatScaling(scaling: Scaling | null): string {
  return scaling ? `N^${scaling.exponent.toFixed(2)} (R² ${scaling.rSquared.toFixed(3)}, ${scaling.points} points)` : MISSING
}

/** "1 h 2 min", "3 min 20 s", "41 s". */
export function formatDuration(seconds: number): string {
  const total = Math.round(seconds)
  const [h, min, s] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60]
  if (h > 0) return `${h} h ${min} min`
  return min > 0 ? `${min} min ${s} s` : `${s} s`
}
