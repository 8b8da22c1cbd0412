import { Command } from 'commander'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup schema`: the JSON Schema of the configuration file, for editors. */
export function schemaCommand(streams: Streams): Command {
  return new Command('schema')
    .description('Print the JSON Schema of the configuration file, for completion in an editor.')
    .addHelpText(
      'after',
      `
Examples:
  $ tsnsrv-sup schema > services.schema.json
  $ sed -i '1i # yaml-language-server: $schema=services.schema.json' services.yaml`,
    )
    .action(async () => {
      const { configSchema } = await import('../../config/configSchema.ts')
      streams.stdout.write(`${configSchema()}\n`)
    })
}
