import type { Command } from 'commander'
import type { Status } from '../../../shared/api.ts'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { count } from '../format.ts'
import { ailments, impaired, unready } from '../health.ts'
import { plain, type Streams } from '../terminal.ts'

/** Something is not well. */
class UnhealthyError extends Error {
  override readonly name = 'UnhealthyError'
}

interface Options {
  ready?: true
  problems?: true
}

/** `tsnsrv-sup healthcheck`: for Docker, systemd and monitoring, which look at the exit code. */
export function healthcheckCommand(streams: Streams): Command {
  return clientCommand('healthcheck', 'Tell by the exit code whether the supervisor and its workers work.')
    .option('--ready', 'demand that all services are ready, too')
    .option('--problems', 'demand that no service has a problem either, such as an upstream that does not answer')
    .addHelpText(
      'after',
      `
Exit codes: 0 healthy, 1 not healthy (stderr says why), 3 no supervisor runs.
Without options, one service in trouble is no ill health: a restart of everything would not mend it.

Examples:
  $ tsnsrv-sup healthcheck --ready
  HEALTHCHECK CMD tsnsrv-sup healthcheck || exit 1`,
    )
    .action((options: Options, command: Command) =>
      withAdminClient(command, async (client) => {
        const status = await client.status()
        const found = complaints(status, options)
        if (found.length > 0) throw new UnhealthyError(found.map(plain).join('\n'))
        const { services, shards } = status
        const ready = services.filter((service) => service.ready).length
        streams.stdout.write(
          `ok: ${count(shards.length, 'worker')}, ${String(ready)} of ${count(services.length, 'service')} ready\n`,
        )
      }),
    )
}

function complaints(status: Status, { ready, problems }: Options): string[] {
  return [...ailments(status), ...(ready || problems ? unready(status) : []), ...(problems ? impaired(status) : [])]
}
