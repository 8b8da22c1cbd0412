import type { Command } from 'commander'
import { NoSupervisorError } from '../../effects/adminClient.ts'
import { clientCommand, withAdminClient } from '../clientCommand.ts'
import { formatTable } from '../format.ts'
import { colorsFor, plain, type Streams } from '../terminal.ts'

/** `tsnsrv-sup services`: the services with their names on the tailnet and where they lead. */
export function servicesCommand(streams: Streams): Command {
  return clientCommand('services', 'List the services: name on the tailnet, upstream, whether it is ready.')
    .option('--json', 'print JSON')
    .option('--names', 'print the names only, one a line; nothing when no supervisor runs')
    .addHelpText(
      'after',
      `
Examples:
  $ tsnsrv-sup services
  $ tsnsrv-sup services --names | xargs -n1 tsnsrv-sup logs -n 5`,
    )
    .action((options: { json?: true; names?: true }, command: Command) =>
      withAdminClient(command, async (client) => {
        const status = client.status()
        if (options.names) {
          const names = await status.then(({ services }) => services.map(({ name }) => name)).catch(noneIfAbsent)
          for (const name of names) streams.stdout.write(`${name}\n`)
          return
        }
        const { services } = await status
        if (options.json) {
          const rows = services.map(({ name, url, dnsName, addresses, upstream, shard, ready, phase, loginURL }) => {
            return { name, url, dnsName, addresses, upstream, shard, ready, phase, loginURL }
          })
          streams.stdout.write(`${JSON.stringify(rows, null, 2)}\n`)
          return
        }
        const colors = colorsFor(streams.stdout)
        const heading = ['SERVICE', 'STATE', 'URL', 'UPSTREAM'].map((text) => ({ text, paint: colors.dim }))
        const rows = services.map(({ name, url, upstream, ready, phase }) => [
          name,
          { text: phase, paint: ready ? colors.green : colors.yellow },
          url === '' ? '-' : plain(url),
          plain(upstream),
        ])
        for (const line of formatTable([heading, ...rows])) streams.stdout.write(`${line}\n`)
      }),
    )
}

/** Shell completion asks for names on each Tab, whether or not a supervisor runs. */
function noneIfAbsent(error: unknown): string[] {
  if (error instanceof NoSupervisorError) return []
  throw error
}
