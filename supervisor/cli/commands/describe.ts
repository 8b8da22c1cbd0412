import type { Command } from 'commander'
import leven from 'leven'
import type { Status } from '../../../shared/api.ts'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { describeService, describeShard } from '../describeView.ts'
import { colorsFor, type Streams } from '../terminal.ts'

/** `tsnsrv-sup describe SERVICE|SHARD`: all that is known of one, and what has happened to it. */
export function describeCommand(streams: Streams): Command {
  return clientCommand('describe', 'Show one service or shard in full, with what has happened to it.')
    .argument('<service>', 'name of a service, or number of a shard; "shard/7" where a service has that name')
    .option('--json', 'print JSON: the service or shard as in status, and its events')
    .addHelpText(
      'after',
      `
It shows the last 50 events since the supervisor started. "tsnsrv-sup logs SERVICE" has what came before.

Examples:
  $ tsnsrv-sup describe photos
  $ tsnsrv-sup describe 2`,
    )
    .action((name: string, { json }: { json?: true }, command: Command) =>
      withAdminClient(command, async (client) => {
        const status = await client.status()
        const found = find(name, status)
        const events = await client.events('service' in found ? { service: found.service.name } : { shard: found.shard.shard })
        const { stdout } = streams
        const options = { colors: colorsFor(stdout), now: Date.now(), columns: stdout.columns }
        if (json) stdout.write(`${JSON.stringify({ ...found, events }, null, 2)}\n`)
        else if ('service' in found) stdout.write(`${describeService(found.service, status, events, options)}\n`)
        else stdout.write(`${describeShard(found.shard, status, events, options)}\n`)
      }),
    )
}

/** The service of that name, or else the shard of that number. Throws an Error that names what was probably meant. */
function find(
  name: string,
  { services, shards }: Status,
): { service: Status['services'][number] } | { shard: Status['shards'][number] } {
  const service = services.find((one) => one.name === name)
  if (service) return { service }
  const number = /^(?:shard[/-])?(\d+)$/.exec(name)?.[1]
  if (number !== undefined) {
    const shard = shards.find((one) => one.shard === Number(number))
    if (shard) return { shard }
    throw new Error(`there is no shard ${number}; there are ${shards.map((one) => String(one.shard)).join(', ')}`)
  }
  const [nearest] = services.map((one) => one.name).sort((a, b) => leven(a, name) - leven(b, name))
  const hint = nearest === undefined ? '' : `; did you mean ${nearest}?`
  throw new Error(`there is no service ${name}${hint} "tsnsrv-sup services" lists all`)
}
