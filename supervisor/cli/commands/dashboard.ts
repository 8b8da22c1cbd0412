import { Command } from 'commander'
import { dashboard } from '../../operate/dashboard.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup dashboard`: what Grafana imports. */
export function dashboardCommand({ stdout }: Streams): Command {
  return new Command('dashboard')
    .description('Print a dashboard for Grafana, as JSON to import.')
    .addHelpText('after', '\nExamples:\n  $ tsnsrv-sup dashboard > tsnsrv-sup.json')
    .action(() => {
      stdout.write(`${JSON.stringify(dashboard(), null, 2)}\n`)
    })
}
