import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup release SERVICE` */
export function releaseCommand(streams: Streams): Command {
  return clientCommand('release', 'Restart a service that is quarantined because it crashed its workers.')
    .argument('<service>', 'its name')
    .addHelpText(
      'after',
      `
It gets a shard of its own, so that it cannot affect others. If it crashes its worker twice more, it is quarantined again; if it
lives for a quarter of an hour, it is a service like any other.

Example:
  $ tsnsrv-sup release photos`,
    )
    .action((service: string, _options: unknown, command: Command) =>
      withAdminClient(command, async (client) => {
        await client.order('release', { service })
        streams.stdout.write(`${service} is started again, alone in a shard.\n`)
      }),
    )
}
