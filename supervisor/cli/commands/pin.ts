import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import type { Streams } from '../terminal.ts'

const words = {
  pin: ['Keep a service in its shard; only commands move it.', 'pinned'],
  unpin: ['Let a service be moved again by load, groups and merges.', 'not pinned any more'],
} as const

/** `tsnsrv-sup pin SERVICE` and `unpin SERVICE` */
export function pinCommand(streams: Streams, verb: keyof typeof words): Command {
  const [description, outcome] = words[verb]
  return clientCommand(verb, description)
    .argument('<service>', 'its name')
    .addHelpText(
      'after',
      `
"tsnsrv-sup move" pins what it moves; "status" shows what is pinned. "drain", "upgrade-workers" and the limits of a shard move a
pinned service all the same, and it is pinned where it comes to.`,
    )
    .action((service: string, _options: unknown, command: Command) =>
      withAdminClient(command, async (client) => {
        await client.order(verb, { service })
        streams.stdout.write(`${service} is ${outcome}.\n`)
      }),
    )
}
