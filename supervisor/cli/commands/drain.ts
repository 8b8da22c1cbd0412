import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { followMoves } from '../followMoves.ts'
import { readCount } from '../readCount.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup drain SHARD` */
export function drainCommand(streams: Streams): Command {
  return clientCommand('drain', 'Move all services of a shard to others, and let its worker end. The shard is cordoned.')
    .argument('<shard>', 'its number', readCount)
    .action((shard: number, _options: unknown, command: Command) =>
      withAdminClient(command, async (client) => followMoves(client, await client.order('drain', { shard }), streams)),
    )
}
