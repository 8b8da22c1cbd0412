/**
 * What has happened to each service and shard lately, for `describe` and the page: phases, problems, moves. Bounded; it lasts as long
 * as the supervisor, and the log files have the rest. Like the usage book it changes in place.
 */
import type { DecisionRecord, EventView } from '../../shared/api.ts'
import type { ServiceProblem } from '../../shared/protocol.ts'
import type { Transition } from './transitions.ts'
import type { Observed } from './types.ts'

/** As many as `kubectl describe` would need a page for. */
const MOST_PER_SUBJECT = 50
const MOST_IN_ALL = 10_000
const LONGEST_MESSAGE = 500

/** An event that has just happened. */
export type News = Omit<EventView, 'at' | 'firstAt' | 'count'>

export class EventLog {
  /** By subject, the one with the oldest news first; of each subject by what makes two events the same, in the same order. */
  readonly #subjects = new Map<string, Map<string, EventView>>()
  #size = 0

  /** Adds an event. One that has been before moves to the end and is counted: a service that fails every minute has one line. */
  add(news: News, now: number): void {
    const message = news.message.length <= LONGEST_MESSAGE ? news.message : `${news.message.slice(0, LONGEST_MESSAGE)}...`
    const subject = subjectOf(news)
    const events = this.#subjects.get(subject) ?? new Map<string, EventView>()
    const key = [news.severity, news.what, news.reason, message].join('\n')
    const known = events.get(key)
    events.delete(key)
    events.set(key, { ...news, message, at: now, firstAt: known?.firstAt ?? now, count: (known?.count ?? 0) + 1 })
    this.#subjects.delete(subject)
    this.#subjects.set(subject, events)
    if (!known) this.#size += 1
    if (events.size > MOST_PER_SUBJECT) this.#forgetOldest(subject, events)
    const [oldest] = this.#subjects
    if (this.#size > MOST_IN_ALL && oldest) this.#forgetOldest(...oldest)
  }

  #forgetOldest(subject: string, events: Map<string, EventView>): void {
    const [key] = events.keys()
    if (key !== undefined && events.delete(key)) this.#size -= 1
    if (events.size === 0) this.#subjects.delete(subject)
  }

  /** The events of all, of one service, or of one shard; the latest first, at most `most`. */
  read({ service, shard, most = MOST_PER_SUBJECT }: { service?: string; shard?: number; most?: number }): EventView[] {
    const isAsked = (event: EventView) =>
      service !== undefined ? event.service === service : shard === undefined || event.shard === shard
    return [...this.#subjects.values()]
      .flatMap((events) => [...events.values()].filter(isAsked))
      .sort((a, b) => b.at - a.at)
      .slice(0, most)
  }

  /** Moves all times: somebody has set the clock. */
  shift(byMs: number): void {
    for (const events of this.#subjects.values()) {
      for (const [key, event] of events) events.set(key, { ...event, at: event.at + byMs, firstAt: event.firstAt + byMs })
    }
  }
}

const subjectOf = ({ service, shard }: News) => (service === null ? `shard ${String(shard)}` : `service ${service}`)

/** A change of phase as an event. */
export function newsOf(transition: Transition): News {
  const { subject, name, shard, from, to, reason, message, pid } = transition
  const worker = pid === null ? name : `${name} (pid ${String(pid)})`
  return {
    severity: isTrouble(transition) ? 'warning' : 'normal',
    service: subject === 'service' ? name : null,
    shard: shard === 0 ? null : shard,
    what: to,
    reason: reason === '' ? `was ${from}` : reason,
    message: subject === 'service' ? message : message === '' ? worker : `${worker}: ${message}`,
  }
}

/** What an operator should look at. A worker that ends after its drain, or is found at the start, is no trouble. */
export function isTrouble({ from, to, reason }: Transition): boolean {
  if (to === 'gone') return from !== 'draining' && from !== 'orphaned'
  if (to === 'silent') return true
  if (to === 'unknown') return from !== 'gone'
  return to === 'orphaned' || to === 'failed' || to === 'quarantined' || to === 'needsLogin' || reason === 'CredentialUnavailable'
}

/** Problems of services that have come or gone, and certificates that have been renewed. Unchanged parts cost one comparison each. */
export function newsBetween(before: Observed, after: Observed): News[] {
  if (before.workers === after.workers) return []
  return [...after.workers.values()].flatMap((worker) => {
    const old = before.workers.get(worker.id)
    if (!old || old.services === worker.services) return []
    return [...worker.services].flatMap(([name, status]): News[] => {
      const known = old.services.get(name)
      if (!known || known === status) return []
      const about = { service: name, shard: worker.shard }
      const ends = status.certificate?.notAfter ?? 0
      const isRenewed = ends > (known.certificate?.notAfter ?? 0) && ends > 0
      return [
        ...problemsIn(status.problems, known.problems).map(
          ({ part, message }): News => ({ ...about, severity: 'warning', what: 'problem', reason: part, message }),
        ),
        ...partsIn(known.problems, status.problems).map(
          (part): News => ({ ...about, severity: 'normal', what: 'mended', reason: part, message: '' }),
        ),
        ...(isRenewed
          ? [
              {
                ...about,
                severity: 'normal' as const,
                what: 'certified',
                reason: 'certificate',
                message: `good until ${new Date(ends).toISOString()}`,
              },
            ]
          : []),
      ]
    })
  })
}

const problemsIn = (these: readonly ServiceProblem[], those: readonly ServiceProblem[]) =>
  these.filter(({ part, message }) => !those.some((other) => other.part === part && other.message === message))

const partsIn = (these: readonly ServiceProblem[], those: readonly ServiceProblem[]) =>
  [...new Set(these.map(({ part }) => part))].filter((part) => !those.some((other) => other.part === part))

/** The moves of a decision, each as an event of its service. */
export function newsOfDecision({ verdict, reason, moves }: DecisionRecord): News[] {
  return moves.map(({ name, from, to }) => ({
    severity: 'normal',
    service: name,
    shard: to,
    what: 'moved',
    reason: verdict,
    message: `from shard ${String(from)} to ${String(to)}: ${reason}`,
  }))
}
