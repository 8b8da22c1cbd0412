import { type Command, InvalidArgumentError } from 'commander'
import { formatRecord } from '../../effects/supervisorLog.ts'
import { logDirectory } from '../../effects/stateFile.ts'
import { createAdminClient, NoSupervisorError } from '../../effects/adminClient.ts'
import { clientCommand, directoriesOf, untilInterrupted } from '../clientCommand.ts'
import { followLogs } from '../logs/followLogs.ts'
import { type LogEntry, parseLogEntry } from '../logs/logEntry.ts'
import { findLogs } from '../logs/logFiles.ts'
import { tailLogs } from '../logs/tailLogs.ts'
import { type Colors, colorsFor, plain, type Streams } from '../terminal.ts'

interface LogsOptions {
  follow?: true
  lines: number
  json?: true
}

/** `tsnsrv-sup logs`: the logs of all workers and the supervisor as one, by time. Needs no running supervisor. */
export function logsCommand(streams: Streams): Command {
  return clientCommand('logs', 'Show the logs of workers and supervisor, merged by time.')
    .argument('[service]', 'only what concerns this service')
    .option('-f, --follow', 'go on with what is written')
    .option('-n, --lines <n>', 'how many lines to begin with', lineCount, 100)
    .option('--json', 'print the lines as they were written')
    .addHelpText(
      'after',
      `
Examples:
  $ tsnsrv-sup logs -n 20
  $ tsnsrv-sup logs blog -f
  $ tsnsrv-sup logs --json -n 1000 | jq 'select(.level == "ERROR")'`,
    )
    .action(async (service: string | undefined, options: LogsOptions, command: Command) => {
      const directory = logDirectory(await stateDirOf(command))
      const wanted = ({ record }: LogEntry) => service === undefined || record?.service === service
      const colors = colorsFor(streams.stdout)
      const print = (entry: LogEntry) => {
        streams.stdout.write(`${options.json ? entry.raw : formatEntry(entry, colors)}\n`)
      }
      const printTail = async (ends?: ReadonlyMap<string, number>) => {
        const entries = await tailLogs(await findLogs(directory), { count: options.lines, wanted, ...(ends ? { ends } : {}) })
        entries.forEach(print)
        if (entries.length === 0 && options.lines > 0) {
          streams.stderr.write(`No log lines${service === undefined ? '' : ` of service ${service}`} in ${directory} yet.\n`)
        }
      }
      if (!options.follow) {
        await printTail()
        return
      }
      const onLine = (line: string) => {
        const entry = parseLogEntry(line)
        if (wanted(entry)) print(entry)
      }
      await untilInterrupted((signal) => followLogs(directory, onLine, signal, printTail))
    })
}

/** A supervisor that runs knows best where its workers write; one that does not has left the logs where its options say. */
async function stateDirOf(command: Command): Promise<string> {
  const { stateDir, runDir } = await directoriesOf(command)
  const client = createAdminClient(runDir)
  try {
    return (await client.status()).stateDir
  } catch (error) {
    if (error instanceof NoSupervisorError) return stateDir
    throw error
  } finally {
    client.close()
  }
}

function formatEntry({ record, raw }: LogEntry, colors: Colors): string {
  if (!record) return plain(raw)
  const levels: Record<string, Colors['red']> = { ERROR: colors.red, WARN: colors.yellow, DEBUG: colors.dim }
  return formatRecord(record, { dim: colors.dim, level: (level) => levels[level] ?? colors.green, service: colors.cyan })
}

function lineCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('want a number of lines, as in -n 50')
  return Number(text)
}
