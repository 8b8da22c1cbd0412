import { Command, InvalidArgumentError } from 'commander'
import leven from 'leven'
import { stringify } from 'yaml'
import { RUNBOOK, ruleFile, THRESHOLDS, type Threshold } from '../../operate/alerts.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup alerts`: rules for Prometheus, with thresholds of the operator's. */
export function alertsCommand({ stdout }: Streams): Command {
  return new Command('alerts')
    .description('Print alert rules for Prometheus.')
    .option('--set <name=number>', 'another threshold; may be given again', setThreshold, {})
    .option('--runbook <url>', 'where the pages of the rules are', RUNBOOK)
    .addHelpText(
      'after',
      `
Thresholds and their defaults:
${Object.entries(THRESHOLDS)
  .map(([name, value]) => `  ${name}=${String(value)}`)
  .join('\n')}

Examples:
  $ tsnsrv-sup alerts > /etc/prometheus/rules/tsnsrv-sup.yaml
  $ tsnsrv-sup alerts --set swapMB=100 --set notReadyMinutes=2`,
    )
    .action((options: { set: Partial<Record<Threshold, number>>; runbook: string }) => {
      stdout.write(stringify(ruleFile({ ...THRESHOLDS, ...options.set }, options.runbook), { lineWidth: 0 }))
    })
}

/** Adds one threshold. Throws what commander shows beside the option. */
function setThreshold(text: string, set: Partial<Record<Threshold, number>>): Partial<Record<Threshold, number>> {
  const [name = '', value = ''] = text.split('=', 2)
  const known = Object.keys(THRESHOLDS) as Threshold[]
  const found = known.find((threshold) => threshold === name)
  const [nearest = ''] = [...known].sort((a, b) => leven(a, name) - leven(b, name))
  if (!found) throw new InvalidArgumentError(`There is no threshold ${name}; did you mean ${nearest}?`)
  if (!/^\d+(?:\.\d+)?$/.test(value) || Number(value) === 0)
    throw new InvalidArgumentError(`Want ${found}=NUMBER, a number above 0.`)
  return { ...set, [found]: Number(value) }
}
