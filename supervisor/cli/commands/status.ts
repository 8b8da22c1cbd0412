import type { Command } from 'commander'
import type { Status, Unsupervised } from '../../../shared/api.ts'
import { type AdminClient, NoSupervisorError } from '../../effects/adminClient.ts'
import { clientCommand, untilInterrupted, withAdminClient } from '../clientCommand.ts'
import { describeChanges, renderStatus } from '../statusView.ts'
import { colorsFor, type Streams } from '../terminal.ts'
import { renderUnsupervised } from '../unsupervisedView.ts'

/** `tsnsrv-sup status`: the running supervisor, its shards and services; with --watch until Ctrl-C. */
export function statusCommand(streams: Streams): Command {
  return clientCommand('status', 'Show the running supervisor, its shards and its services.')
    .option('-w, --watch', 'go on showing what changes; without a terminal, one line for each change')
    .option('--json', 'print the status as JSON (with --watch: one line for each change)')
    .addHelpText(
      'after',
      `
Where no supervisor runs, it shows what workers serve without one, and the exit code is 3.

Examples:
  $ tsnsrv-sup status
  $ tsnsrv-sup status --watch
  $ tsnsrv-sup status --json | jq -r '.services[] | select(.ready | not) | .name'`,
    )
    .action((options: { watch?: true; json?: true }, command: Command) => {
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
      return withAdminClient(command, look, (found) => showUnsupervised(found, streams, options.json))
    })
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
