/** What a case of the suite says. A case is data: the runner (subject.ts, exchange.ts) knows how to do what it tells. */

/**
 * What is seen of a system, in words that do not depend on the run (see Names).
 *
 * A text is what it says of the file: "accepted", "accepted: <notes>" or "refused: <errors>". Otherwise the file is run, the
 * request is sent, and each key names one thing that is looked at:
 *
 * - `status`, `body`: of the answer that the client got; null when nobody listens, "(cut off)" for a body that breaks off
 * - `client <header>`: of that answer
 * - `certificate`: who issued that of the service
 * - `upstream`, `auth`: the URLs that the upstream, the auth server were asked for, in order
 * - `upstream <header>`, `auth <header>`: of the last such request; `x-*` lists the names of all headers that begin so
 * - `/path`: a GET of its own, with the URL that the upstream was asked for, or the status when it was not asked
 * - `metrics <name>`: whether there is such a metric afterwards
 * - `log <text>`: whether that stands in the log afterwards
 * - `minted`: what the API that mints auth keys was asked to make while the system started
 *
 * null is nothing: not there, not asked.
 */
export type Observed = string | Readonly<Record<string, string | number | null>>

/** A request of the client. */
export interface Asked {
  readonly path?: string
  readonly method?: string
  readonly body?: string
  /** Beside Host, which is the service's own name unless it is one of these. */
  readonly headers?: Readonly<Record<string, string>>
  /**
   * Where it goes: to the service, without TLS on this port of its node (80), with TLS on port 443, or by funnel from the
   * internet; or to the listener of prometheusAddr.
   */
  readonly to?: number | 'https' | 'funnel' | 'metrics'
}

/** What the upstream or the auth server answers; 200 and "hello" when nothing is said. */
export type Reply =
  | { readonly status?: number; readonly headers?: Readonly<Record<string, string | readonly string[]>>; readonly body?: string }
  | 'hangs up'
  | 'breaks off'
  | 'talks nonsense'
  | 'says nothing'

export interface Case {
  /** kebab-case, and for good: it is what a case is run by. */
  readonly id: string
  /** What is shown, in one sentence without a full stop. */
  readonly statement: string
  /**
   * Keys of the service, as YAML has them between braces. A `name`, an `upstream` that answers, `plaintext: true` and
   * `listenAddr: ":80"` are there without saying. May have names such as <auth> in it (see Names).
   */
  readonly keys?: string
  /**
   * Keys of a second service, which cannot start. The two run without all the others; the request is sent when one is up or
   * the system has ended.
   */
  readonly failing?: string
  /** The whole file instead. Only for cases that are about what a file may say. */
  readonly file?: string
  readonly send?: Asked
  readonly upstream?: Reply
  /** To the first question; whatever is asked next is answered 200. */
  readonly auth?: Reply
  /** What tsnsrv-sup does. */
  readonly ours: Observed
  /** What arsfeld/tsnsrv does; the same when it is left out. */
  readonly theirs?: Observed
  /** Why we differ on purpose; needed unless both refuse, only in other words. */
  readonly why?: string
}

export type Verdict = 'agree' | 'differs on purpose'

/** Refusing the same thing in other words is agreeing. */
export function verdictOf({ ours, theirs = ours }: Case): Verdict {
  return theirs === ours || (isRefusal(ours) && isRefusal(theirs)) ? 'agree' : 'differs on purpose'
}

const isRefusal = (observed: Observed): boolean => typeof observed === 'string' && observed.startsWith('refused: ')

/** A file with these services, each given by its keys as YAML has them between braces. */
export function fileWith(...services: readonly string[]): string {
  const common = '{ upstream: "http://127.0.0.1:1", recommendedProxyHeaders: true, plaintext: true, hostnames: [] }'
  const entries = services.map((keys) => `  - { <<: *common, ${keys} }\n`)
  return `prometheusAddr: <metrics>\nx-common: &common ${common}\nservices:\n${entries.join('')}`
}

/** The file that is judged: that of the case, or one with its service alone. */
export const fileOf = ({ file, keys = '' }: Case): string => file ?? fileWith(`name: a, ${keys}`)
