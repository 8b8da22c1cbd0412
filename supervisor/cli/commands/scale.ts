import type { Command } from 'commander'
import type { Decision } from '../../../shared/api.ts'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { count } from '../format.ts'
import { readCount } from '../readCount.ts'
import { type Streams, plain } from '../terminal.ts'

interface ScaleOptions {
  readonly shards: number | 'auto'
  readonly json?: true
}

/** `tsnsrv-sup scale --shards N|auto` */
export function scaleCommand(streams: Streams): Command {
  return clientCommand('scale', 'Set the number of shards, or let the load decide.')
    .requiredOption('--shards <count>', 'a number, or "auto"', (text) => (text === 'auto' ? text : readCount(text)))
    .option('--json', 'print what moves first, and why, as JSON')
    .action(({ shards, json }: ScaleOptions, command: Command) =>
      withAdminClient(command, async (client) => {
        const decision = await client.order('scale', { shards })
        const goal = shards === 'auto' ? 'The load decides how many shards there are.' : `Scaling to ${count(shards, 'shard')}.`
        streams.stdout.write(`${json ? JSON.stringify(decision, null, 2) : `${goal} ${outlook(decision)}`}\n`)
      }),
    )
}

function outlook({ moves, reason }: Decision): string {
  if (moves.length === 0) return `Nothing moves now: ${plain(reason)}.`
  return `${moves.map(({ name }) => name).join(', ')} will move first; watch "tsnsrv-sup status".`
}
