/** How it was measured: enough to doubt it, and to do it again. */
import { DISTURBED_SHARE, disturbance, isDisturbed } from '../../harness/attempts.ts'
import { LOADS, type Run, type Trial } from '../../harness/results.ts'
import { formatMachine, formatVersions } from './environment.ts'
import { compared, reached, samples, sizesOf, trialsOf } from './figures.ts'
import { formatDuration, formatNumber, formatPercent, formatQuantity } from './format.ts'
import { cpu, type Metric, type Phase, pss, ready } from '../../harness/metrics.ts'
import { type Section, table } from './section.ts'
import { summarize } from './statistics.ts'

export function methodSection(run: Run): Section {
  return {
    title: 'How it was measured',
    blocks: [
      table(['', ''], [...machineRows(run), ...runRows(run)]),
      '### Subjects',
      table(
        ['subject', 'version', 'what it is'],
        run.subjects.map(({ title, version, about }) => [title, version, about]),
      ),
      '### What is counted',
      COUNTED,
      '### Trials',
      ...trialAccount(run),
    ],
    charts: [],
  }
}

const COUNTED = [
  'All processes of a subject together: a supervisor, if it has one, its workers, and their children. Control plane, relay, clients and upstreams are not counted, but share the machine.',
  'CPU: user and system time of the kernel, in percent of one core; two busy cores are 200 %.',
  'PSS: proportional set size. A page that processes share counts for each by its share, so that a binary that runs three times is counted once. MB are 1,000,000 bytes.',
  "Wake-ups: voluntary context switches of all threads. Network: both directions of the host's uplink.",
  'The control plane is Headscale with an empty database for each trial, and its defaults but for one: the auth key is hashed at the lowest cost, as the default is a tenth of a CPU second for each node that logs in, on the cores that are measured.',
  'A saturated load on connections that stay has gone on for half as long before as it is measured for: at first, paths, windows and collectors still settle.',
  'Latency: as the client saw it, over the tailnet. CPU per 1,000 requests: CPU time of the window over the requests that were answered in it.',
  'The client is a node whose TCP delays acknowledgements, as the TCP of Linux, macOS and Windows does and that of tsnet does not: they come with the next request where there is one soon.',
  'A figure is the median of its repeats; ranges are the smallest and the largest repeat, and no repeat is left out. A comparison with ours is the median of the ratios of single repeats.',
]
  .map((line) => `- ${line}`)
  .join('\n')

function machineRows({ machine, versions, host }: Run): string[][] {
  return [
    ['machine', formatMachine(machine)],
    ['host of the services', host],
    ['versions', formatVersions(versions)],
  ]
}

function runRows(run: Run): string[][] {
  const repeats = Math.max(0, ...run.trials.map(({ repeat }) => repeat))
  return [
    ['command', `\`${run.command}\``],
    ['time', `${run.startedAt}, ${formatDuration(run.seconds)}`],
    ['sizes', sizesOf(run, run.subjects).join(', ')],
    ['repeats', `up to ${repeats}; those of different subjects are interleaved, each in a fresh control plane`],
    ['windows', windows(run)],
    ['repeatability', repeatability(run)],
    ['stolen time', stolen(run)],
  ]
}

/** "idle 30 s, light 20-20.3 s" */
function windows(run: Run): string {
  return LOADS.flatMap((load) => {
    const seconds = summarize(run.trials.flatMap(({ windows }) => windows[load]?.seconds ?? []))
    if (!seconds) return []
    const [min, max] = [formatNumber(seconds.min), formatNumber(seconds.max)]
    return [`${load} ${min === max ? min : `${min}-${max}`} s`]
  }).join(', ')
}

/** What neighbours on the same hardware took: times and CPU of such trials are worse than they need be. */
function stolen(run: Run): string {
  const found = summarize(run.trials.map(disturbance))
  if (!found) return 'unknown'
  return `of the CPU time in which there was something to run, given to others by the machine's hypervisor, in the worst part of a trial: ${formatPercent(found.median)} in the median trial, ${formatPercent(found.max)} at worst`
}

/** How far a repeat typically is from its median: what smaller differences than this mean. */
function repeatability(run: Run): string {
  const typical = (metric: Metric) => {
    const relative = run.subjects.flatMap((subject) =>
      sizesOf(run, [subject]).flatMap((services) => {
        const found = summarize(samples(run, subject, services, metric))
        return found && found.repeats > 1 && found.median > 0 ? (100 * found.deviation) / found.median : []
      }),
    )
    return summarize(relative)
  }
  const parts = [cpu('idle'), pss('idle'), ready('start')].flatMap((metric) => {
    const found = typical(metric)
    return found
      ? [`${metric.title} ${formatQuantity(found.median, 'percent')} (at worst ${formatQuantity(found.max, 'percent')})`]
      : []
  })
  return parts.length === 0
    ? 'unknown: nothing was repeated'
    : `median absolute deviation of the repeats, of the typical subject and size: ${parts.join('; ')}`
}

function trialAccount(run: Run): string[] {
  const aborted = run.trials.filter((trial) => trial.aborted !== null)
  const missing = run.planned - run.trials.length
  const summary = [
    `${run.planned} trials were planned; ${run.trials.length} were run, ${aborted.length} of them aborted.`,
    missing > 0 ? `**${missing} were not run.**` : '',
    run.complete ? '' : '**The run was interrupted.**',
  ]
  return [
    summary.filter((text) => text !== '').join(' '),
    aborted.length === 0
      ? ''
      : table(
          ['aborted', 'services', 'repeat', 'after', 'why'],
          aborted.map((trial) => [
            titleOf(run, trial),
            String(trial.services),
            String(trial.repeat),
            formatDuration(trial.seconds),
            trial.aborted ?? '',
          ]),
        ),
    attemptAccount(run),
    incomplete(run),
  ]
}

/** What was tried more than once, and why. */
function attemptAccount({ trials, discarded }: Run): string {
  const repeated = new Set(discarded.map(({ subject, services, repeat, loads }) => [subject, services, repeat, ...loads].join()))
  const disturbed = trials.filter((trial) => isDisturbed(disturbance(trial))).length
  const limit = formatPercent(DISTURBED_SHARE)
  return `A trial is disturbed when more than ${limit} of the machine's busy CPU time was stolen in a part of it (start, restart, a window; for the saturated loads, the windows alone). It is tried again at the end of its round, up to the given number of attempts (three in a full run), and the least disturbed attempt counts, whatever its figures. ${repeated.size} trials were tried again, ${discarded.length} times in all; ${disturbed} are disturbed all the same, and figures made of them are marked.`
}

/** Parts that a subject lacks at a size though it was not aborted and another compared one has them there. */
function incomplete(run: Run): string {
  const phases: readonly Phase[] = ['start', 'restart', ...LOADS]
  const subjects = compared(run)
  const lines = sizesOf(run, subjects).flatMap((services) => {
    const trials = subjects.flatMap((subject) => trialsOf(run, subject, services))
    const measured = phases.filter((phase) => trials.some((trial) => reached(trial, phase)))
    return subjects.flatMap((subject) => {
      const own = trialsOf(run, subject, services)
      const lacking = measured.filter((phase) => !own.some((trial) => reached(trial, phase)))
      if (own.length === 0 || own.some(({ aborted }) => aborted !== null) || lacking.length === 0) return []
      return [`- ${subject.title}, ${services} services: ${lacking.join(', ')}`]
    })
  })
  return lines.length === 0 ? '' : `Not measured, though no trial was aborted:\n\n${lines.join('\n')}`
}

function titleOf(run: Run, { subject }: Trial): string {
  return run.subjects.find(({ key }) => key === subject)?.title ?? subject
}
