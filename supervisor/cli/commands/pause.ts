import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import type { Streams } from '../terminal.ts'

const words = {
  pause: ['Pause automatic rebalancing; commands such as "move" still work.', 'paused'],
  resume: ['Resume automatic rebalancing.', 'on'],
} as const

/** `tsnsrv-sup pause` and `resume`: of automatic rebalancing. */
export function pauseCommand(streams: Streams, verb: keyof typeof words): Command {
  const [description, outcome] = words[verb]
  return clientCommand(verb, description).action((_options: unknown, command: Command) =>
    withAdminClient(command, async (client) => {
      await client.order(verb, {})
      streams.stdout.write(`Rebalancing is ${outcome}.\n`)
    }),
  )
}
