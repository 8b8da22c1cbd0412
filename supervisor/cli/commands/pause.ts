import type { Command } from 'commander'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup pause` and `resume`: of automatic rebalancing. */
export function pauseCommand(streams: Streams, paused: boolean): Command {
  const [name, description] = paused
    ? (['pause', 'Stop rebalancing by itself; orders like "move" are still taken.'] as const)
    : (['resume', 'Let rebalancing go on.'] as const)
  return clientCommand(name, description).action((_options: unknown, command: Command) =>
    withAdminClient(command, async (client) => {
      await client.pause(paused)
      streams.stdout.write(`Rebalancing is ${paused ? 'paused' : 'on'}.\n`)
    }),
  )
}
