import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { followMoves, type FollowOptions, withFollowOptions } from '../followMoves.ts'
import { readCount } from '../readCount.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup move SERVICE --to SHARD|new` */
export function moveCommand(streams: Streams): Command {
  return withFollowOptions(
    clientCommand(
      'move',
      'Move a service to another shard, and pin it there. It keeps its node: same key, address, port and certificate.',
    ),
  )
    .argument('<service>', 'its name')
    .requiredOption('--to <shard>', 'number of the shard, or "new"', (text) => (text === 'new' ? text : readCount(text)))
    .addHelpText(
      'after',
      `
Open requests end first, within the drain timeout; new connections wait meanwhile. If the service does not come
up on the other side, it goes back. It is pinned: it stays in that shard, whatever load and groups ask for, until
"tsnsrv-sup unpin". Where all services of a shard are pinned, no other joins them: what is moved to "new" stays alone.

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
