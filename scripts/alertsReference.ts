/** docs/alerts.md: a page for each rule of `tsnsrv-sup alerts`. */
import { alerts, THRESHOLDS } from '../supervisor/operate/alerts.ts'

/** The document as Markdown. */
export function alertsReference(): string {
  const pages = alerts(THRESHOLDS).flatMap(({ name, severity, after, expr, means, steps }) => [
    `## ${name}`,
    '',
    `${severity}, after ${after}:`,
    '',
    '```promql',
    expr,
    '```',
    '',
    means,
    '',
    ...steps.map(
      (step, i) => `${String(i + 1)}. ${step.replaceAll(/\{\{(\w+)\}\}/g, (_, label: string) => label.toUpperCase())}`,
    ),
    '',
  ])
  return [
    '# Alerts',
    '',
    '<!-- Generated from supervisor/operate/alerts.ts by "npm run generate". Edit that. -->',
    '',
    '`tsnsrv-sup alerts` prints these rules for Prometheus. `--set NAME=NUMBER` sets a threshold; `tsnsrv-sup alerts --help` lists them.',
    'Give the scrape job a name with `tsnsrv` in it. Expressions here have the default thresholds.',
    '',
    ...pages,
  ].join('\n')
}
