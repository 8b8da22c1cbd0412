import type { Command } from 'commander'
import type { ReloadResult } from '../../../shared/api.ts'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { count } from '../format.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup reload`: what SIGHUP does, and tells what came of it. */
export function reloadCommand(streams: Streams): Command {
  return clientCommand('reload', 'Let the running supervisor read its configuration again; only what changed is touched.')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
A configuration that is refused changes nothing: what runs stays, and the exit code is 2.

Examples:
  $ tsnsrv-sup validate --config services.yaml && tsnsrv-sup reload --config services.yaml`,
    )
    .action((options: { json?: true }, command: Command) =>
      withAdminClient(command, async (client) => {
        const result = await client.reload()
        streams.stdout.write(`${options.json ? JSON.stringify(result) : describe(result)}\n`)
      }),
    )
}

function describe({ configGeneration, added, removed, changed, moved, unchanged, notes }: ReloadResult): string {
  const list = (what: string, names: string[]) => (names.length === 0 ? [] : [`  ${what}: ${names.join(', ')}`])
  return [
    `Configuration taken (generation ${configGeneration}); ${count(unchanged, 'service')} untouched.`,
    ...list('added', added),
    ...list('removed', removed),
    ...list('changed', changed),
    ...list('moved', moved),
    ...notes.map((note) => `  note: ${note}`),
  ].join('\n')
}
