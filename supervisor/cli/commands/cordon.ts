import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { readCount } from '../readCount.ts'
import type { Streams } from '../terminal.ts'

const words = {
  cordon: ['Let nothing new into a shard; what is in it stays.', 'cordoned'],
  uncordon: ['Let services into a shard again.', 'open'],
} as const

/** `tsnsrv-sup cordon SHARD` and `uncordon SHARD` */
export function cordonCommand(streams: Streams, verb: keyof typeof words): Command {
  const [description, outcome] = words[verb]
  return clientCommand(verb, description)
    .argument('<shard>', 'its number', readCount)
    .action((shard: number, _options: unknown, command: Command) =>
      withAdminClient(command, async (client) => {
        await client.order(verb, { shard })
        streams.stdout.write(`Shard ${String(shard)} is ${outcome}.\n`)
      }),
    )
}
