import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { readCount } from '../readCount.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup cordon SHARD` and `uncordon SHARD` */
export function cordonCommand(streams: Streams, cordoned: boolean): Command {
  const [name, description] = cordoned
    ? (['cordon', 'Let nothing new into a shard; what is in it stays.'] as const)
    : (['uncordon', 'Let services into a shard again.'] as const)
  return clientCommand(name, description)
    .argument('<shard>', 'its number', readCount)
    .action((shard: number, _options: unknown, command: Command) =>
      withAdminClient(command, async (client) => {
        await client.cordon(shard, cordoned)
        streams.stdout.write(`Shard ${String(shard)} is ${cordoned ? 'cordoned' : 'open'}.\n`)
      }),
    )
}
