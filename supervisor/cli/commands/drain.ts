import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { followMoves, type FollowOptions, untilStatus, withFollowOptions } from '../followMoves.ts'
import { readCount } from '../readCount.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup drain SHARD` */
export function drainCommand(streams: Streams): Command {
  return withFollowOptions(clientCommand('drain', 'Cordon a shard and move all its services to others. Its worker ends.'))
    .argument('<shard>', 'its number', readCount)
    .action((shard: number, options: FollowOptions, command: Command) =>
      withAdminClient(command, async (client) => {
        await followMoves(client, await client.order('drain', { shard }), options, streams)
        if (!options.wait) return
        await untilStatus(client, ({ shards }) => shards.every((other) => other.shard !== shard))
        if (!options.json) streams.stdout.write(`Shard ${String(shard)} is empty, and its worker has ended.\n`)
      }),
    )
}
