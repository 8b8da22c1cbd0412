import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { followMoves, type FollowOptions, withFollowOptions } from '../followMoves.ts'
import { readCount } from '../readCount.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup move SERVICE --to SHARD|new` */
export function moveCommand(streams: Streams): Command {
  return withFollowOptions(
    clientCommand('move', 'Move a service to another shard, keeping its node: same key, address, port and certificate.'),
  )
    .argument('<service>', 'its name')
    .requiredOption('--to <shard>', 'number of the shard, or "new"', (text) => (text === 'new' ? text : readCount(text)))
    .addHelpText(
      'after',
      `
Open requests end first, as long as the drain time-out allows; whoever connects meanwhile waits. If the service does not come
up on the other side, it goes back. One that leaves its group so is held to the group no more, until it is moved back to it.

Examples:
  $ tsnsrv-sup move photos --to 2
  $ tsnsrv-sup move photos --to new`,
    )
    .action((service: string, options: FollowOptions & { to: number | 'new' }, command: Command) =>
      withAdminClient(command, async (client) => {
        await followMoves(client, await client.order('move', { service, to: options.to }), options, streams)
      }),
    )
}
