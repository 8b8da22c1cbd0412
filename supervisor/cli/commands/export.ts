import { Argument, type Command } from 'commander'
import { stringify } from 'yaml'
import { exports, type Format } from '../../operate/exports.ts'
import { listServices } from '../../operate/lists.ts'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup export PROGRAM`: the services where people already look. */
export function exportCommand({ stdout }: Streams): Command {
  return clientCommand('export', 'Print the services as another program lists them.')
    .addArgument(new Argument('<program>', 'whose file to print').choices(Object.keys(exports)))
    .addHelpText(
      'after',
      `
YAML, but for autokuma, which reads JSON. Services whose URL is not known yet are left out.

Examples:
  $ tsnsrv-sup export homepage > /srv/homepage/services.yaml
  $ tsnsrv-sup export gatus > /srv/gatus/config/tailnet.yaml`,
    )
    .action((program: Format, _options, command: Command) =>
      withAdminClient(command, async (client) => {
        const content = exports[program](listServices(await client.status()))
        stdout.write(program === 'autokuma' ? `${JSON.stringify(content, null, 2)}\n` : stringify(content, { lineWidth: 0 }))
      }),
    )
}
