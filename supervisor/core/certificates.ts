/**
 * Which certificates may be ordered now. Let's Encrypt gives a tailnet so many new ones a week, and refuses all for days when
 * more are asked for; so the supervisor, which sees all nodes, counts for them. Renewals are exempt and not counted
 * (https://letsencrypt.org/docs/rate-limits/, "New Certificates per Registered Domain", read 2026-11).
 */
import { ORDERS_AT_ONCE, ORDER_AGAIN_MS, ORDER_AGAIN_AT_MOST_MS } from './tuning.ts'

/** When certificates were ordered, by full name, oldest first. Epoch ms. Remembered for a week, over restarts. */
export type CertificateOrders = ReadonlyMap<string, readonly number[]>

export interface CertificatePolicy {
  /** How many new names of one tailnet may be ordered within a week. */
  readonly perWeek: number
}

const WEEK_MS = 7 * 24 * 3_600_000

export interface CertificateTurns {
  /** The names that may be ordered now. */
  readonly now: readonly string[]
  /** What the others wait for, in words, and until when; null when that is for another order to end. */
  readonly later: ReadonlyMap<string, { readonly why: string; readonly at: number | null }>
}

/** Whose turn it is among the names without a certificate. `ordering`: how many orders run. */
export function certificateTurns(
  missing: Iterable<string>,
  ordering: number,
  orders: CertificateOrders,
  now: number,
  policy: CertificatePolicy,
): CertificateTurns {
  const turn: string[] = []
  const later = new Map<string, { why: string; at: number | null }>()
  // A week's orders of each tailnet, and what this round adds.
  const spent = new Map<string, number[]>()
  for (const [domain, times] of orders) {
    const tailnet = tailnetOf(domain)
    const within = times.filter((at) => at > now - WEEK_MS)
    spent.set(tailnet, [...(spent.get(tailnet) ?? []), ...within])
  }
  // Who has tried least often comes first, so that one that never succeeds keeps nobody waiting.
  const tries = (domain: string) => recent(orders, domain, now).length
  for (const domain of [...new Set(missing)].sort((a, b) => tries(a) - tries(b) || (a < b ? -1 : 1))) {
    const tailnet = tailnetOf(domain)
    const used = spent.get(tailnet) ?? []
    const again = nextTry(recent(orders, domain, now))
    if (again > now) later.set(domain, { why: 'the last order came to nothing', at: again })
    else if (used.length >= policy.perWeek) {
      const oldest = used.toSorted((a, b) => a - b)[used.length - policy.perWeek] ?? now
      const why = `${used.length} certificates of ${tailnet} were ordered within a week, and the limit is ${policy.perWeek}`
      later.set(domain, { why, at: oldest + WEEK_MS })
    } else if (ordering + turn.length >= ORDERS_AT_ONCE) later.set(domain, { why: 'others are being ordered', at: null })
    else {
      turn.push(domain)
      spent.set(tailnet, [...used, now])
    }
  }
  return { now: turn, later }
}

/** The orders with one more, and without those that count no longer. */
export function withOrder(orders: CertificateOrders, domain: string, now: number): CertificateOrders {
  const next = new Map<string, readonly number[]>()
  for (const known of new Set([...orders.keys(), domain])) {
    const times = recent(orders, known, now)
    if (known === domain) times.push(now)
    if (times.length > 0) next.set(known, times)
  }
  return next
}

function recent(orders: CertificateOrders, domain: string, now: number): number[] {
  return (orders.get(domain) ?? []).filter((at) => at > now - WEEK_MS)
}

function nextTry(times: readonly number[]): number {
  const last = times.at(-1)
  return last === undefined ? 0 : last + Math.min(ORDER_AGAIN_AT_MOST_MS, ORDER_AGAIN_MS * 4 ** (times.length - 1))
}

/** What Let's Encrypt counts by: ts.net is a public suffix, so the name below it is a tailnet's own. */
function tailnetOf(domain: string): string {
  return domain.slice(domain.indexOf('.') + 1)
}
