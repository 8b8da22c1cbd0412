/** The program `tsnsrv-sup`: which commands there are, and what their errors mean for the shell. */
import { Command, CommanderError } from 'commander'
import { inWords } from '../../shared/systemErrors.ts'
import { ConfigError } from '../config/diagnostic.ts'
import { type Colors, colorsFor, plain, type Streams } from './terminal.ts'
import { version } from './version.ts'

/** What a script can rely on. */
const exitCodes = { ok: 0, failed: 1, usage: 2, noSupervisor: 3 } as const

type Load = (streams: Streams) => Promise<Command>

/**
 * The commands, by the heading that --help shows them under. Each is loaded only when it is called: `start` lives for months and
 * need not hold the others in memory.
 */
const groups: Readonly<Record<string, Readonly<Record<string, Load>>>> = {
  'Run:': {
    start: async () => (await import('./commands/start.ts')).startCommand(),
    reload: async (streams) => (await import('./commands/reload.ts')).reloadCommand(streams),
    stop: async (streams) => (await import('./commands/stop.ts')).stopCommand(streams),
  },
  'Inspect:': {
    status: async (streams) => (await import('./commands/status.ts')).statusCommand(streams),
    describe: async (streams) => (await import('./commands/describe.ts')).describeCommand(streams),
    services: async (streams) => (await import('./commands/services.ts')).servicesCommand(streams),
    logs: async (streams) => (await import('./commands/logs.ts')).logsCommand(streams),
    doctor: async (streams) => (await import('./commands/doctor.ts')).doctorCommand(streams),
    healthcheck: async (streams) => (await import('./commands/healthcheck.ts')).healthcheckCommand(streams),
    version: async (streams) => (await import('./commands/version.ts')).versionCommand(streams),
  },
  'Make and check a configuration:': {
    init: async (streams) => (await import('./commands/init.ts')).initCommand(streams),
    schema: async (streams) => (await import('./commands/schema.ts')).schemaCommand(streams),
    validate: async (streams) => (await import('./commands/validate.ts')).validateCommand(streams),
    plan: async (streams) => (await import('./commands/plan.ts')).planCommand(streams),
  },
  'Move services between shards:': {
    move: async (streams) => (await import('./commands/move.ts')).moveCommand(streams),
    pin: async (streams) => (await import('./commands/pin.ts')).pinCommand(streams, 'pin'),
    unpin: async (streams) => (await import('./commands/pin.ts')).pinCommand(streams, 'unpin'),
    rebalance: async (streams) => (await import('./commands/rebalance.ts')).rebalanceCommand(streams),
    drain: async (streams) => (await import('./commands/drain.ts')).drainCommand(streams),
    cordon: async (streams) => (await import('./commands/cordon.ts')).cordonCommand(streams, 'cordon'),
    uncordon: async (streams) => (await import('./commands/cordon.ts')).cordonCommand(streams, 'uncordon'),
    scale: async (streams) => (await import('./commands/scale.ts')).scaleCommand(streams),
    pause: async (streams) => (await import('./commands/pause.ts')).pauseCommand(streams, 'pause'),
    resume: async (streams) => (await import('./commands/pause.ts')).pauseCommand(streams, 'resume'),
  },
  'Repair and upgrade:': {
    'upgrade-workers': async (streams) => (await import('./commands/upgradeWorkers.ts')).upgradeWorkersCommand(streams),
    release: async (streams) => (await import('./commands/release.ts')).releaseCommand(streams),
  },
  'Monitor:': {
    alerts: async (streams) => (await import('./commands/alerts.ts')).alertsCommand(streams),
    export: async (streams) => (await import('./commands/export.ts')).exportCommand(streams),
    dashboard: async (streams) => (await import('./commands/dashboard.ts')).dashboardCommand(streams),
  },
  'Other:': {
    completion: async (streams) =>
      (await import('./commands/completion.ts')).completionCommand(streams, () => createProgram([], streams)),
  },
}

/** Runs one command line (without node and script). Resolves with the exit code; errors have been told on stderr. */
export async function runProgram(args: readonly string[], streams: Streams): Promise<number> {
  endQuietlyWhenUnread(streams)
  // The program is bundled. With its source maps, a stack trace names the source files.
  if (args.includes(DEBUG)) process.setSourceMapsEnabled(true)
  try {
    const program = await createProgram(args, streams)
    await program.parseAsync(args, { from: 'user' })
    return exitCodes.ok
  } catch (error) {
    // commander has already said what is wrong, or shown the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
    const colors = colorsFor(streams.stderr)
    streams.stderr.write(`${describe(error, colors)}\n`)
    // Looks at the raw arguments: the error may have come before they were parsed.
    if (args.includes(DEBUG)) for (const trace of traces(error)) streams.stderr.write(`${colors.dim(trace)}\n`)
    else if (isBug(error)) streams.stderr.write(`This is a bug in tsnsrv-sup. Please report it, with what ${DEBUG} adds.\n`)
    return await exitCodeOf(error)
  }
}

const DEBUG = '--debug'

function describe(error: unknown, colors: Colors): string {
  // It names the place itself, as compilers do.
  if (error instanceof ConfigError) return error.render({ colour: colors.isColorSupported })
  return `${colors.red('tsnsrv-sup:')} ${inWords(error)}`
}

/** Whether an error is the program's own fault. Node gives a code to the TypeErrors that it throws for bad input. */
function isBug(error: unknown): boolean {
  return [TypeError, ReferenceError, RangeError].some((type) => error instanceof type) && !('code' in (error as Error))
}

/** The stack of an error and of each of its causes. Other properties are left out: they may hold secrets. */
function traces(error: unknown): string[] {
  return error instanceof Error ? [(error.stack ?? error.message).split('\n').map(plain).join('\n'), ...traces(error.cause)] : []
}

async function exitCodeOf(error: unknown): Promise<number> {
  if (error instanceof ConfigError) return exitCodes.usage
  // Loaded only now: it comes with all the schemas of the API, which `start` does not need for this.
  const { NoSupervisorError, RefusedError } = await import('../effects/adminClient.ts')
  const { UnusableDirectoryError } = await import('../effects/stateFile.ts')
  if (error instanceof UnusableDirectoryError) return exitCodes.usage
  if (error instanceof NoSupervisorError) return exitCodes.noSupervisor
  if (error instanceof RefusedError && error.status === 422) return exitCodes.usage
  return exitCodes.failed
}

/** The program with the command that `args` calls, or with all of them when it is not clear which: help, completion, typos. */
async function createProgram(args: readonly string[], streams: Streams): Promise<Command> {
  const program = new Command('tsnsrv-sup')
    .description('Puts many services on a tailnet, each under its own name, in shards of worker processes.')
    .version(version, '-V, --version')
    .option(DEBUG, 'with an error, show where in the program it arose (a stack trace)')
    .exitOverride()
    .showSuggestionAfterError()
    .showHelpAfterError('(see --help)')
    .configureOutput({
      writeOut: (text) => streams.stdout.write(text),
      writeErr: (text) => streams.stderr.write(text),
      getOutHelpWidth: () => streams.stdout.columns ?? 100,
      getErrHelpWidth: () => streams.stderr.columns ?? 100,
      getOutHasColors: () => colorsFor(streams.stdout).isColorSupported,
      getErrHasColors: () => colorsFor(streams.stderr).isColorSupported,
    })
    .configureHelp({ styleTitle: (text) => colorsFor(streams.stdout).bold(text) })
    .addHelpText(
      'after',
      `
Examples:
  $ tsnsrv-sup validate services.yaml
  $ tsnsrv-sup start --config services.yaml --shard-size 20
  $ tsnsrv-sup status --watch

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no supervisor runs.`,
    )
  const help = new Command('help').argument('[command]').description('Show help for a command.').helpOption(false)
  program.addHelpCommand(help.helpGroup('Other:'))
  const known = Object.entries(groups).flatMap(([heading, commands]) =>
    Object.entries(commands).map(([name, load]) => ({ heading, name, load })),
  )
  const called = known.filter(({ name }) => name === args[0])
  for (const { heading, load } of called.length > 0 ? called : known) {
    const command = await load(streams)
    program.addCommand(command.copyInheritedSettings(program).helpGroup(heading))
  }
  return program
}

/** `tsnsrv-sup status | head`: once nobody reads, there is nothing left to do and nothing to complain about. */
function endQuietlyWhenUnread({ stdout, stderr }: Streams): void {
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(exitCodes.ok)
    stderr.write(`tsnsrv-sup: cannot write the output: ${inWords(error)}\n`)
    process.exit(exitCodes.failed)
  })
}
