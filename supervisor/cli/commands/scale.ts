import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { count } from '../format.ts'
import { readCount } from '../readCount.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup scale --shards N|auto` */
export function scaleCommand(streams: Streams): Command {
  return clientCommand('scale', 'Say how many shards there are to be, or leave it to the load.')
    .requiredOption('--shards <count>', 'a number, or "auto"', (text) => (text === 'auto' ? text : readCount(text)))
    .action(({ shards }: { shards: number | 'auto' }, command: Command) =>
      withAdminClient(command, async (client) => {
        await client.order('scale', { shards })
        streams.stdout.write(
          shards === 'auto'
            ? 'There are as many shards as the load wants.\n'
            : `There are to be ${count(shards, 'shard')}. Services move one after the other; "status" shows them.\n`,
        )
      }),
    )
}
