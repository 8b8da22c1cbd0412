import { Command } from 'commander'
import { ConfigError, type Diagnostic, renderDiagnostics } from '../../config/diagnostic.ts'
import { addSettingsOptions } from '../../config/settings.ts'
import { loadConfig } from '../../effects/configFile.ts'
import { count } from '../format.ts'
import { colorsFor, type Streams } from '../terminal.ts'

interface ValidateOptions {
  readonly config?: string
  readonly json?: true
}

/** `tsnsrv-sup validate`: checks a configuration and says everything that is wrong with it. Touches nothing. */
export function validateCommand(streams: Streams = process): Command {
  const command = new Command('validate')
    .description('Check a configuration: all errors at once, each with its place.')
    .argument('[file]', 'YAML file in the format of arsfeld/tsnsrv')
    .option('-c, --config <file>', 'the same as the argument')
    .option('--json', 'print all errors and notes as a JSON array')
  return addSettingsOptions(command)
    .addHelpText(
      'after',
      `
Looks for the files of certificateFile, keyFile, upstreamCAFile and authkeyPath too. What is wrong there is a note.

Exit codes: 0 the configuration may run, with notes or without; 2 it is refused.

Examples:
  $ tsnsrv-sup validate services.yaml
  $ tsnsrv-sup validate services.yaml --json | jq -r '.[] | "\\(.file):\\(.line): \\(.message)"'`,
    )
    .action(async (argument: string | undefined, options: ValidateOptions, command: Command) => {
      const file = argument ?? options.config
      if (file === undefined) command.error('error: name the configuration to check', { exitCode: 2 })
      if (options.json) await validateForPrograms(file, command, streams)
      else await validateForPeople(file, command, streams)
    })
}

async function validateForPeople(file: string, command: Command, { stdout, stderr }: Streams): Promise<void> {
  const { config, notes, text } = await loadConfig(file, { flags: command.opts() })
  const shown = renderDiagnostics(notes, text, { colour: colorsFor(stderr).isColorSupported })
  if (shown !== '') stderr.write(`${shown}\n`)
  const { shardSize } = config.settings
  const services = count(config.services.length, 'service')
  const shards = count(Math.ceil(config.services.length / shardSize), 'shard')
  stdout.write(`${file}: ok: ${services} in ${shards} of at most ${shardSize}, ${count(notes.length, 'note')}\n`)
}

async function validateForPrograms(file: string, command: Command, { stdout }: Streams): Promise<void> {
  let found: readonly Diagnostic[]
  try {
    found = (await loadConfig(file, { flags: command.opts() })).notes
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    found = error.diagnostics
    process.exitCode = 2
  }
  stdout.write(`${JSON.stringify(found, null, 2)}\n`)
}
