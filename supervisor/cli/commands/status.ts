import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, Option } from 'commander'
import type { Status, Unsupervised } from '../../../shared/api.ts'
import { type AdminClient, NoSupervisorError } from '../../effects/adminClient.ts'
import { clientCommand, untilInterrupted, withAdminClient } from '../clientCommand.ts'
import { count } from '../format.ts'
import { unready } from '../health.ts'
import { readDuration } from '../readDuration.ts'
import { describeChanges, renderStatus } from '../statusView.ts'
import { colorsFor, plain, type Streams } from '../terminal.ts'
import { renderUnsupervised } from '../unsupervisedView.ts'

/** `tsnsrv-sup status`: the running supervisor, its shards and services; with --watch until Ctrl-C. */
export function statusCommand(streams: Streams): Command {
  return clientCommand('status', 'Show the running supervisor, its shards and its services.')
    .option('-w, --watch', 'go on showing what changes; without a terminal, one line for each change')
    .addOption(new Option('--wait <state>', 'first wait until all services are ready').choices(['ready']))
    .addOption(new Option('--timeout <duration>', 'how long --wait may take').argParser(readDuration).default(300_000, '5m'))
    .option('--json', 'print the status as JSON (with --watch: one line for each change)')
    .addHelpText(
      'after',
      `
Where no supervisor runs, it shows what workers serve without one, and the exit code is 3.

With --wait it exits with 1 when the time is up, and names the services that are not ready. It waits for a supervisor, too.

Examples:
  $ tsnsrv-sup status
  $ tsnsrv-sup status --wait ready --timeout 2m
  $ tsnsrv-sup status --watch
  $ tsnsrv-sup status --json | jq -r '.services[] | select(.ready | not) | .name'`,
    )
    .action(async (options: StatusOptions, command: Command) => {
      if (options.wait) await waitUntilReady(command, options.timeout)
      const look = async (client: AdminClient, socketPath: string) => {
        if (!options.watch) {
          streams.stdout.write(`${show(await client.status(), streams, options.json)}\n`)
          return
        }
        const screen = options.json ? jsonLines(streams) : streams.stdout.isTTY ? await liveScreen(streams) : changeLines(streams)
        await untilInterrupted(async (signal) => {
          try {
            await client.watch(screen.show, signal)
          } finally {
            screen.end()
          }
          if (!signal.aborted) throw new NoSupervisorError(socketPath)
        })
      }
      await withAdminClient(command, look, (found) => showUnsupervised(found, streams, options.json))
    })
}

interface StatusOptions {
  watch?: true
  wait?: 'ready'
  timeout: number
  json?: true
}

/** The services were not ready in time. */
class NotReadyError extends Error {
  override readonly name = 'NotReadyError'
}

/** Why looking ended, where it was not for the time. */
const READY = 'ready'

/** How soon a supervisor that does not run yet, or not any more, is looked for again. */
const LOOK_AGAIN_MS = 200

/** Resolves once all services are ready. Rejects with a NotReadyError, or a NoSupervisorError, when the time is up. */
async function waitUntilReady(command: Command, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs
  let problem: Error = new NotReadyError('nothing was seen')
  for (;;) {
    const left = deadline - performance.now()
    if (left <= 0) throw problem
    const done = new AbortController()
    const timer = setTimeout(() => done.abort(), left)
    const look = (status: Status) => {
      const missing = unready(status)
      const all = count(status.services.length, 'service')
      problem = new NotReadyError([`${String(missing.length)} of ${all} not ready:`, ...missing.map(plain)].join('\n  '))
      if (status.phase === 'running' && missing.length === 0) done.abort(READY)
    }
    try {
      await withAdminClient(command, (client) => client.watch(look, done.signal))
    } catch (error) {
      if (!(error instanceof NoSupervisorError)) throw error
      problem = error
    } finally {
      clearTimeout(timer)
    }
    if (done.signal.reason === READY) return
    if (!done.signal.aborted) await sleep(LOOK_AGAIN_MS)
  }
}

function showUnsupervised(found: Unsupervised, { stdout }: Streams, json: true | undefined): void {
  if (found.workers.length + found.orphans.length === 0) return
  stdout.write(`${json ? JSON.stringify(found, null, 2) : renderUnsupervised(found, colorsFor(stdout), stdout.columns)}\n`)
}

function show(status: Status, { stdout }: Streams, json: true | undefined): string {
  if (json) return JSON.stringify(status, null, 2)
  return renderStatus(status, { colors: colorsFor(stdout), now: Date.now(), columns: stdout.columns })
}

interface Screen {
  show: (status: Status) => void
  end: () => void
}

const jsonLines = ({ stdout }: Streams): Screen => ({
  show: (status) => stdout.write(`${JSON.stringify(status)}\n`),
  end: () => undefined,
})

/** The table, drawn over itself; once a second too, as times go on between changes. */
async function liveScreen({ stdout }: Streams): Promise<Screen> {
  const { createLogUpdate } = await import('log-update')
  const draw = createLogUpdate(stdout)
  const colors = colorsFor(stdout)
  let last: Status | undefined
  const redraw = () => {
    if (last) draw(renderStatus(last, { colors, now: Date.now(), columns: stdout.columns, rows: stdout.rows }))
  }
  const timer = setInterval(redraw, 1000)
  return {
    show: (status) => {
      last = status
      redraw()
    },
    end: () => {
      clearInterval(timer)
      draw.done()
    },
  }
}

/** The whole table once, then a line for each change. */
function changeLines(streams: Streams): Screen {
  let last: Status | undefined
  return {
    show: (status) => {
      const time = new Date().toISOString()
      const lines = last ? describeChanges(last, status).map((line) => `${time} ${line}`) : [show(status, streams, undefined)]
      last = status
      for (const line of lines) streams.stdout.write(`${line}\n`)
    },
    end: () => undefined,
  }
}
