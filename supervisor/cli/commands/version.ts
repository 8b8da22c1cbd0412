import { Command } from 'commander'
import type { Streams } from '../terminal.ts'
import { version } from '../version.ts'

/** `tsnsrv-sup version`: what a bug report needs. `--version` prints the number alone. */
export function versionCommand(streams: Streams): Command {
  return new Command('version')
    .description('Print the version of this program and of Node.js.')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  $ tsnsrv-sup version --json | jq -r .version')
    .action((options: { json?: true }) => {
      const facts = { version, nodejs: process.version, platform: `${process.platform} ${process.arch}` }
      const text = options.json ? JSON.stringify(facts) : `tsnsrv-sup ${version} (Node.js ${facts.nodejs}, ${facts.platform})`
      streams.stdout.write(`${text}\n`)
    })
}
