import { type Command, InvalidArgumentError } from 'commander'
import { formatRecord } from '../../effects/supervisorLog.ts'
import { logDirectory, readStateFile } from '../../effects/stateFile.ts'
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
    .option('-f, --follow', 'continue with new lines as they are written')
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
      const { stateDir, services } = await whereAndWhat(command)
      const directory = logDirectory(stateDir)
      const wanted = ({ record }: LogEntry) => service === undefined || record?.service === service
      const colors = colorsFor(streams.stdout)
      const print = (entry: LogEntry) => {
        streams.stdout.write(`${options.json ? entry.raw : formatEntry(entry, colors)}\n`)
      }
      const printTail = async (ends?: ReadonlyMap<string, number>) => {
        const entries = await tailLogs(await findLogs(directory), { count: options.lines, wanted, ...(ends ? { ends } : {}) })
        entries.forEach(print)
        if (entries.length === 0 && service !== undefined && services && !services.includes(service)) {
          throw new Error(
            `there is no service ${service}; ${services.length === 0 ? 'there are none' : `there are ${services.join(', ')}`}`,
          )
        }
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

/**
 * Where the logs are, and which services there are; null when nobody knows. A supervisor that runs knows best; one that does not
 * has left both where the options say.
 */
async function whereAndWhat(command: Command): Promise<{ stateDir: string; services: readonly string[] | null }> {
  const { stateDir, runDir } = await directoriesOf(command)
  const client = createAdminClient(runDir)
  try {
    const status = await client.status()
    return { stateDir: status.stateDir, services: status.services.map(({ name }) => name) }
  } catch (error) {
    if (!(error instanceof NoSupervisorError)) throw error
    const remembered = await readStateFile(stateDir).catch(() => null)
    return { stateDir, services: remembered && [...remembered.placement.keys()].sort() }
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
