/** What the demo shows: progress while nodes come up, the table of services, and what happens afterwards. */
import type { ServiceView, Status } from '../shared/api.ts'
import { formatTable } from '../supervisor/cli/format.ts'
import { createProgress } from '../supervisor/cli/progress.ts'
import { describeChanges } from '../supervisor/cli/statusView.ts'
import { colorsFor, type Output } from '../supervisor/cli/terminal.ts'

export interface Progress {
  update(status: Status): void
  /** Ends it; the terminal is the caller's again. */
  done(summary: string): void
}

/** A bar on a terminal; elsewhere one line for each change. */
export function showProgress(stream: Output): Progress {
  if (stream.isTTY === true) return createProgress(stream)
  return {
    update: showChanges(stream),
    done: (summary) => stream.write(`${summary}\n`),
  }
}

/** A function that writes one line for each difference to the status before. The first status is only remembered. */
export function showChanges(stream: Output): (status: Status) => void {
  const colors = colorsFor(stream)
  let before: Status | undefined
  return (status) => {
    for (const line of before ? describeChanges(before, status) : []) stream.write(`${colors.dim(clockTime())}  ${line}\n`)
    before = status
  }
}

/** One row for each service. `urlOf` gives what a person can open. */
export function renderServices(services: readonly ServiceView[], urlOf: (service: string) => string, stream: Output): string {
  const colors = colorsFor(stream)
  const heading = ['SERVICE', 'SHARD', 'WORKER PID', 'TAILNET IP', 'URL'].map((text) => ({ text, paint: colors.dim }))
  const rows = services.map(({ name, shard, workerPid, addresses }) => [
    { text: name, paint: colors.bold },
    String(shard ?? '-'),
    String(workerPid ?? '-'),
    addresses[0] ?? '-',
    { text: urlOf(name), paint: colors.cyan },
  ])
  return formatTable([heading, ...rows]).join('\n')
}

/** What a person can do now. */
export function renderHints(status: Status, gatewayURL: string, stream: Output): string {
  const colors = colorsFor(stream)
  const { shard, workerPid } = status.shards[0] ?? { shard: 1, workerPid: null }
  return [
    `Open a URL of the table, or ${colors.cyan(gatewayURL)} for all of them.`,
    `Kill a worker and watch its services come back: ${colors.bold(`kill -9 ${workerPid ?? '<worker pid>'}`)} (shard ${shard})`,
    `${colors.bold('Ctrl-C')} stops everything and leaves nothing behind.`,
  ].join('\n')
}

const clockTime = () => new Date().toTimeString().slice(0, 8)
